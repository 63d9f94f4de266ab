"""What is counted of each reply besides its text, and the line it leaves in the log."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from loguru import logger

from inference.chat import (
    Finished,
    GenerationEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    decode_rate,
    prefill_rate,
)
from inference.errors import InferenceError

TTFT_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)
INTER_TOKEN_BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FAILED = 'error'


class Histogram:
    """Counts values by the smallest of the `bounds` they do not exceed; the last count is for those above all."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, `times` over."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Metrics:
    """The numbers of every reply since this was made; times in seconds. Belongs to the event loop."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        """Replies that ended, by their finish reason or `FAILED`."""
        self.tokens: Counter[str] = Counter()
        """Sums of the fields of `Usage`."""
        self.ttft = Histogram(TTFT_BOUNDS)
        self.inter_token = Histogram(INTER_TOKEN_BOUNDS)

    @property
    def cache_hit_rate(self) -> float:
        """The share of all prompt tokens that did not have to be computed."""
        prompt = self.tokens['prompt_tokens']
        return self.tokens['cached_tokens'] / prompt if prompt else 0.0

    def follow(self, model: str) -> 'Meter':
        """Return what is to see the events of one reply of this model."""
        return Meter(self, model)

    def count(self, reply: Finished) -> None:
        """Add the numbers of a reply that did not fail."""
        self.requests[reply.reason] += 1
        self.tokens.update(asdict(reply.usage))
        if reply.usage.completion_tokens:
            self.ttft.observe(reply.timings.ttft)


class Meter:
    """Sees the events of one reply as they reach their reader: a pause is counted whoever caused it."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model = metrics, model
        self._last_token = 0.0

    def take(self, event: GenerationEvent | InferenceError) -> None:
        """Count what an event is worth."""
        match event:
            case TextDelta(tokens=tokens) | ReasoningDelta(tokens=tokens) | ToolCallDelta(tokens=tokens) if tokens:
                self._count_gap(tokens)
            case Finished():
                self._metrics.count(event)
                log_reply(self._model, event)
            case InferenceError():
                self._metrics.requests[FAILED] += 1

    def _count_gap(self, tokens: int) -> None:
        now = time.perf_counter()
        if self._last_token:
            self._metrics.inter_token.observe((now - self._last_token) / tokens, tokens)
        self._last_token = now


def log_reply(model: str, reply: Finished) -> None:
    """Write one line per request: tokens, the cache's share, times in seconds, rates in tokens a second."""
    usage, timings = reply.usage, reply.timings
    logger.info(
        '{}: prompt {} (cached {}), completion {}, queued {:.2f} s, first token {:.2f} s, '
        'prefill {:.0f} tok/s, decode {:.1f} tok/s, {}',
        model, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, timings.queued, timings.ttft,
        prefill_rate(usage, timings), decode_rate(usage, timings), reply.reason,
    )  # fmt: skip
