"""What the slots of a context hold, and the RAM behind them: nothing is computed twice that is still somewhere.

A request gets the beginning of its prompt from the slot it takes, from a busy slot, or from RAM, whichever has most.
"""

from typing import Generic

from inference.prompt_cache import PromptCache, Saved
from inference.runner import ModelRunner
from inference.scheduler import R, Scheduler, Slot

WORTH_RESTORING = 16
"""Tokens that RAM must have more than the slots: a few are computed faster than a state is copied."""


class KVCache(Generic[R]):
    """Moves the memories of conversations between slots and RAM; belongs to the engine's thread."""

    def __init__(self, runner: ModelRunner, scheduler: Scheduler[R]) -> None:
        self._runner, self._scheduler = runner, scheduler
        self.saved = PromptCache(exact=runner.is_exact)

    def seat(self, request: R) -> Slot[R]:
        """Give the request a free slot with as much of its prompt as is known; `cached` tells how much that is."""
        seat = self._scheduler.seat(request, self._can_cut, copies=not self._runner.is_exact)
        saved, length = self.saved.find(request.prompt[:-1])
        if saved and length >= seat.length + WORTH_RESTORING:
            slot = self._scheduler.spare()
            request.cached = self._restore(saved, length, slot)
        elif seat.source is seat.slot:
            slot = seat.slot
            request.cached = self._take(slot, seat.length)
        else:
            slot = seat.slot
            request.cached = self._copy(seat.source, slot, seat.length)
        self._scheduler.occupy(slot, request)
        return slot

    def trim(self, slot: Slot[R], length: int) -> int:
        """Cut a slot to its first `length` tokens, or to fewer where the memory cannot be cut; return how many stay."""
        kept = self._runner.keep(slot.id, length)
        del slot.tokens[kept:]
        return kept

    def save(self, slot: Slot[R]) -> bool:
        """Copy what the slot holds to RAM, unless it is there; return whether it was copied."""
        if not slot.tokens or self.saved.has(slot.tokens):
            return False
        if self._runner.state_size(slot.id) > self.saved.limit:
            return False
        self.saved.add(slot.tokens, self._runner.save(slot.id))
        return True

    def save_one_idle(self) -> bool:
        """Use a free moment: save a conversation that nobody answers now, so that it can leave without delay later."""
        return any(self.save(slot) for slot in self._scheduler.idle)

    def send_one_idle_away(self) -> None:
        """Free the cells of a conversation that RAM has, too, or can have: attention looks at all cells in use."""
        for slot in self._scheduler.idle:
            if self.save(slot) or self.saved.has(slot.tokens):
                self.trim(slot, 0)
                return

    def drop_one_idle(self) -> bool:
        """Make room for those who run; return whether there was anything left to give."""
        for slot in self._scheduler.idle:
            self.save(slot)
            self.trim(slot, 0)
            return True
        return False

    def forget(self) -> None:
        """Empty all slots and RAM: the model computes differently from now on."""
        self.saved.clear()
        for slot in self._scheduler.slots:
            self.trim(slot, 0)

    def _can_cut(self, slot: Slot[R], length: int) -> bool:
        return self._runner.can_cut(slot.id, length)

    def _take(self, slot: Slot[R], length: int) -> int:
        if length < len(slot.tokens):
            self.save(slot)
        return self.trim(slot, length)

    def _copy(self, source: Slot[R], slot: Slot[R], length: int) -> int:
        self._take(slot, 0)
        self._runner.copy(source.id, slot.id, length)
        slot.tokens[:] = source.tokens[:length]
        return length

    def _restore(self, saved: Saved, length: int, slot: Slot[R]) -> int:
        self._take(slot, 0)
        if not self._runner.restore(slot.id, saved.state):
            return self.trim(slot, 0)  # no room between the others
        slot.tokens[:] = saved.tokens
        return self.trim(slot, length)
