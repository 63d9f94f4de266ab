"""What can be asked of the echo engine: more than text, in a way that is known beforehand."""

import math
from typing import Any

import pytest

from inference.chat import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    LeftOut,
    Message,
    Overflow,
    Queued,
    ReasoningDelta,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    join_calls,
)
from inference.echo import N_CTX, EchoEngine
from inference.errors import ContextLengthExceeded
from inference.settings import SamplingSettings

WEATHER = Tool(name='weather', description='Tells the weather', parameters={'type': 'object'})


def request(*texts: str, **more: Any) -> GenerationRequest:
    """Ask with texts that take turns, the user's first."""
    roles: list[Any] = ['user', 'assistant']
    messages = tuple(Message(role=roles[number % 2], content=text) for number, text in enumerate(texts))
    sampling = SamplingSettings(**more.pop('sampling', {}))
    return GenerationRequest(messages=messages, sampling=sampling, **more)


async def reply(request: GenerationRequest) -> list[GenerationEvent]:
    return [event async for event in EchoEngine(rate=0).generate(request)]


def text_of(events: list[GenerationEvent]) -> str:
    return ''.join(event.text for event in events if isinstance(event, TextDelta))


def reasoning_of(events: list[GenerationEvent]) -> str:
    return ''.join(event.text for event in events if isinstance(event, ReasoningDelta))


def calls_of(events: list[GenerationEvent]) -> list[ToolCall]:
    return join_calls(event for event in events if isinstance(event, ToolCallDelta))


def end_of(events: list[GenerationEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_what_stands_in_think_tags_is_reasoning() -> None:
    events = await reply(request('<think>first this then that</think>\n\nthe answer'))

    assert (reasoning_of(events), text_of(events)) == ('first this then that', 'the answer')
    assert (end_of(events).usage.completion_tokens, end_of(events).usage.reasoning_tokens) == (6, 4)


@pytest.mark.parametrize(
    ('sampling', 'reasoning'),
    [({'reasoning_budget': 2}, 'first this'), ({'reasoning_budget': 0}, ''), ({'reasoning': 'off'}, '')],
)
async def test_reasoning_keeps_to_its_budget(sampling: dict[str, Any], reasoning: str) -> None:
    events = await reply(request('<think>first this then that</think>the answer', sampling=sampling))

    assert (reasoning_of(events), text_of(events)) == (reasoning, 'the answer')


async def test_a_line_with_a_tool_that_is_there_is_a_call() -> None:
    asked = 'let me see\n/tool weather {"city": "Ålesund"}\n/tool weather {}'
    events = await reply(request(asked, tools=(WEATHER,)))

    assert text_of(events).strip() == 'let me see'
    assert calls_of(events) == [
        ToolCall(id='call_1', name='weather', arguments='{"city": "Ålesund"}'),
        ToolCall(id='call_2', name='weather', arguments='{}'),
    ]
    assert (end_of(events).reason, end_of(events).usage.completion_tokens) == ('tool_calls', 3 + 3 + 2)


@pytest.mark.parametrize('more', [{}, {'tools': (WEATHER,), 'tool_choice': 'none'}])
async def test_without_such_a_tool_the_line_is_text(more: dict[str, Any]) -> None:
    events = await reply(request('/tool weather {}', **more))

    assert (text_of(events), calls_of(events), end_of(events).reason) == ('/tool weather {}', [], 'stop')


async def test_the_likeliest_words_are_told_with_each() -> None:
    events = await reply(request('one two', sampling={'n_probs': 3}))

    choices = [choice for event in events if isinstance(event, TextDelta) for choice in event.choices]
    assert [choice.chosen.piece for choice in choices] == [b'one', b' two']
    assert [likelihood.piece for likelihood in choices[0].top] == [b'one', b'one?', b'one??']
    assert all(math.isclose(choice.top[1].logprob, choice.chosen.logprob - 1) for choice in choices)
    assert not any(event.choices for event in await reply(request('one two')) if isinstance(event, TextDelta))


async def test_a_reply_that_was_begun_goes_on() -> None:
    events = await reply(request('one two three four', 'one two', continues=True))

    assert text_of(events) == ' three four'


@pytest.mark.parametrize(('overflow', 'left_out'), [('roll', (0, 1)), ('middle', (2,))])
async def test_messages_are_left_out_as_the_policy_wants_it(overflow: Overflow, left_out: tuple[int, ...]) -> None:
    third = 'x ' * (N_CTX * 2 // 5)
    asked = request('x', third, third, 'x', third, overflow=overflow, sampling={'max_tokens': 1})

    assert [event for event in await reply(asked) if isinstance(event, LeftOut)] == [LeftOut(messages=left_out)]

    with pytest.raises(ContextLengthExceeded):
        await reply(request('x', third, third, 'x', third))


async def test_a_reply_that_fills_the_context_says_so() -> None:
    events = await reply(request('x ' * (N_CTX - 3)))

    assert (end_of(events).reason, end_of(events).detail) == ('length', 'the context is full')
    assert end_of(events).usage.completion_tokens == 3


async def test_several_replies_can_be_made_at_once() -> None:
    engine = EchoEngine(rate=1000, slots=2)
    running = [engine.generate(request(f'{number} ' * 1000)) for number in range(2)]
    waiting = engine.generate(request('me too'))
    async for event in waiting:
        if isinstance(event, Queued):
            break

    assert event == Queued(place=1)
    assert (engine.status.slots, engine.status.busy, engine.status.queued) == (2, 2, 1)
    running[1].cancel()
    assert isinstance([event async for event in waiting][-1], Finished)
    await engine.close()
