"""Guesses the next tokens from what the conversation already says (prompt lookup); the model checks them in one batch.

A guess costs a little even where it is wrong, so a reply in which they fail stops guessing for a while.
"""

from collections.abc import Sequence

MOST_DRAFT = 8
"""Tokens guessed at once; the context has room for the scores of that many."""
NGRAM = 3
"""Tokens that must have stood somewhere before; what followed them there is the guess."""
LEAST_ACCEPTED = 0.4
"""The share of right guesses below which guessing pauses."""
PAUSE = 64
"""Tokens of a reply after which a paused reply tries again."""


class Drafter:
    """The guesses of one reply; its cost per token does not depend on how long the conversation is."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self._share, self._pause = 1.0, 0
        self.drafted = self.accepted = 0
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Learn tokens that were computed."""
        for token in tokens:
            # NOTE: the place after an n-gram is noted once there is something after it, so that none points at the end.
            if len(self._tokens) >= NGRAM:
                self._after[tuple(self._tokens[-NGRAM:])] = len(self._tokens)
            self._tokens.append(token)
        self._pause = max(0, self._pause - len(tokens))

    def guess(self, most: int) -> list[int]:
        """Return up to `most` tokens that may come next; none where nothing like the end stood before."""
        if most <= 0 or self._pause or len(self._tokens) < NGRAM:
            return []
        start = self._after.get(tuple(self._tokens[-NGRAM:]))
        wanted = min(most, MOST_DRAFT, max(1, round(MOST_DRAFT * self._share)))
        return self._tokens[start : start + wanted] if start else []

    def learn(self, drafted: int, accepted: int) -> None:
        """Count how many guesses were right."""
        self.drafted += drafted
        self.accepted += accepted
        self._share += (accepted / drafted - self._share) / 4
        if self._share < LEAST_ACCEPTED:
            self._share, self._pause = 1.0, PAUSE
