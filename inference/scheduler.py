"""Decides which tokens are computed next. Plain Python: no llama_cpp, no thread, no clock.

A request waits until it may start, brings its prompt in pieces (prefill), then adds a token or more a step (decode).
All slots share the cells of one KV cache; a request is admitted by what its prompt needs now.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

SOON_READ = 1.25
"""A prompt that is so many times the budget of a step is read in one, rather than in one and a bit."""


@dataclass(eq=False, kw_only=True, slots=True)
class Request:
    """What one reply needs of the scheduler; `max_tokens` is already bounded by the context.

    A piece of the prompt ends at `checkpoint`, so that the memory can be saved as it is there. `draft` are guesses of
    the tokens after the latest, to be checked with it.
    """

    prompt: Sequence[int]
    max_tokens: int
    user: str = ''
    checkpoint: int = 0
    completion: list[int] = field(default_factory=list)
    draft: Sequence[int] = ()
    cached: int = 0
    cancelled: bool = False

    @property
    def length(self) -> int:
        """Cells that the request will have taken once all it knows is computed."""
        return len(self.prompt) + len(self.completion)


R = TypeVar('R', bound=Request)


@dataclass(eq=False, slots=True)
class Slot(Generic[R]):
    """One sequence of the KV cache: `tokens` are those it holds, in order; `used` tells who was used before whom."""

    id: int
    tokens: list[int] = field(default_factory=list)
    request: R | None = None
    used: int = 0

    @property
    def unread(self) -> int:
        """Tokens still to be computed before the latest: of the prompt, and of the reply where the memory lost them."""
        if not self.request:
            return 0
        return max(0, len(self.request.prompt) + max(0, len(self.request.completion) - 1) - len(self.tokens))


@dataclass(frozen=True, slots=True)
class Work(Generic[R]):
    """The part of one slot in a batch: `tokens` follow at `position`; after each of the last `samples` one is drawn."""

    slot: Slot[R]
    request: R
    tokens: Sequence[int]
    position: int
    samples: int


@dataclass(frozen=True, slots=True)
class Seat(Generic[R]):
    """Where a request goes: to `slot`, with the first `length` tokens that `source` holds (often the slot itself)."""

    slot: Slot[R]
    source: Slot[R]
    length: int


class Scheduler(Generic[R]):
    """Owns the slots and the queue of those who wait for one.

    `n_cells` is what all slots share, `n_batch` the most tokens of a step. Limits that can change at any time:
    `most_running` replies at once, `most_per_user` of one user (0: no limit), `prefill_tokens` of prompts in a step.
    """

    def __init__(self, *, n_slots: int, n_batch: int, n_cells: int = 1 << 30) -> None:
        self.slots: list[Slot[R]] = [Slot(number) for number in range(n_slots)]
        self.waiting: deque[R] = deque()
        self.most_running, self.most_per_user = n_slots, 0
        self.prefill_tokens = n_batch
        self._n_batch, self._n_cells = n_batch, n_cells
        self._clock = 0

    @property
    def running(self) -> list[Slot[R]]:
        """The slots that have a request."""
        return [slot for slot in self.slots if slot.request]

    @property
    def idle(self) -> list[Slot[R]]:
        """The slots that hold tokens for nobody, the least recently used first."""
        return sorted((slot for slot in self.slots if slot.tokens and not slot.request), key=lambda slot: slot.used)

    def submit(self, request: R) -> None:
        """Queue a request; it is admitted in the order of arrival."""
        self.waiting.append(request)

    def put_back(self, slot: Slot[R]) -> None:
        """Let a slot's request wait again, before all others; what it computed stays with the slot."""
        if slot.request:
            self.waiting.appendleft(slot.request)
        self.release(slot)

    def admit(self) -> R | None:
        """Take the request from the queue that may start now, if there is one; give it a seat before the next call.

        That is the first one whose user may have another reply; if there are no cells for it, nobody overtakes it.
        """
        if not self.waiting:
            return None
        running = [slot.request for slot in self.slots if slot.request]
        if len(running) >= min(self.most_running, len(self.slots)):
            return None
        replies = Counter(request.user for request in running)
        for request in self.waiting:
            if self.most_per_user and request.user and replies[request.user] >= self.most_per_user:
                continue
            if running and sum(other.length + 1 for other in running) + request.length >= self._n_cells:
                return None
            self.waiting.remove(request)
            return request
        return None

    def seat(self, request: R, can_cut: Callable[[Slot[R], int], bool], *, copies: bool) -> Seat[R]:
        """Choose the free slot that holds most of the prompt; with `copies`, a busy one that holds more lends it.

        `can_cut` tells whether a slot can be cut to a length; what cannot be is of no use.
        """

        def known(slot: Slot[R]) -> int:
            # One token at least has to be computed: its scores give the first token of the reply.
            length = min(common_prefix(slot.tokens, request.prompt), len(request.prompt) - 1)
            return length if length == len(slot.tokens) or can_cut(slot, length) else 0

        free = [slot for slot in self.slots if not slot.request]
        best = max(free, key=lambda slot: (known(slot), not slot.tokens, -slot.used))
        lender = max(self.running, key=known, default=best) if copies else best
        if known(lender) > known(best):
            return Seat(self.spare(), lender, known(lender))
        return Seat(best, best, known(best))

    def spare(self) -> Slot[R]:
        """Return the free slot whose tokens are missed least: an empty one, else the least recently used."""
        return min((slot for slot in self.slots if not slot.request), key=lambda slot: (bool(slot.tokens), slot.used))

    def occupy(self, slot: Slot[R], request: R) -> None:
        """Give the slot to the request."""
        self._clock += 1
        slot.request, slot.used = request, self._clock

    def release(self, slot: Slot[R]) -> None:
        """End the slot's request; its tokens stay for the next prompt that begins with them."""
        self._clock += 1
        slot.request, slot.used = None, self._clock

    def schedule(self) -> list[Work[R]]:
        """Return the next batch: what each slot that decodes adds, then prefill, the budget shared evenly."""
        batch = [self._next_tokens(slot) for slot in self.running if not slot.unread]
        left = self._n_batch - sum(len(work.tokens) for work in batch)
        budget = min(self.prefill_tokens, left)
        reading = sorted((slot for slot in self.running if slot.unread), key=lambda slot: slot.unread)
        if len(reading) == 1 and reading[0].unread <= SOON_READ * budget:
            budget = min(reading[0].unread, left)  # a small rest costs a step of its own
        for number, slot in enumerate(reading):
            share = -(-budget // (len(reading) - number))
            if share > 0:
                batch.append(self._piece(slot, share))
                budget -= len(batch[-1].tokens)
        return batch

    def withdraw(self) -> list[R]:
        """Take the cancelled requests out of the queue and return them."""
        gone = [request for request in self.waiting if request.cancelled]
        for request in gone:
            self.waiting.remove(request)
        return gone

    @staticmethod
    def _next_tokens(slot: Slot[R]) -> Work[R]:
        assert slot.request
        tokens = [slot.request.completion[-1], *slot.request.draft]
        return Work(slot, slot.request, tokens, len(slot.tokens), samples=len(tokens))

    @staticmethod
    def _piece(slot: Slot[R], budget: int) -> Work[R]:
        assert slot.request
        start, request = len(slot.tokens), slot.request
        known = [*request.prompt, *request.completion[:-1]]
        end = min(start + budget, len(known))
        if start < request.checkpoint < end:
            end = request.checkpoint
        samples = not request.completion and end == len(known)
        return Work(slot, request, known[start:end], start, samples=int(samples))


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens `a` and `b` begin with in common."""
    shortest = min(len(a), len(b))
    a, b = list(a[:shortest]), list(b[:shortest])
    if a == b:
        return shortest
    return bisect_left(range(shortest), True, key=lambda at: a[: at + 1] != b[: at + 1])
