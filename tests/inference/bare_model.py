"""A model in a bare llama.cpp loop, without our engine: what settings and adapters really do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as C  # noqa: N812

from inference.library import check_settings, context_failure, context_params, load_failure, model_params
from inference.settings import LoadSettings
from tests.tiny_models import FIRST_WORD

QUICK = LoadSettings(n_ctx=256, n_threads=1, use_extra_bufts=False)


class BareModel:
    """Loaded the way our runner does it; `say` continues the first word."""

    def __init__(self, path: Path, settings: LoadSettings) -> None:
        check_settings(settings)
        self.model: Any = C.llama_model_load_from_file(os.fsencode(path), model_params(settings))
        if not self.model:
            raise load_failure(path.name)
        params = context_params(self.model, settings)
        self.context: Any = C.llama_init_from_model(self.model, params)
        if not self.context:
            C.llama_model_free(self.model)
            raise context_failure(path.name, params.n_ctx)

    def say(self, count: int = 6) -> list[int]:
        """Return the likeliest tokens after the first word."""
        C.llama_memory_clear(C.llama_get_memory(self.context), True)
        chain = C.llama_sampler_init_greedy()
        token = (C.llama_token * 1)(FIRST_WORD)
        said = []
        for _ in range(count):
            assert C.llama_decode(self.context, C.llama_batch_get_one(token, 1)) == 0
            token[0] = C.llama_sampler_sample(chain, self.context, -1)
            said.append(token[0])
        C.llama_sampler_free(chain)
        return said


@contextmanager
def bare(path: Path, settings: LoadSettings = QUICK) -> Iterator[BareModel]:
    """Load a model, and give its memory back."""
    C.llama_backend_init()
    model = BareModel(path, settings)
    yield model
    C.llama_free(model.context)
    C.llama_model_free(model.model)
