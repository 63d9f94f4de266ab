"""The client of `bench serve` against a server that sends what a test says, piece by piece."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from webui.bench.client import Call, Reply, When
from webui.bench.servers import Server
from webui.launch import CannotLaunch

OK = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n'
END = b'0\r\n\r\n'


class Stub:
    """Sends the same pieces to everybody, with a pause after each; `left` counts who hung up before the end."""

    def __init__(self, pieces: Sequence[bytes], pause: float) -> None:
        self._pieces, self._pause, self.left = pieces, pause, 0
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            try:
                for piece in self._pieces:
                    connection.sendall(piece)
                    time.sleep(self._pause)
            except OSError:
                self.left += 1


@contextmanager
def serving(*pieces: bytes, pause: float = 0.005) -> Iterator[tuple[Stub, Server]]:
    stub = Stub(pieces, pause)
    yield stub, Server(name='the stub', host='127.0.0.1', port=stub.port)
    stub.close()


def chunk(text: str) -> bytes:
    data = text.encode()
    return b'%x\r\n%s\r\n' % (len(data), data)


def event(text: str) -> str:
    return f'data: {{"choices": [{{"delta": {{"content": "{text}"}}}}]}}\n\n'


def ask(server: Server, *calls: Call) -> list[Reply]:
    return server.ask(*(calls or (Call(body={'messages': []}),)))


def test_text_and_numbers_of_a_reply() -> None:
    last = 'data: {"choices": [], "timings": {"predicted_n": 2, "cache_n": 3, "prompt_n": 4}}\n\ndata: [DONE]\n\n'
    first = 'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    with serving(OK, chunk(first), chunk(event('one')), chunk(event(' two')), chunk(last), END) as (_, server):
        (reply,) = ask(server)

    assert (reply.text, len(reply.arrivals), reply.tokens) == ('one two', 2, 2)
    assert reply.timings == {'predicted_n': 2, 'cache_n': 3, 'prompt_n': 4}
    assert 0 < reply.ttft < reply.arrivals[-1] - reply.started


def test_events_that_are_cut_anywhere() -> None:
    body = event('ä').encode() + event('b').encode() * 20
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    raw = OK + b''.join(b'%x\r\n%s\r\n' % (len(part), part) for part in parts) + END
    with serving(*(raw[at : at + 11] for at in range(0, len(raw), 11)), pause=0) as (_, server):
        (reply,) = ask(server)

    assert reply.text == 'ä' + 'b' * 20
    assert reply.arrivals == sorted(reply.arrivals)


def test_who_leaves_hangs_up_and_the_next_one_begins() -> None:
    with serving(OK, *[chunk(event('x'))] * 200, END) as (stub, server):
        third = When(call=0, events=3)
        left, next_one = ask(server, Call(body={}, leave=third), Call(body={}, start=third))

    assert 3 <= len(left.arrivals) < 150
    assert stub.left == 1
    assert next_one.started > left.arrivals[2]
    assert next_one.text == 'x' * 200


def test_calls_one_after_the_other() -> None:
    with serving(OK, chunk(event('x')), END) as (_, server):
        first, second = ask(server, Call(body={}), Call(body={}, start=When(call=0, ended=True, seconds=0.05)))

    assert second.started - first.arrivals[-1] >= 0.05


def test_a_call_that_waits_for_what_does_not_come_is_left_out() -> None:
    with serving(OK, chunk(event('x')), END) as (_, server):
        first, second = ask(server, Call(body={}), Call(body={}, start=When(call=0, events=9)))

    assert (first.text, second.text, second.started) == ('x', '', 0)


def test_a_refusal_is_an_error() -> None:
    refusal = b'HTTP/1.1 503 Unavailable\r\nContent-Length: 9\r\n\r\nNo model.'
    with (
        serving(refusal) as (_, server),
        pytest.raises(CannotLaunch, match=r'(?s)the stub refused a request: HTTP/1\.1 503 .*No model\.'),
    ):
        ask(server)


def test_nobody_listens() -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CannotLaunch, match='Asking the stub failed'):
        ask(Server(name='the stub', host='127.0.0.1', port=port))
