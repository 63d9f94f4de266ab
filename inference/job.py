"""A request with everything it takes to answer it, and the numbers that come of it."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inference.chat import Finished, FinishReason, Timings, Usage
from inference.drafting import Drafter
from inference.engine import Generation
from inference.reply import ReplyReader
from inference.sampler import Sampler
from inference.scheduler import Request
from inference.settings import SamplingSettings


@dataclass(eq=False, kw_only=True, slots=True)
class Job(Request):
    """Times are `time.perf_counter()` seconds.

    `max_tokens` is what the request allows (0: no limit), `room` what the context has after the prompt. A job that runs
    out of room and has a `replan` is handed to it, to come back with a shorter prompt; `earlier` was said before that.
    While it `thinks`, no grammar applies; `think_end` are the tokens that end the reasoning once it has taken
    `think_budget` tokens (-1: no limit). `forced` are taken next without being sampled.
    """

    generation: Generation
    sampling: SamplingSettings
    reader: ReplyReader
    room: int = 0
    replan: 'Callable[[Job], None] | None' = None
    remember: 'Callable[[Job], None] | None' = None
    thinks: bool = False
    think_end: tuple[int, ...] = ()
    think_budget: int = -1
    forced: deque[int] = field(default_factory=deque)
    thought: int = 0
    earlier: list[int] = field(default_factory=list)
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float = 0.0
    first_token_at: float = 0.0
    place: int = 0
    sampler: Sampler | None = None
    drafter: Drafter | None = None

    @property
    def said(self) -> int:
        """Tokens of the reply so far."""
        return len(self.earlier) + len(self.completion)

    @property
    def room_left(self) -> int:
        """Tokens that the context still has room for."""
        return self.room - len(self.completion)

    @property
    def left(self) -> int:
        """Tokens that may still come before the request's own limit, or the context's."""
        return min(self.room_left, self.max_tokens - self.said) if self.max_tokens else self.room_left

    def restart(self, prompt: Sequence[int], said: Sequence[int], *, room: int, checkpoint: int) -> None:
        """Go on with a prompt that ends with what was said."""
        self.prompt, self.earlier, self.completion = prompt, [*said], []
        self.room, self.checkpoint, self.place = room, checkpoint, 0

    def end(self, detail: str) -> None:
        """End a reply that has no slot, because its prompt cannot be made any shorter; on the event loop."""
        for event in self.reader.finish():
            self.generation.publish(event)
        self.generation.publish(self.finished('length', detail))

    def finished(self, reason: FinishReason, detail: str = '') -> Finished:
        """Return the event that ends the reply now."""
        now = time.perf_counter()
        started = self.started_at or now
        first = self.first_token_at or now
        prompt_tokens = len(self.prompt) - len(self.earlier)
        return Finished(
            reason=reason,
            usage=Usage(
                prompt_tokens=prompt_tokens,
                cached_tokens=min(self.cached, prompt_tokens),
                completion_tokens=self.said,
                reasoning_tokens=self.thought,
                drafted_tokens=self.drafter.drafted if self.drafter else 0,
                accepted_tokens=self.drafter.accepted if self.drafter else 0,
            ),
            timings=Timings(queued=started - self.queued_at, prefill=first - started, decode=now - first),
            detail=detail,
        )
