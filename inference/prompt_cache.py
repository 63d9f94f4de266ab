"""Keeps what was computed of conversations that lost their slot in RAM, least recently used first to go."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.scheduler import common_prefix

State = npt.NDArray[np.uint8]
"""A sequence's memory as llama.cpp writes it out."""


@dataclass(frozen=True, eq=False, slots=True)
class Saved:
    """The memory of a sequence that held `tokens`."""

    tokens: tuple[int, ...]
    state: State


class PromptCache:
    """States of sequences, at most `limit` bytes of them; `exact` if a restored memory cannot be cut."""

    def __init__(self, limit: int = 0, *, exact: bool = False) -> None:
        self._limit, self._exact = limit, exact
        self._kept: dict[Saved, None] = {}  # in the order of their last use
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def limit(self) -> int:
        """Bytes that may be kept; a lower limit takes effect at once."""
        return self._limit

    @limit.setter
    def limit(self, n_bytes: int) -> None:
        self._limit = n_bytes
        self._make_room(0)

    def has(self, tokens: Sequence[int]) -> bool:
        """Return whether exactly this, or a longer sequence that can be cut to it, is kept."""
        return any(self._usable(saved, tokens) == len(tokens) for saved in self._kept)

    def find(self, prompt: Sequence[int]) -> tuple[Saved | None, int]:
        """Return what holds most of the beginning of `prompt`, and how many tokens of it; it counts as used."""
        best = max(self._kept, key=lambda saved: self._usable(saved, prompt), default=None)
        length = self._usable(best, prompt) if best else 0
        if not best or not length:
            return None, 0
        self._kept[best] = self._kept.pop(best)
        return best, length

    def add(self, tokens: Sequence[int], state: State) -> None:
        """Keep a state, unless it alone is over the limit; shorter ones that it makes superfluous go."""
        if state.nbytes > self._limit:
            return
        saved = Saved(tuple(tokens), state)
        for other in [other for other in self._kept if self._replaces(saved, other)]:
            self._drop(other)
        self._make_room(state.nbytes)
        self._kept[saved] = None
        self.bytes += state.nbytes

    def clear(self) -> None:
        """Forget everything, because the model computes differently from now on."""
        self._kept.clear()
        self.bytes = 0

    def _usable(self, saved: Saved, prompt: Sequence[int]) -> int:
        length = common_prefix(saved.tokens, prompt)
        return length if not self._exact or length == len(saved.tokens) else 0

    def _replaces(self, new: Saved, old: Saved) -> bool:
        shared = common_prefix(new.tokens, old.tokens)
        return shared == len(old.tokens) and (not self._exact or shared == len(new.tokens))

    def _make_room(self, n_bytes: int) -> None:
        while self._kept and self.bytes + n_bytes > self._limit:
            self._drop(next(iter(self._kept)))

    def _drop(self, saved: Saved) -> None:
        del self._kept[saved]
        self.bytes -= saved.state.nbytes
