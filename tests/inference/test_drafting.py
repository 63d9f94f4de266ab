"""Guesses from what was said: the same text in fewer steps, and honest numbers about how many were right."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from inference.catalog import ModelFile
from inference.chat import Finished, GenerationRequest, TextDelta
from inference.drafting import MOST_DRAFT, PAUSE, Drafter
from inference.llama import LlamaEngine
from inference.settings import LoadSettings

Ask = Callable[..., GenerationRequest]
IN_TIME = 30


def test_what_followed_the_same_words_before_is_guessed() -> None:
    drafter = Drafter([1, 2, 3, 4, 5, 6, 1, 2, 3])

    assert drafter.guess(3) == [4, 5, 6]
    assert drafter.guess(99) == [4, 5, 6, 1, 2, 3]


def test_the_latest_place_counts() -> None:
    assert Drafter([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3]).guess(1) == [5]


@pytest.mark.parametrize('tokens', [[], [1], [1, 2, 3], [1, 2, 3, 4, 5, 6]])
def test_nothing_is_guessed_where_nothing_is_repeated(tokens: list[int]) -> None:
    assert Drafter(tokens).guess(5) == []


def test_no_more_is_guessed_than_there_is_room_for() -> None:
    drafter = Drafter([1, 2, 3, *range(10, 50), 1, 2, 3])

    assert len(drafter.guess(99)) == MOST_DRAFT
    assert drafter.guess(2) == [10, 11]
    assert drafter.guess(0) == []
    assert drafter.guess(-10) == []


def test_wrong_guesses_make_it_cautious_and_then_pause() -> None:
    drafter = Drafter([1, 2, 3, *range(10, 50), 1, 2, 3])
    drafter.learn(8, 4)
    assert 0 < len(drafter.guess(99)) < MOST_DRAFT

    for _ in range(6):
        drafter.learn(4, 0)
    assert drafter.guess(99) == []

    drafter.extend(range(60, 60 + PAUSE - 3))
    drafter.extend([1, 2, 3])
    assert drafter.guess(1) == [60]
    assert (drafter.drafted, drafter.accepted) == (32, 4)


@pytest.fixture
async def drafting(talker: ModelFile, quick: LoadSettings) -> AsyncIterator[LlamaEngine]:
    engine = await LlamaEngine.load(talker, quick.model_copy(update={'n_ctx': 2048, 'draft': 'on'}))
    yield engine
    await engine.close()


@pytest.fixture
async def plain(talker: ModelFile, quick: LoadSettings) -> AsyncIterator[LlamaEngine]:
    engine = await LlamaEngine.load(talker, quick.model_copy(update={'n_ctx': 2048}))
    yield engine
    await engine.close()


async def answer(engine: LlamaEngine, request: GenerationRequest) -> tuple[str, Finished]:
    async with asyncio.timeout(IN_TIME):
        *events, end = [event async for event in engine.generate(request)]
    assert isinstance(end, Finished)
    return ''.join(event.text for event in events if isinstance(event, TextDelta)), end


@pytest.mark.parametrize(
    'sampling',
    [
        {},
        {'temperature': 0.8, 'seed': 3, 'repeat_penalty': 1},
        {'repeat_penalty': 1.3, 'repeat_last_n': 20},
        {'stop': ('fish hears',)},
        {'max_tokens': 37},
    ],
    ids=str,
)
async def test_guessing_never_changes_the_text(
    drafting: LlamaEngine, plain: LlamaEngine, ask: Ask, sampling: dict[str, float]
) -> None:
    request = ask('hello', **{'max_tokens': 100, **sampling})

    expected, without = await answer(plain, request)
    text, end = await answer(drafting, request)

    assert text == expected
    assert (end.reason, end.usage.completion_tokens) == (without.reason, without.usage.completion_tokens)
    assert without.usage.drafted_tokens == 0


async def test_a_text_that_repeats_itself_is_guessed_well(drafting: LlamaEngine, ask: Ask) -> None:
    _, end = await answer(drafting, ask('hello', max_tokens=300, repeat_penalty=1))

    assert end.usage.accepted_tokens > 200
    assert end.usage.accepted_tokens <= end.usage.drafted_tokens
    assert end.usage.completion_tokens == 300


async def test_the_next_turn_finds_what_was_guessed_right(drafting: LlamaEngine, ask: Ask) -> None:
    said, first = await answer(drafting, ask('hello', max_tokens=100, repeat_penalty=1))

    _, second = await answer(drafting, ask('hello', said, 'and ?', max_tokens=1))

    assert second.usage.cached_tokens >= first.usage.prompt_tokens + 99


async def test_a_reply_that_is_guessed_fills_the_context_to_the_end(drafting: LlamaEngine, ask: Ask) -> None:
    _, end = await answer(drafting, ask('hello', repeat_penalty=1))

    assert end.reason == 'length'
    assert end.usage.prompt_tokens + end.usage.completion_tokens == 2048
    assert end.usage.accepted_tokens > 1000
