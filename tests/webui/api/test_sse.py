"""Streams that are quiet, that fail half-way, and that nobody listens to any more."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.types import Message

from inference.chat import Finished, GenerationEvent, TextDelta, Timings, Usage
from inference.errors import DecodeFailed
from webui.api.manage import OwnWire
from webui.api.sse import KEEP_ALIVE, EventStream, format_event

END = Finished(reason='stop', usage=Usage(), timings=Timings())


class Client:
    """The server's side of a connection: what was sent, and a client that leaves when told."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self.heard = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {'type': 'http.disconnect'}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if message.get('body'):
            self.heard.set()

    async def read(self, stream: EventStream) -> str:
        """Run the response and return what arrived."""
        await stream({'type': 'http'}, self.receive, self.send)
        return b''.join(message.get('body', b'') for message in self.sent).decode()


async def test_a_long_silence_is_broken_by_comments() -> None:
    client = Client()

    async def events() -> AsyncGenerator[GenerationEvent, None]:
        await client.heard.wait()  # goes on only after a sign of life
        yield END

    text = await client.read(EventStream(events(), OwnWire(), keep_alive=0.01))

    assert text.startswith(KEEP_ALIVE)
    assert 'event: done' in text


async def test_an_error_half_way_is_the_last_event() -> None:
    async def events() -> AsyncGenerator[GenerationEvent, None]:
        yield TextDelta(text='so far')
        raise DecodeFailed('The GPU is gone.')

    client = Client()
    text = await client.read(EventStream(events(), OwnWire()))

    assert client.sent[0]['status'] == 200
    assert client.sent[-1] == {'type': 'http.response.body', 'body': b'', 'more_body': False}
    delta, error = text.strip().split('\n\n')
    assert 'so far' in delta
    assert error.startswith('event: error\n') and 'The GPU is gone.' in error and 'decode_failed' in error


async def test_an_error_before_anything_was_sent_is_left_to_the_app() -> None:
    async def events() -> AsyncGenerator[GenerationEvent, None]:
        raise DecodeFailed('The GPU is gone.')
        yield END

    client = Client()
    with pytest.raises(DecodeFailed):
        await client.read(EventStream(events(), OwnWire()))
    assert client.sent == []


async def test_a_client_that_leaves_closes_the_source_even_while_nothing_comes() -> None:
    client, closed = Client(), asyncio.Event()

    async def events() -> AsyncGenerator[GenerationEvent, None]:
        try:
            client.left.set()
            await asyncio.Event().wait()
            yield END
        finally:
            closed.set()

    assert await client.read(EventStream(events(), OwnWire())) == ''
    assert closed.is_set()


@pytest.mark.parametrize('data', ['two\nlines', 'next\u2028line', 'lone \ud800', {'text': 'ü'}])
def test_an_event_is_one_line_of_ascii(data: Any) -> None:
    text = format_event(data, 'delta')

    assert text.isascii()
    assert len(text.splitlines()) == 3
