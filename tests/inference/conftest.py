"""Engines over tiny models, which load in milliseconds, and what is asked of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.catalog import Catalog, ModelFile
from inference.chat import GenerationRequest, Message, Role
from inference.echo import EchoEngine
from inference.engine import Engine
from inference.llama import LlamaEngine
from inference.settings import LoadSettings, SamplingSettings
from tests.tiny_models import write_tiny_model

Ask = Callable[..., GenerationRequest]
Catalogued = Callable[[Path], ModelFile]


@pytest.fixture
def quick() -> LoadSettings:
    """Load settings that do well on a busy machine and any processor."""
    return LoadSettings(n_ctx=512, n_threads=1, use_extra_bufts=False)


@pytest.fixture(scope='session')
def catalogued() -> Catalogued:
    """Give the catalogue's entry of a model file."""

    def find(path: Path) -> ModelFile:
        catalog = Catalog([], extra=[path])
        catalog.scan()
        assert not catalog.problems
        return catalog.models[0]

    return find


@pytest.fixture(scope='session')
def talker(tmp_path_factory: pytest.TempPathFactory, catalogued: Catalogued) -> ModelFile:
    """A model that never ends a reply by itself."""
    path = tmp_path_factory.mktemp('models') / 'talker.gguf'
    return catalogued(write_tiny_model(path, endless=True, n_ctx_train=8192))


@pytest.fixture(scope='session')
def babbler(tmp_path_factory: pytest.TempPathFactory, catalogued: Catalogued) -> ModelFile:
    """A model whose words depend on all words before, and which never ends a reply by itself."""
    path = tmp_path_factory.mktemp('models') / 'babbler.gguf'
    return catalogued(write_tiny_model(path, babbles=True, n_ctx_train=8192))


@pytest.fixture(scope='session')
def speaker(tmp_path_factory: pytest.TempPathFactory, catalogued: Catalogued) -> ModelFile:
    """A model that says one sentence."""
    return catalogued(write_tiny_model(tmp_path_factory.mktemp('models') / 'speaker.gguf'))


@pytest.fixture
def ask() -> Ask:
    """Make a request of texts that take turns, the user's first; the likeliest tokens are taken."""

    def request(*texts: str, **sampling: Any) -> GenerationRequest:
        turns = zip(_roles(), texts, strict=False)
        messages = tuple(Message(role=role, content=text) for role, text in turns)
        return GenerationRequest(
            messages=messages, sampling=SamplingSettings.model_validate({'temperature': 0, **sampling})
        )

    return request


@pytest.fixture(params=['echo', 'llama'])
async def engine(request: pytest.FixtureRequest, talker: ModelFile, quick: LoadSettings) -> AsyncIterator[Engine]:
    """Each engine in turn; their replies to a long message are long."""
    if request.param == 'echo':
        engine: Engine = EchoEngine(rate=0)
    else:
        engine = await LlamaEngine.load(talker, quick.model_copy(update={'n_ctx': 8192, 'n_batch': 64, 'n_slots': 1}))
    yield engine
    await engine.close()


def _roles() -> Iterator[Role]:
    while True:
        yield from ('user', 'assistant')
