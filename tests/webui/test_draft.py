"""How a reply grows while it is written."""

import asyncio

from inference.chat import ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from presets.chat import StoredMessage
from webui.draft import FLUSH_SECONDS, Draft, Growth


def begin() -> tuple[Draft, list[Growth]]:
    grown: list[Growth] = []
    return Draft(StoredMessage(role='assistant', content=''), grown.append), grown


async def test_what_comes_at_once_is_handed_on_together() -> None:
    draft, grown = begin()
    for delta in (ReasoningDelta(text='a'), ReasoningDelta(text='b'), TextDelta(text='c'), TextDelta(text='d')):
        draft.take(delta)
    assert (grown, draft.message.content) == ([], '')

    await asyncio.sleep(3 * FLUSH_SECONDS)
    assert grown == [Growth(reasoning='ab', text='cd', calls=False)]
    assert (draft.message.reasoning, draft.message.content, draft.tokens) == ('ab', 'cd', 4)

    draft.take(TextDelta(text='e'))
    draft.finish()
    await asyncio.sleep(3 * FLUSH_SECONDS)
    assert [growth.text for growth in grown] == ['cd', 'e']


async def test_calls_grow_by_their_parts() -> None:
    draft, grown = begin()
    draft.take(ToolCallDelta(index=0, id='1', name='f', arguments='{'))
    draft.flush()
    assert draft.message.tool_calls == [ToolCall(id='1', name='f', arguments='{')]

    draft.take(ToolCallDelta(index=0, arguments='}'))
    draft.take(ToolCallDelta(index=1, id='2', name='g'))
    draft.finish()
    assert [(call.name, call.arguments) for call in draft.message.tool_calls] == [('f', '{}'), ('g', '')]
    assert [growth.calls for growth in grown] == [True, True]


async def test_thinking_takes_its_time_until_the_answer_begins() -> None:
    draft, _ = begin()
    draft.take(ReasoningDelta(text='hm'))
    await asyncio.sleep(0.02)
    draft.take(TextDelta(text='', tokens=1))
    assert draft.message.reasoning_seconds == 0, 'text that is held back is no answer yet'

    draft.take(TextDelta(text='so'))
    thought = draft.message.reasoning_seconds
    await asyncio.sleep(0.02)
    draft.finish()
    assert draft.message.reasoning_seconds == thought >= 0.02


async def test_nothing_is_reported_where_nothing_came() -> None:
    draft, grown = begin()
    draft.take(TextDelta(text=''))
    draft.finish()
    assert grown == []
