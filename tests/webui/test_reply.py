"""How a reply grows while it is written."""

import asyncio

from inference.chat import ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from presets.chat import StoredMessage
from webui.reply import FLUSH_SECONDS, Growth, RunningReply


def begin() -> tuple[RunningReply, list[Growth]]:
    grown: list[Growth] = []
    return RunningReply(StoredMessage(role='assistant', content=''), grown.append), grown


async def test_what_comes_at_once_is_handed_on_together() -> None:
    reply, grown = begin()
    for delta in (ReasoningDelta(text='a'), ReasoningDelta(text='b'), TextDelta(text='c'), TextDelta(text='d')):
        reply.take(delta)
    assert (grown, reply.message.content) == ([], '')

    await asyncio.sleep(3 * FLUSH_SECONDS)
    assert grown == [Growth(reasoning='ab', text='cd', calls=False)]
    assert (reply.message.reasoning, reply.message.content, reply.tokens) == ('ab', 'cd', 4)

    reply.take(TextDelta(text='e'))
    reply.finish()
    await asyncio.sleep(3 * FLUSH_SECONDS)
    assert [growth.text for growth in grown] == ['cd', 'e']


async def test_calls_grow_by_their_parts() -> None:
    reply, grown = begin()
    reply.take(ToolCallDelta(index=0, id='1', name='f', arguments='{'))
    reply.flush()
    assert reply.message.tool_calls == [ToolCall(id='1', name='f', arguments='{')]

    reply.take(ToolCallDelta(index=0, arguments='}'))
    reply.take(ToolCallDelta(index=1, id='2', name='g'))
    reply.finish()
    assert [(call.name, call.arguments) for call in reply.message.tool_calls] == [('f', '{}'), ('g', '')]
    assert [growth.calls for growth in grown] == [True, True]


async def test_thinking_takes_its_time_until_the_answer_begins() -> None:
    reply, _ = begin()
    reply.take(ReasoningDelta(text='hm'))
    await asyncio.sleep(0.02)
    reply.take(TextDelta(text='', tokens=1))
    assert reply.message.reasoning_seconds == 0, 'text that is held back is no answer yet'

    reply.take(TextDelta(text='so'))
    thought = reply.message.reasoning_seconds
    await asyncio.sleep(0.02)
    reply.finish()
    assert reply.message.reasoning_seconds == thought >= 0.02


async def test_nothing_is_reported_where_nothing_came() -> None:
    reply, grown = begin()
    reply.take(TextDelta(text=''))
    reply.finish()
    assert grown == []
