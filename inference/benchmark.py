"""Measures replies as their reader meets them: how fast the prompt is read, how fast the tokens come."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.chat import Finished, GenerationRequest, ReasoningDelta, TextDelta, Timings
from inference.engine import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One reply; `arrivals` are the seconds from the request to each token, `timings` what the engine itself says.

    `loop_cpu` are the CPU seconds of the reader's thread at each arrival.
    """

    prompt_tokens: int
    cached_tokens: int
    arrivals: tuple[float, ...]
    loop_cpu: tuple[float, ...] = ()
    timings: Timings = field(default_factory=Timings)

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens a second, up to the first token of the reply."""
        return (self.prompt_tokens - self.cached_tokens) / self.arrivals[0]

    @property
    def decode_rate(self) -> float:
        """Tokens a second after the first one."""
        return 1000 / self.milliseconds(0, 1)

    def milliseconds(self, start: float, end: float) -> float:
        """Return the milliseconds a token in a part of the reply; 0.75 and 1 are its last quarter."""
        return per_token(self.arrivals, start, end)


def per_token(moments: Sequence[float], start: float, end: float) -> float:
    """Return the milliseconds from one moment to the next, in a part of them; 0.75 and 1 are the last quarter."""
    last = len(moments) - 1
    first, final = int(start * last), int(end * last)
    return 1000 * (moments[final] - moments[first]) / (final - first)


def total_rate(replies: Sequence[Measurement]) -> float:
    """Return the tokens a second of replies that were asked for at once.

    What counts is the time in which all of them are written; or, if there is none, from the first token to the last.
    """
    begin, end = max(one.arrivals[0] for one in replies), min(one.arrivals[-1] for one in replies)
    if begin >= end:
        begin, end = min(one.arrivals[0] for one in replies), max(one.arrivals[-1] for one in replies)
    return sum(begin < arrival <= end for one in replies for arrival in one.arrivals) / (end - begin)


async def measure(engine: Engine, request: GenerationRequest) -> Measurement:
    """Ask for a reply and note when its tokens arrive here, on the event loop."""
    started = time.perf_counter()
    arrivals: list[float] = []
    cpu: list[float] = []
    finished: Finished | None = None
    async with engine.generate(request) as generation:
        async for event in generation:
            if isinstance(event, TextDelta | ReasoningDelta):
                _spread(arrivals, time.perf_counter() - started, event.tokens)
                _spread(cpu, time.thread_time(), event.tokens)
            elif isinstance(event, Finished):
                finished = event
    assert finished  # the contract of a generation
    return Measurement(
        prompt_tokens=finished.usage.prompt_tokens,
        cached_tokens=finished.usage.cached_tokens,
        arrivals=tuple(arrivals),
        loop_cpu=tuple(cpu),
        timings=finished.timings,
    )


def _spread(moments: list[float], now: float, count: int) -> None:
    """Add `count` moments up to now: text that comes together was not made in one moment."""
    before = moments[-1] if moments else now
    moments.extend(before + (now - before) * number / count for number in range(1, count + 1))


async def measure_streams(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Measurement]:
    """Ask for several replies at once."""
    return list(await asyncio.gather(*(measure(engine, request) for request in requests)))
