"""Asks a server for streamed replies and notes when each piece of them comes.

A program of its own with the standard library alone: it shares the machine with the server that is measured, so while
replies run it only waits, reads and looks at the clock. Takes a `Plan` as JSON on its input, writes a list of `Reply`.
"""

import bisect
import itertools
import json
import re
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

PATH = '/v1/chat/completions'
READ_BYTES = 1 << 16
TEXT = re.compile(rb'"content": ?"[^"]')
CHUNK = re.compile(rb'([0-9A-Fa-f]+)[^\r\n]*\r\n')
NEVER = float('inf')
TICK = 1e-6
"""Seconds; what comes in one piece comes at one time."""
PATIENCE = 300.0
"""Seconds without a byte until a server counts as hung."""


@dataclass(frozen=True, kw_only=True)
class When:
    """Some seconds after a call has got so many events (0 is its start), or after it has ended."""

    call: int
    events: int = 0
    ended: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request; without `start` it begins at once, at `leave` the client hangs up."""

    body: dict[str, Any]
    start: When | None = None
    leave: When | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to ask, and whom."""

    host: str
    port: int
    calls: list[Call]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of a call; `started` and `arrivals` of text are seconds of one clock, `timings` the server's."""

    started: float
    arrivals: list[float]
    text: str
    timings: dict[str, float]
    error: str = ''

    @property
    def ttft(self) -> float:
        """Seconds to the first text."""
        return self.arrivals[0] - self.started

    @property
    def tokens(self) -> int:
        """Tokens that were written, by the server's own count where it told."""
        return int(self.timings.get('predicted_n', len(self.arrivals)))

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (self.tokens - 1) / max(TICK, self.arrivals[-1] - self.arrivals[0])


@dataclass
class Stream:
    """A call under way: pieces of the response with the time they came, not looked into before the end."""

    call: Call
    connection: socket.socket | None = None
    started: float = 0.0
    ended: float = 0.0
    times: list[float] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    events: list[float] = field(default_factory=list)

    def moment(self, when: When) -> float | None:
        """Return when it was so far; None if it is not yet."""
        if when.ended:
            return self.ended or None
        if when.events == 0:
            return self.started or None
        return self.events[when.events - 1] if len(self.events) >= when.events else None


def main() -> None:
    """Carry out the plan."""
    plan = json.load(sys.stdin)
    calls = [Call(body=call['body'], start=_when(call['start']), leave=_when(call['leave'])) for call in plan['calls']]
    client = Client(plan['host'], plan['port'], calls)
    client.run()
    json.dump([asdict(_reply(stream)) for stream in client.streams], sys.stdout)


def _when(values: dict[str, Any] | None) -> When | None:
    return When(**values) if values else None


class Client:
    """All calls, on one thread that sleeps until something comes or is due."""

    def __init__(self, host: str, port: int, calls: list[Call]) -> None:
        self.streams = [Stream(call) for call in calls]
        self._address, self._selector = (host, port), selectors.DefaultSelector()

    def run(self) -> None:
        """Return when every call has ended or can no longer begin."""
        while not all(stream.ended for stream in self.streams):
            wait = min(map(self._act, self.streams))
            if wait == NEVER and not self._selector.get_map():
                return  # what the others wait for does not come any more
            ready = self._selector.select(max(0.0, min(wait, PATIENCE)))
            if not ready and wait > PATIENCE:
                raise TimeoutError('The server sent nothing for minutes.')
            for key, _ in ready:
                self._read(key.data)

    def _act(self, stream: Stream) -> float:
        """Begin or end a call if it is time; returns the seconds until it will be."""
        call = stream.call
        if stream.ended or (stream.started and not call.leave):
            return NEVER
        wait = self._left(call.leave) if stream.started else self._left(call.start)
        if wait > 0:
            return wait
        self._end(stream) if stream.started else self._begin(stream)
        return 0.0

    def _left(self, when: When | None) -> float:
        """Return the seconds until it is time, NEVER while nobody knows."""
        if not when:
            return 0.0
        moment = self.streams[when.call].moment(when)
        return moment + when.seconds - time.perf_counter() if moment else NEVER

    def _begin(self, stream: Stream) -> None:
        body = json.dumps(stream.call.body).encode()
        head = f'POST {PATH} HTTP/1.1\r\nHost: {self._address[0]}:{self._address[1]}\r\nConnection: close\r\n'
        head += f'Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n'
        stream.started = time.perf_counter()
        stream.connection = socket.create_connection(self._address)
        stream.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.connection.sendall(head.encode() + body)
        self._selector.register(stream.connection, selectors.EVENT_READ, stream)

    def _read(self, stream: Stream) -> None:
        if not stream.connection:
            return
        try:
            piece = stream.connection.recv(READ_BYTES)
        except ConnectionError:
            piece = b''
        if not piece:
            self._end(stream)
            return
        stream.times.append(time.perf_counter())
        stream.pieces.append(piece)
        stream.events.extend(stream.times[-1:] * len(TEXT.findall(piece)))

    def _end(self, stream: Stream) -> None:
        assert stream.connection
        self._selector.unregister(stream.connection)
        stream.connection.close()
        stream.connection, stream.ended = None, time.perf_counter()


def _reply(stream: Stream) -> Reply:
    """Read what was received, now that there is time for it."""
    arrivals: list[float] = []
    texts: list[str] = []
    timings: dict[str, float] = {}
    raw = b''.join(stream.pieces)
    head, _, _ = raw.partition(b'\r\n\r\n')
    if b' 200 ' not in head.partition(b'\r\n')[0] + b' ':
        return Reply(
            started=stream.started, arrivals=[], text='', timings={}, error=raw[:1000].decode(errors='replace')
        )
    error = ''
    for event, moment in _events(stream, raw, len(head) + 4):
        if 'error' in event:
            error = json.dumps(event['error'])
        timings = event.get('timings') or timings
        for choice in event.get('choices') or []:
            text = ''.join(choice['delta'].get(key) or '' for key in ('reasoning_content', 'content'))
            if text:
                texts.append(text)
                arrivals.append(moment)
    return Reply(started=stream.started, arrivals=arrivals, text=''.join(texts), timings=timings, error=error)


def _events(stream: Stream, raw: bytes, start: int) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield server-sent events, each with the time its end came."""
    ends = list(itertools.accumulate(map(len, stream.pieces)))
    rest = b''
    for chunk, end in _chunks(raw, start):
        *lines, rest = (rest + chunk).split(b'\n')
        moment = stream.times[bisect.bisect_left(ends, end)]
        for line in lines:
            if line.startswith(b'data: {'):
                yield json.loads(line[6:]), moment


def _chunks(raw: bytes, position: int) -> Iterator[tuple[bytes, int]]:
    """Yield the parts of a chunked body, each with the place of its end; a part that was cut off is left out."""
    while match := CHUNK.match(raw, position):
        begin, size = match.end(), int(match[1], 16)
        if not size or begin + size > len(raw):
            return
        yield raw[begin : begin + size], begin + size
        position = begin + size + 2


if __name__ == '__main__':
    main()
