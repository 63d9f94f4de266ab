"""Token pieces in, text out: UTF-8 that spans tokens, and stop strings that span them too."""

import codecs
from collections.abc import Sequence

from inference.chat import TextDelta


class TextStream:
    """Turns the pieces of one reply into text that may be shown.

    Text that could be the beginning of a stop string is held back until it is clear; each `feed` looks only at
    what is new, however long the reply is.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(text for text in stop if text)
        self._decoder = codecs.getincrementaldecoder('utf-8')('replace')
        self._held = ''
        self.stopped = False

    def feed(self, piece: bytes) -> str:
        """Return the text that `piece` completes; empty once a stop string was seen."""
        return self._release(self._decoder.decode(piece))

    def finish(self) -> str:
        """Return what was held back; half a character becomes U+FFFD."""
        text = self._release(self._decoder.decode(b'', final=True))
        held, self._held = self._held, ''
        return text + held

    def _release(self, new: str) -> str:
        if self.stopped or not new:
            return ''
        text = self._held + new
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ''
            _, start = min(found)  # the one that is complete first, however the text was cut into pieces
            return text[:start]
        keep = len(text) - self._possible_stop(text)
        self._held = text[keep:]
        return text[:keep]

    def _possible_stop(self, text: str) -> int:
        """Return the length of the longest end of `text` that begins a stop string."""
        longest = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest


class ReplyReader:
    """Stand-in until replies are told apart into reasoning, text and calls."""

    in_reasoning = called_tools = False

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._text = TextStream(stop)

    @property
    def stopped(self) -> bool:
        return self._text.stopped

    def feed(self, piece: bytes) -> list[TextDelta]:
        return [TextDelta(text=self._text.feed(piece))]

    def finish(self) -> list[TextDelta]:
        text = self._text.finish()
        return [TextDelta(text=text, tokens=0)] if text else []
