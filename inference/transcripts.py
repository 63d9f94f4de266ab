"""Remembers which tokens a text was made of, so that a conversation read again gives the tokens it had.

What a model writes need not be how the tokenizer would cut it. Without this, the next turn of a chat would differ
from what the KV cache holds somewhere in the last reply, and all after it would be computed again.
"""

import threading
from collections.abc import Sequence

MOST_CHARACTERS = 16 << 20
"""Of all texts together; the least recently used go first."""


class Transcripts:
    """Texts with their tokens; safe on any thread."""

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._most, self._size = most, 0
        self._known: dict[str, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def add(self, text: str, tokens: Sequence[int]) -> None:
        """Remember a text."""
        with self._lock:
            if self._known.pop(text, None) is None:
                self._size += len(text)
            self._known[text] = tuple(tokens)
            while self._size > self._most:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._size -= len(oldest)

    def beginning(self, text: str) -> tuple[str, tuple[int, ...]]:
        """Return the longest known text that `text` begins with, and its tokens."""
        with self._lock:
            found = max((known for known in self._known if text.startswith(known)), key=len, default='')
            if not found:
                return '', ()
            tokens = self._known[found] = self._known.pop(found)
            return found, tokens
