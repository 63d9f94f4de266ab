"""A conversation that outgrows its context: it ends, or goes on without some messages, and says without which."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from inference.catalog import ModelFile
from inference.chat import Finished, GenerationEvent, GenerationRequest, LeftOut, Message, TextDelta
from inference.errors import ContextLengthExceeded
from inference.llama import LlamaEngine
from inference.settings import LoadSettings

Ask = Callable[..., GenerationRequest]
IN_TIME = 30


@pytest.fixture
async def engine(babbler: ModelFile, quick: LoadSettings) -> AsyncIterator[LlamaEngine]:
    engine = await LlamaEngine.load(babbler, quick.model_copy(update={'n_ctx': 512}))
    yield engine
    await engine.close()


async def answer(engine: LlamaEngine, request: GenerationRequest) -> list[GenerationEvent]:
    async with asyncio.timeout(IN_TIME):
        return [event async for event in engine.generate(request)]


def left_out(events: list[GenerationEvent]) -> list[tuple[int, ...]]:
    return [event.messages for event in events if isinstance(event, LeftOut)]


def end_of(events: list[GenerationEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def long_talk(ask: Ask, turns: int, **sampling: object) -> GenerationRequest:
    texts = [f'{number} hello there' for number in range(2 * turns + 1)]
    request = ask(*texts, **sampling)
    return replace(request, messages=(Message(role='system', content='be brief'), *request.messages))


async def test_a_conversation_that_fits_is_sent_as_it_is(engine: LlamaEngine, ask: Ask) -> None:
    events = await answer(engine, replace(long_talk(ask, 2, max_tokens=5), overflow='roll'))

    assert left_out(events) == []


async def test_without_a_choice_a_long_conversation_is_refused(engine: LlamaEngine, ask: Ask) -> None:
    with pytest.raises(ContextLengthExceeded):
        await answer(engine, long_talk(ask, 20))


async def test_the_oldest_turns_go_and_the_system_prompt_stays(engine: LlamaEngine, ask: Ask) -> None:
    request = replace(long_talk(ask, 20, max_tokens=5), overflow='roll')

    events = await answer(engine, request)

    (gone,) = left_out(events)
    assert gone == tuple(range(1, len(gone) + 1))
    assert len(gone) % 2 == 0  # whole turns
    assert 0 not in gone and len(request.messages) - 1 not in gone
    assert end_of(events).usage.prompt_tokens < 512


async def test_the_middle_goes_and_the_first_turn_stays(engine: LlamaEngine, ask: Ask) -> None:
    events = await answer(engine, replace(long_talk(ask, 20, max_tokens=5), overflow='middle'))

    (gone,) = left_out(events)
    assert min(gone) == 3


async def test_most_turns_leave_out_what_the_one_before_did_and_read_only_what_is_new(
    engine: LlamaEngine, ask: Ask
) -> None:
    request = replace(long_talk(ask, 20, max_tokens=5), overflow='roll')
    gone, computed = [], []
    for _ in range(6):
        events = await answer(engine, request)
        said = ''.join(event.text for event in events if isinstance(event, TextDelta))
        more = (Message(role='assistant', content=said), Message(role='user', content='and ?'))
        request = replace(request, messages=(*request.messages, *more))
        usage = end_of(events).usage
        gone.append(left_out(events)[0])
        computed.append(usage.prompt_tokens - usage.cached_tokens)

    assert len({*gone}) <= 3
    assert sum(count < 40 for count in computed) >= 3


async def test_one_message_that_is_too_long_is_refused_in_any_case(engine: LlamaEngine, ask: Ask) -> None:
    with pytest.raises(ContextLengthExceeded):
        await answer(engine, replace(ask('hello ' * 500), overflow='roll'))


async def test_a_reply_that_fills_the_context_goes_on_with_fewer_messages(engine: LlamaEngine, ask: Ask) -> None:
    request = replace(long_talk(ask, 6, max_tokens=400, repeat_penalty=1), overflow='roll')

    events = await answer(engine, request)

    end = end_of(events)
    assert (end.reason, end.usage.completion_tokens) == ('length', 400)
    texts = sum(event.tokens for event in events if isinstance(event, TextDelta))
    assert texts == 400
    assert 1 <= len(left_out(events)) <= 3
    assert left_out(events)[-1][0] == 1


async def test_a_reply_that_alone_fills_the_context_ends_and_says_so(engine: LlamaEngine, ask: Ask) -> None:
    events = await answer(engine, replace(long_talk(ask, 6, repeat_penalty=1), overflow='roll'))

    end = end_of(events)
    assert end.reason == 'length'
    assert end.usage.completion_tokens > 300
    assert '512' in end.detail


async def test_a_reply_can_be_stopped_while_it_is_made_again(engine: LlamaEngine, ask: Ask) -> None:
    generation = engine.generate(replace(long_talk(ask, 6, max_tokens=500), overflow='roll'))
    events = []
    async with asyncio.timeout(IN_TIME):
        async for event in generation:
            events.append(event)
            if isinstance(event, LeftOut):
                generation.cancel()

    assert end_of(events).reason == 'cancelled'
    assert engine.status.busy == 0
