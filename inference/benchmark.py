"""Measures replies as their reader meets them: how fast the prompt is read, how fast the tokens come."""

import time
from dataclasses import dataclass, field

from inference.chat import Finished, GenerationRequest, TextDelta, Timings
from inference.engine import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One reply; `arrivals` are the seconds from the request to each token, `timings` what the engine itself says."""

    prompt_tokens: int
    cached_tokens: int
    arrivals: tuple[float, ...]
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
        last = len(self.arrivals) - 1
        first, final = int(start * last), int(end * last)
        return 1000 * (self.arrivals[final] - self.arrivals[first]) / (final - first)


async def measure(engine: Engine, request: GenerationRequest) -> Measurement:
    """Ask for a reply and note when its tokens arrive here, on the event loop."""
    started = time.perf_counter()
    arrivals: list[float] = []
    finished: Finished | None = None
    async with engine.generate(request) as generation:
        async for event in generation:
            if isinstance(event, TextDelta):
                arrivals.extend([time.perf_counter() - started] * event.tokens)
            elif isinstance(event, Finished):
                finished = event
    assert finished  # the contract of a generation
    return Measurement(
        prompt_tokens=finished.usage.prompt_tokens,
        cached_tokens=finished.usage.cached_tokens,
        arrivals=tuple(arrivals),
        timings=finished.timings,
    )
