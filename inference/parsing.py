"""Token pieces in, text out: UTF-8 that spans tokens, and texts to look for that span them too."""

import codecs
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

_T = TypeVar('_T')
Reading = Generator[None, None, _T]
"""A parser that stops at each `yield` until there is more text, and in the end returns what it found."""

_MOST_SPACE = 1000
"""Characters of white space before a tag; after more, it is none."""


class Markers:
    """Texts to look for in a stream, wherever it is cut into pieces."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(dict.fromkeys(text for text in texts if text))
        self._longest = max(map(len, self._texts), default=0)
        self._begins = re.compile('|'.join(sorted({re.escape(text[0]) for text in self._texts})))

    def find(self, text: str) -> tuple[int, str]:
        """Return where a marker is, and which; '' as the marker where `text` ends with what may become one.

        Of markers that overlap, the one that is complete first counts, so that the pieces do not matter.
        """
        if not self._texts or not (begins := self._begins.search(text)):
            return len(text), ''
        start = begins.start()
        found = [(at + len(marker), at, marker) for marker in self._texts if (at := text.find(marker, start)) >= 0]
        if found:
            _, at, marker = min(found)
            return at, marker
        return self._maybe(text, start), ''

    def _maybe(self, text: str, start: int) -> int:
        """Return where the longest end of `text` begins that a marker begins with."""
        for begins in self._begins.finditer(text, max(start, len(text) - self._longest + 1)):
            rest = text[begins.start() :]
            if any(marker.startswith(rest) for marker in self._texts):
                return begins.start()
        return len(text)


class TextStream:
    """Turns the pieces of one reply into text that may be shown.

    Text that could be the beginning of a stop string is held back until it is clear; each `feed` looks only at
    what is new, however long the reply is.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = Markers(stop)
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
        at, stop = self._stop.find(text)
        self.stopped = bool(stop)
        self._held = '' if stop else text[at:]
        return text[:at]


class Incoming:
    """Text that arrives in pieces, for parsers that are written as generators.

    What is taken after `mark` can be given back with `rewind`, for a parser that finds it was wrong.
    """

    def __init__(self, text: str = '', *, ended: bool = False) -> None:
        self.text = text
        self.ended = ended
        self._taken: list[str] | None = None

    def take(self, length: int) -> str:
        """Take so many characters of what is there."""
        taken, self.text = self.text[:length], self.text[length:]
        if self._taken is not None:
            self._taken.append(taken)
        return taken

    def mark(self) -> None:
        """Keep what is taken from here on."""
        self._taken = []

    def rewind(self) -> None:
        """Give back what was taken since `mark`."""
        self.text = ''.join(self._taken or ()) + self.text
        self._taken = None

    def commit(self) -> None:
        """Forget the mark."""
        self._taken = None

    @property
    def marked(self) -> bool:
        """Whether `rewind` is possible."""
        return self._taken is not None

    def until(self, markers: Markers, pass_on: Callable[[str], None]) -> Reading[str]:
        """Pass text on up to a marker, which is taken and returned; '' at the end of the text."""
        while True:
            at, marker = markers.find(self.text)
            if self.ended and not marker:
                at = len(self.text)
            if at:
                pass_on(self.take(at))
            if marker:
                return self.take(len(marker))
            if self.ended:
                return ''
            yield

    def begins(self, *texts: str) -> Reading[str]:
        """Take the one of `texts` that comes next, with the white space before it; else take nothing, return ''.

        None of the texts may begin another one.
        """
        while True:
            text = self.text.lstrip()
            space = len(self.text) - len(text)
            for wanted in texts:
                if text.startswith(wanted) and space <= _MOST_SPACE:
                    self.take(space + len(wanted))
                    return wanted
            if self.ended or space > _MOST_SPACE or not any(wanted.startswith(text) for wanted in texts):
                return ''
            yield

    def match(self, run: re.Pattern[str], most: int) -> Reading[str]:
        """Take the characters from here on that `run` matches; '' where there are none or more than `most`."""
        while True:
            length = found.end() if (found := run.match(self.text)) else 0
            if length > most:
                return ''
            if self.ended or length < len(self.text):
                return self.take(length)
            yield

    def collect(self, *ends: str) -> Reading[tuple[str, str]]:
        """Take text up to one of `ends`; return both."""
        parts: list[str] = []
        end = yield from self.until(Markers(ends), parts.append)
        return ''.join(parts), end
