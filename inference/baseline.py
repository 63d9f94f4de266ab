"""The plain llama.cpp loop, with nothing around it: what the engine is measured against."""

import os
import time
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.benchmark import Measurement
from inference.errors import DecodeFailed, LoadFailed
from inference.library import context_params, model_params
from inference.sampler import Chain, read_vocabulary
from inference.sampling import sampler_chain
from inference.settings import LoadSettings, SamplingSettings


class Baseline:
    """A model in a loop of decode and sample. Everything belongs to the thread that made it."""

    def __init__(self, path: Path, settings: LoadSettings) -> None:
        C.llama_backend_init()
        self._model = C.llama_model_load_from_file(os.fsencode(path), model_params(settings))
        if not self._model:
            raise LoadFailed(f'llama.cpp could not load {path.name}.')
        self._context = C.llama_init_from_model(self._model, context_params(self._model, settings, 1))
        if not self._context:
            C.llama_model_free(self._model)
            raise LoadFailed(f'llama.cpp could not make a context of {settings.n_ctx:,} tokens for {path.name}.')
        self._n_batch: int = C.llama_n_batch(self._context)

    def measure(
        self, text: str, sampling: SamplingSettings, *, prompt_tokens: int, cached_tokens: int, count: int
    ) -> Measurement:
        """Read `prompt_tokens` of `text` and sample `count` tokens; those that count as cached are read before."""
        vocabulary = read_vocabulary(self._model)
        prompt, chain = self._tokenize(text, prompt_tokens), Chain(sampler_chain(sampling, vocabulary), vocabulary)
        C.llama_memory_clear(C.llama_get_memory(self._context), True)
        self._read(prompt[:cached_tokens])
        started = time.perf_counter()
        self._read(prompt[cached_tokens:])
        arrivals: list[float] = []
        token = (C.llama_token * 1)()
        batch = C.llama_batch_get_one(token, 1)
        while True:
            token[0] = chain.sample(self._context, -1)
            arrivals.append(time.perf_counter() - started)
            if len(arrivals) == count:
                break
            self._decode(batch)
        return Measurement(prompt_tokens=prompt_tokens, cached_tokens=cached_tokens, arrivals=tuple(arrivals))

    def close(self) -> None:
        """Give the memory back."""
        C.llama_free(self._context)
        C.llama_model_free(self._model)

    def _read(self, prompt: list[int]) -> None:
        for start in range(0, len(prompt), self._n_batch):
            piece = prompt[start : start + self._n_batch]
            tokens = (C.llama_token * len(piece))(*piece)  # the batch only points to it
            self._decode(C.llama_batch_get_one(tokens, len(piece)))

    def _decode(self, batch: Any) -> None:
        status = C.llama_decode(self._context, batch)
        if status:
            raise DecodeFailed(f'llama.cpp could not compute this step (status {status}).')

    def _tokenize(self, text: str, count: int) -> list[int]:
        """Return `count` tokens: those of the text, over and over."""
        data, vocab = text.encode(), C.llama_model_get_vocab(self._model)
        size = -C.llama_tokenize(vocab, data, len(data), None, 0, False, False)  # asks for the size
        tokens = (C.llama_token * size)()
        C.llama_tokenize(vocab, data, len(data), tokens, size, False, False)
        ids: list[int] = list(tokens) * (count // size + 1)
        return ids[:count]
