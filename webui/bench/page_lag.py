"""How long an event loop was held: seen from outside by tiny requests, from inside by a timer."""

import asyncio
import http.client
import statistics
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

INTERVAL = 0.01
TICK = 0.001


class LoopProbe:
    """Asks an app for something tiny on a thread of its own while the block lasts; the times are in milliseconds.

    What a request takes beyond the median is time in which the loop, or the machine, did something else.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or '', address.port, timeout=60)
        self._thread = threading.Thread(target=self._run, name='loop probe')
        self._ended = threading.Event()
        self._taken: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()

    @property
    def median_ms(self) -> float:
        """What a request takes."""
        return statistics.median(self._taken)

    @property
    def held_ms(self) -> float:
        """How much longer the slowest one took."""
        return max(self._taken) - self.median_ms

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            started = time.perf_counter()
            self._connection.request('GET', '/api/health')
            self._connection.getresponse().read()
            self._taken.append(1000 * (time.perf_counter() - started))


class Ticker:
    """A timer on the running loop that notes, in milliseconds, how late it was at worst."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(TICK, self._tick, self._loop.time())

    def stop(self) -> None:
        """End it."""
        self._timer.cancel()

    def _tick(self, set_at: float) -> None:
        now = self._loop.time()
        self.worst_ms = max(self.worst_ms, 1000 * (now - set_at - TICK))
        self._timer = self._loop.call_later(TICK, self._tick, now)
