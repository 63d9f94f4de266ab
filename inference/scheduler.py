"""Decides which tokens are computed next. Plain Python: no llama_cpp, no thread, no clock.

A request waits until a slot is free, brings its prompt in pieces (prefill), then adds one token a step (decode).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar


@dataclass(eq=False, kw_only=True, slots=True)
class Request:
    """What one reply needs of the scheduler; `max_tokens` is already bounded by the context."""

    prompt: Sequence[int]
    max_tokens: int
    completion: list[int] = field(default_factory=list)
    cached: int = 0
    cancelled: bool = False


R = TypeVar('R', bound=Request)


@dataclass(eq=False, slots=True)
class Slot(Generic[R]):
    """One sequence of the KV cache: `tokens` are those it holds, in order."""

    id: int
    tokens: list[int] = field(default_factory=list)
    request: R | None = None

    @property
    def unread(self) -> int:
        """Tokens still to be computed before the latest: of the prompt, and of the reply where the memory lost them."""
        if not self.request:
            return 0
        return max(0, len(self.request.prompt) + max(0, len(self.request.completion) - 1) - len(self.tokens))


@dataclass(frozen=True, slots=True)
class Work(Generic[R]):
    """The part of one slot in a batch: `tokens` follow at `position`; a next token is sampled if `samples`."""

    slot: Slot[R]
    request: R
    tokens: Sequence[int]
    position: int
    samples: bool


class Scheduler(Generic[R]):
    """Owns the slots and the queue of those who wait for one."""

    def __init__(self, *, n_slots: int, n_batch: int) -> None:
        self.slots: list[Slot[R]] = [Slot(number) for number in range(n_slots)]
        self.waiting: deque[R] = deque()
        self.prefill_tokens = n_batch
        self._n_batch = n_batch

    @property
    def running(self) -> list[Slot[R]]:
        """The slots that have a request."""
        return [slot for slot in self.slots if slot.request]

    def submit(self, request: R) -> None:
        """Queue a request; it is admitted in the order of arrival."""
        self.waiting.append(request)

    def admit(self) -> Iterator[tuple[Slot[R], R, int]]:
        """Give free slots to those who wait; yields how many tokens of the slot the prompt begins with.

        The caller trims the slot to that length, or to less where the memory cannot be trimmed (`Slot.tokens`).
        """
        while self.waiting and (free := [slot for slot in self.slots if not slot.request]):
            request = self.waiting.popleft()
            slot = max(free, key=lambda slot: common_prefix(slot.tokens, request.prompt))
            slot.request = request
            # One token at least has to be computed: its logits give the first token of the reply.
            yield slot, request, min(common_prefix(slot.tokens, request.prompt), len(request.prompt) - 1)

    def schedule(self) -> list[Work[R]]:
        """Return the next batch: a token for each slot that decodes, then prefill up to the budget."""
        decoding = [self._next_token(slot) for slot in self.running if not slot.unread]
        budget = min(self.prefill_tokens, self._n_batch - len(decoding))
        prefilling = []
        for slot in self.running:
            if slot.unread and budget > 0:
                prefilling.append(self._piece(slot, budget))
                budget -= len(prefilling[-1].tokens)
        return decoding + prefilling

    def release(self, slot: Slot[R]) -> None:
        """End the slot's request; its tokens stay for the next prompt that begins with them."""
        slot.request = None

    def withdraw(self) -> list[R]:
        """Take the cancelled requests out of the queue and return them."""
        gone = [request for request in self.waiting if request.cancelled]
        for request in gone:
            self.waiting.remove(request)
        return gone

    @staticmethod
    def _next_token(slot: Slot[R]) -> Work[R]:
        assert slot.request
        return Work(slot, slot.request, slot.request.completion[-1:], len(slot.tokens), samples=True)

    @staticmethod
    def _piece(slot: Slot[R], budget: int) -> Work[R]:
        assert slot.request
        start, completion = len(slot.tokens), slot.request.completion
        known = [*slot.request.prompt, *completion[:-1]]
        tokens = known[start : start + budget]
        return Work(slot, slot.request, tokens, start, samples=not completion and start + len(tokens) == len(known))


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens `a` and `b` begin with in common."""
    shortest = min(len(a), len(b))
    if a[:shortest] == b[:shortest]:
        return shortest
    return next((i for i in range(shortest) if a[i] != b[i]), shortest)
