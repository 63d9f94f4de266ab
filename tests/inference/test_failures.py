"""What happens when llama.cpp gives up: the library's own call is made to return what it returns then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.catalog import ModelFile
from inference.chat import Finished, GenerationRequest, TextDelta
from inference.errors import ContextLost, DecodeFailed, InferenceError, LoadFailed
from inference.llama import LlamaEngine
from inference.settings import LoadSettings

Ask = Callable[..., GenerationRequest]
Decode = Callable[[Any, Any], int]
IN_TIME = 30


@pytest.fixture
async def engine(babbler: ModelFile, quick: LoadSettings) -> AsyncIterator[LlamaEngine]:
    engine = await LlamaEngine.load(babbler, quick.model_copy(update={'n_ctx': 2048, 'n_slots': 4}))
    yield engine
    await engine.close()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], int]], None]:
    """Let `llama_decode` return a status of its own where it is not 0; the real one decides otherwise."""
    real: Decode = C.llama_decode

    def fail(status: Callable[[Any], int]) -> None:
        monkeypatch.setattr(C, 'llama_decode', lambda context, batch: status(batch) or real(context, batch))

    return fail


async def answer(engine: LlamaEngine, request: GenerationRequest) -> tuple[str, Finished]:
    async with asyncio.timeout(IN_TIME):
        *events, end = [event async for event in engine.generate(request)]
    assert isinstance(end, Finished)
    return ''.join(event.text for event in events if isinstance(event, TextDelta)), end


async def outcome(engine: LlamaEngine, request: GenerationRequest) -> str | InferenceError:
    try:
        return (await answer(engine, request))[0]
    except InferenceError as error:
        return error


def holds(batch: Any, token: int) -> bool:
    return any(batch.token[row] == token for row in range(batch.n_tokens))


async def test_a_step_that_fails_for_one_goes_on_for_the_others(
    engine: LlamaEngine, ask: Ask, library: Callable[..., None]
) -> None:
    fine = [ask(f'{word} hears it', max_tokens=40) for word in ('cat', 'dog', 'bird')]
    alone = [(await answer(engine, request))[0] for request in fine]
    await engine.forget()
    poison = ord('Z') + 5  # the token of that byte

    library(lambda batch: -1 if holds(batch, poison) else 0)
    *others, poisoned = await asyncio.gather(*(outcome(engine, request) for request in [*fine, ask('hello Z')]))

    assert others == alone
    assert isinstance(poisoned, DecodeFailed)
    assert 'status -1' in str(poisoned)


async def test_a_context_that_is_lost_is_made_again(
    engine: LlamaEngine, ask: Ask, library: Callable[..., None]
) -> None:
    before, _ = await answer(engine, ask('hello', max_tokens=20))
    broken = iter([-3])
    library(lambda batch: next(broken, 0))

    failed = await outcome(engine, ask('the cat', max_tokens=20))
    after, end = await answer(engine, ask('hello', max_tokens=20))

    assert isinstance(failed, ContextLost)
    assert after == before
    assert end.usage.cached_tokens > 0  # the RAM still has it
    assert engine.status.busy == 0


async def test_without_a_new_context_every_request_says_so(
    engine: LlamaEngine, ask: Ask, library: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = iter([-3])
    library(lambda batch: next(broken, 0))
    monkeypatch.setattr(C, 'llama_init_from_model', lambda model, params: None)

    assert isinstance(await outcome(engine, ask('hello')), ContextLost)
    for _ in range(2):
        assert isinstance(await outcome(engine, ask('hello')), LoadFailed)
