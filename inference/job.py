"""A request with everything it takes to answer it, and the numbers that come of it."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.chat import Finished, FinishReason, Timings, Usage
from inference.drafting import Drafter
from inference.engine import Generation
from inference.parsing import ReplyReader
from inference.runner import Sampler
from inference.scheduler import Request
from inference.settings import SamplingSettings


@dataclass(eq=False, kw_only=True, slots=True)
class Job(Request):
    """Times are `time.perf_counter()` seconds.

    `max_tokens` is what the request allows, `room` what the context has after the prompt. A job that runs out of room
    and has a `replan` is handed to it, to come back with a shorter prompt; `earlier` tokens were said before that.
    `think_end` are the tokens that end the reasoning once it has taken `think_budget` tokens (-1: no limit).
    """

    generation: Generation
    sampling: SamplingSettings
    reader: ReplyReader
    room: int = 0
    replan: 'Callable[[Job], None] | None' = None
    remember: 'Callable[[Job], None] | None' = None
    think_end: tuple[int, ...] = ()
    think_budget: int = -1
    forced: deque[int] = field(default_factory=deque)
    thought: int = 0
    earlier: int = 0
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float = 0.0
    first_token_at: float = 0.0
    place: int = 0
    sampler: Sampler | None = None
    drafter: Drafter | None = None

    @property
    def said(self) -> int:
        """Tokens of the reply so far."""
        return self.earlier + len(self.completion)

    @property
    def left(self) -> int:
        """Tokens that the reply may still have."""
        allowed = self.room + self.earlier if not self.max_tokens else min(self.room + self.earlier, self.max_tokens)
        return allowed - self.said

    @property
    def is_full(self) -> bool:
        """Whether the context has no room for another token."""
        return len(self.completion) >= self.room

    def finished(self, reason: FinishReason, detail: str = '') -> Finished:
        """Return the event that ends the reply now."""
        now = time.perf_counter()
        started = self.started_at or now
        first = self.first_token_at or now
        return Finished(
            reason=reason,
            usage=Usage(
                prompt_tokens=len(self.prompt),
                cached_tokens=self.cached,
                completion_tokens=self.said,
                reasoning_tokens=self.thought,
                drafted_tokens=self.drafter.drafted if self.drafter else 0,
                accepted_tokens=self.drafter.accepted if self.drafter else 0,
            ),
            timings=Timings(queued=started - self.queued_at, prefill=first - started, decode=now - first),
            detail=detail,
        )
