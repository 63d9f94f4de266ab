"""What sampling has to know about the tokens of a model."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_T = TypeVar('_T')
MOST_KEPT = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class Vocabulary:
    """Made once for each model by `sampler.read_vocabulary`.

    `pieces` has the bytes of each token as a reader sees them, none for those that are only for the model; `ends` end
    a reply, `suppressed` must never be sampled, and `special` has the ids of control tokens by their texts.
    `pointer` is llama.cpp's own vocabulary and lives as long as the model.
    """

    pointer: Any
    n_ctx_train: int
    pieces: list[bytes]
    ends: frozenset[int]
    suppressed: frozenset[int] = frozenset()
    special: Mapping[str, int] = field(default_factory=dict)
    _kept: dict[Hashable, Any] = field(default_factory=dict, init=False)

    @property
    def n_vocab(self) -> int:
        """How many tokens there are."""
        return len(self.pieces)

    @cached_property
    def tokens(self) -> npt.NDArray[np.int32]:
        """All the token ids."""
        return np.arange(self.n_vocab, dtype=np.int32)

    @cached_property
    def by_piece(self) -> tuple[list[bytes], list[int]]:
        """The pieces in the order of their bytes, and the token of each; only those that a reader sees."""
        tokens = (token for token, piece in enumerate(self.pieces) if piece and token not in self.ends)
        ordered = sorted(tokens, key=self.pieces.__getitem__)
        return [self.pieces[token] for token in ordered], ordered

    def kept(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return what was made for `key`, or make it: for the engine's thread, where requests resemble each other.

        Of more than a few, those that were used longest ago are dropped.
        """
        found: _T = self._kept.pop(key) if key in self._kept else make()
        self._kept[key] = found
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return found
