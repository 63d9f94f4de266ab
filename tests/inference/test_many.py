"""Several conversations at once on one model: the same words as alone, nothing read twice, nobody shut out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inference.catalog import ModelFile
from inference.chat import Finished, GenerationEvent, GenerationRequest, PromptProgress, Queued, TextDelta
from inference.engine import Generation
from inference.llama import LlamaEngine
from inference.settings import LoadSettings

Ask = Callable[..., GenerationRequest]
IN_TIME = 30
OPENINGS = (
    'hello',
    'the cat sees a dog',
    'my bird likes your world and one fish hears it',
    'world world world . and again',
    'quietly',
    'a dog . a cat . a bird . a fish',
    'it hears my world , but your bird likes it',
    'one',
)


@pytest.fixture
async def engine(babbler: ModelFile, quick: LoadSettings) -> AsyncIterator[LlamaEngine]:
    engine = await LlamaEngine.load(babbler, quick.model_copy(update={'n_ctx': 4096, 'n_batch': 64, 'n_slots': 8}))
    yield engine
    await engine.close()


async def collect(generation: Generation) -> list[GenerationEvent]:
    async with asyncio.timeout(IN_TIME):
        return [event async for event in generation]


async def answer(engine: LlamaEngine, request: GenerationRequest) -> tuple[str, Finished]:
    *events, end = await collect(engine.generate(request))
    assert isinstance(end, Finished)
    return ''.join(event.text for event in events if isinstance(event, TextDelta)), end


async def until(generation: Generation, kind: type[GenerationEvent]) -> GenerationEvent:
    async with asyncio.timeout(IN_TIME):
        async for event in generation:
            if isinstance(event, kind):
                return event
    raise AssertionError(f'no {kind.__name__}')


async def rested(engine: LlamaEngine, chats: int) -> None:
    """Wait until the engine has saved so many idle chats."""
    async with asyncio.timeout(IN_TIME):
        while engine.status.cached_chats < chats:  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize('at_once', [1, 4, 8])
async def test_every_chat_reads_as_if_it_were_alone(engine: LlamaEngine, ask: Ask, at_once: int) -> None:
    requests = [ask(opening, max_tokens=60, repeat_penalty=1) for opening in OPENINGS[:at_once]]
    alone = [(await answer(engine, request))[0] for request in requests]
    await engine.forget()

    together = await asyncio.gather(*(answer(engine, request) for request in requests))

    assert [text for text, _ in together] == alone
    assert len({*alone}) == at_once
    assert [end.usage.completion_tokens for _, end in together] == [60] * at_once


async def test_chats_of_several_turns_get_the_same_words_from_any_cache(engine: LlamaEngine, ask: Ask) -> None:
    async def talk(opening: str) -> list[str]:
        texts = [opening]
        for turn in ('and then ?', 'why ?', 'hello again'):
            said, end = await answer(engine, ask(*texts, max_tokens=20))
            assert len(texts) == 1 or end.usage.cached_tokens > 0
            texts += [said, turn]
        return texts

    alone = []
    for opening in OPENINGS:
        await engine.forget()
        alone.append(await talk(opening))
    await engine.forget()

    assert await asyncio.gather(*map(talk, OPENINGS)) == alone


async def test_a_follow_up_reads_only_what_is_new_even_after_ten_other_chats(engine: LlamaEngine, ask: Ask) -> None:
    said, first = await answer(engine, ask('hello ' * 200, max_tokens=20))
    for number in range(10):
        await answer(engine, ask(f'{number} ' * 100, max_tokens=5))

    _, second = await answer(engine, ask('hello ' * 200, said, 'and then ?', max_tokens=5))

    before = first.usage.prompt_tokens + first.usage.completion_tokens
    assert second.usage.cached_tokens >= before - 1


async def test_a_chat_takes_the_beginning_it_shares_with_one_that_is_being_answered(
    engine: LlamaEngine, ask: Ask
) -> None:
    running = engine.generate(ask('hello ' * 300 + 'cat'))
    await until(running, TextDelta)

    _, end = await answer(engine, ask('hello ' * 300 + 'dog', max_tokens=5))

    assert end.usage.cached_tokens >= 300
    running.cancel()


async def test_idle_chats_wait_in_memory_up_to_a_limit(engine: LlamaEngine, ask: Ask) -> None:
    await answer(engine, ask('hello ' * 50, max_tokens=1))
    await rested(engine, 1)
    one = engine.status.cache_bytes
    assert 0 < one <= engine.status.cache_limit

    await engine.adjust(LoadSettings(n_threads=1, n_slots=8, cache_ram=1))
    limit = engine.status.cache_limit
    for number in range(limit // one + 4):
        await answer(engine, ask(f'{number} ' * 50, max_tokens=1))

    assert engine.status.cache_bytes <= limit == 1 << 20
    assert engine.status.cached_chats > 1


async def test_without_a_cache_only_the_slots_remember(engine: LlamaEngine, ask: Ask) -> None:
    await engine.adjust(LoadSettings(n_threads=1, n_slots=8, cache_ram=0))

    await answer(engine, ask('hello ' * 50, max_tokens=1))
    _, end = await answer(engine, ask('hello ' * 50, max_tokens=1))

    assert end.usage.cached_tokens == end.usage.prompt_tokens - 1
    assert (engine.status.cached_chats, engine.status.cache_bytes) == (0, 0)


async def test_replies_at_once_can_be_changed_while_the_engine_runs(engine: LlamaEngine, ask: Ask) -> None:
    await engine.adjust(LoadSettings(n_threads=1, n_slots=1))
    running = engine.generate(ask('hello'))
    await until(running, TextDelta)
    waiting = engine.generate(ask('hello there'))
    assert await until(waiting, Queued) == Queued(place=1)

    await engine.adjust(LoadSettings(n_threads=1, n_slots=2))

    await until(waiting, TextDelta)
    assert engine.status.busy == 2
    running.cancel()
    waiting.cancel()


async def test_one_user_cannot_take_all_slots(engine: LlamaEngine, ask: Ask) -> None:
    await engine.adjust(LoadSettings(n_threads=1, n_slots=8, slots_per_user=1))
    mine = [engine.generate(_of('me', ask('hello', max_tokens=2000)))]
    await until(mine[0], TextDelta)
    mine.append(engine.generate(_of('me', ask('hello', max_tokens=2000))))
    assert await until(mine[1], Queued) == Queued(place=1)

    text, _ = await answer(engine, _of('you', ask('hello', max_tokens=5)))

    assert text
    assert engine.status.busy == 1
    for generation in mine:
        generation.cancel()


async def test_a_full_context_ends_the_longest_reply_and_says_why(engine: LlamaEngine, ask: Ask) -> None:
    """Three chats share 4,096 tokens; each alone would fit."""
    short = asyncio.create_task(answer(engine, ask('hello', max_tokens=1000, repeat_penalty=1)))
    middle = asyncio.create_task(answer(engine, ask(' the cat sees a dog' * 10, max_tokens=1400, repeat_penalty=1)))
    _, longest = await answer(engine, ask(' hello' * 200, max_tokens=2400, repeat_penalty=1))

    assert longest.reason == 'length'
    assert longest.usage.completion_tokens < 2400
    assert 'share the context of 4,096 tokens' in longest.detail
    assert (await short)[1].usage.completion_tokens == 1000
    assert (await middle)[1].usage.completion_tokens == 1400


async def test_one_that_is_still_read_makes_room_and_comes_back(engine: LlamaEngine, ask: Ask) -> None:
    running = [asyncio.create_task(answer(engine, ask(opening, max_tokens=900))) for opening in OPENINGS[:3]]
    await asyncio.sleep(0.05)

    _, late = await answer(engine, ask(' hello' * 400, max_tokens=3, repeat_penalty=1))

    assert late.usage.completion_tokens == 3
    assert [end.usage.completion_tokens for _, end in await asyncio.gather(*running)] == [900] * 3


async def test_replies_go_on_while_a_long_prompt_is_read(engine: LlamaEngine, ask: Ask) -> None:
    running = engine.generate(ask('hello'))
    await until(running, TextDelta)
    reading = engine.generate(ask(' hello' * 400, max_tokens=1))
    await until(reading, PromptProgress)

    await until(running, TextDelta)
    event = await until(reading, PromptProgress)

    assert isinstance(event, PromptProgress) and event.done < event.total
    running.cancel()
    reading.cancel()


async def test_cancelling_one_leaves_the_others_alone(engine: LlamaEngine, ask: Ask) -> None:
    alone, _ = await answer(engine, ask('hello ' * 100, max_tokens=50))
    await engine.forget()

    going = asyncio.create_task(answer(engine, ask('hello ' * 100, max_tokens=50)))
    for number in range(7):
        passing = engine.generate(ask(f'{number} ' * 500))
        await asyncio.sleep(0.01)
        passing.cancel()

    assert (await going)[0] == alone


def _of(user: str, request: GenerationRequest) -> GenerationRequest:
    fields: dict[str, Any] = {name: getattr(request, name) for name in request.__dataclass_fields__}
    return GenerationRequest(**{**fields, 'user': user})
