"""Replies as server-sent events: an error before the first event is an HTTP status, a client that leaves ends it."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from inference.chat import GenerationEvent, GenerationRequest
from inference.engine import Engine
from webui.api.errors import body_of

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = ': still here\n\n'
HEADERS = {'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no'}

Events = AsyncGenerator[GenerationEvent, None]
Result = TypeVar('Result')


class Wire(Protocol):
    """How the events of a reply are spelled; an event that has no spelling is the empty text."""

    def event(self, event: GenerationEvent) -> str:
        """Return the text of an event."""

    def error(self, body: dict[str, Any]) -> str:
        """Return the text of an error that ends the stream."""


async def reply(engine: Callable[[], Awaitable[Engine]], request: GenerationRequest) -> Events:
    """Yield the events of one reply, once there is an engine; closing it cancels the generation."""
    async with (await engine()).generate(request) as generation:
        async for event in generation:
            yield event


class EventStream(StreamingResponse):
    """Sends a reply as it is made. The headers wait for the first text, or for the first sign of life."""

    media_type = 'text/event-stream'

    def __init__(self, events: Events, wire: Wire, keep_alive: float = KEEP_ALIVE_SECONDS) -> None:
        super().__init__((), headers=HEADERS)
        self._events, self._wire, self._keep_alive = events, wire, keep_alive
        self._sending = asyncio.Lock()
        self._started = False
        self._quiet_since = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end or until the client is gone, whichever the server reports first."""
        await unless_disconnected(receive, self._stream(send))

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._events), self._kept_alive(send):
            try:
                async for event in self._events:
                    await self._send(send, self._wire.event(event))
            except Exception as error:
                if not self._started:
                    raise
                await self._send(send, self._wire.error(body_of(error)))
        await send({'type': 'http.response.body', 'body': b'', 'more_body': False})

    async def _send(self, send: Send, text: str) -> None:
        if not text:
            return
        async with self._sending:
            if not self._started:
                self._started = True
                await send({'type': 'http.response.start', 'status': self.status_code, 'headers': self.raw_headers})
            await send({'type': 'http.response.body', 'body': text.encode(), 'more_body': True})
            self._quiet_since = time.monotonic()

    @asynccontextmanager
    async def _kept_alive(self, send: Send) -> AsyncIterator[None]:
        task = asyncio.create_task(self._break_silence(send))
        try:
            yield
        finally:
            await _end(task)

    async def _break_silence(self, send: Send) -> None:
        """Proxies close a connection on which nothing happens, as in a long prefill."""
        while True:
            rest = self._quiet_since + self._keep_alive - time.monotonic()
            if rest > 0:
                await asyncio.sleep(rest)
            else:
                await self._send(send, KEEP_ALIVE)


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result | None:
    """Return what `work` returns, or None once the client is gone; the work is cancelled then."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(leaving)
        await _end(working)
    return None if working.cancelled() else working.result()


def format_event(data: object, name: str = '') -> str:
    """Return one event; everything but ASCII is escaped, since some clients split lines at U+2028 too."""
    head = f'event: {name}\n' if name else ''
    return f'{head}data: {json.dumps(data)}\n\n'


async def _disconnected(receive: Receive) -> None:
    while (await receive())['type'] != 'http.disconnect':
        pass


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
