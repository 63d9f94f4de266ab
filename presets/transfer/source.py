"""A JSON file with chats in it: what there is, and each chat when it is wanted. All of it is for a worker thread."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

from presets.transfer import formats, spans
from presets.transfer.formats import Source
from presets.transfer.planting import Reading
from presets.transfer.spans import Shape, Span

UNKNOWN = 'it is no chat of a known kind'
MOST_ATTEMPTS = 50
"""Places at which the next chat is looked for behind a damaged one."""


class Found(NamedTuple):
    """A chat in the file and whose it is."""

    span: Span
    source: Source
    reading: Reading


class Failed(NamedTuple):
    """A chat that cannot be read; `known` if it was a value that can be in a list of chats."""

    chat: str
    reason: str
    known: bool


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on disk, the name it came with, and the folder it lay in."""

    path: Path
    name: str
    folder: str = ''

    def chats(self) -> Iterator[Found | Failed]:
        """Yield what the file holds, in its order. Raises ValueError in words if it is no JSON at all."""
        with _mapped(self.path) as data:
            shape = spans.shape_of(data, formats.LISTS)
            if data[shape.start : shape.start + 1] not in {b'{', b'['}:
                raise ValueError('it is no JSON file')
            yield from _Walk(data, shape, self.folder)

    def read(self, span: Span) -> Reading:
        """Return one chat, found before."""
        with _mapped(self.path) as data:
            header = spans.shape_of(data, formats.LISTS).header
            value = spans.read(data, span)
            source = formats.source_of(value)
            assert source
            return formats.read(source, value, version=header.get('version'), folder=self.folder)


class _Walk:
    """One way through a file, which finds its place again behind a chat with broken brackets or quotes."""

    def __init__(self, data: mmap, shape: Shape, folder: str) -> None:
        self._data, self._shape, self._folder = data, shape, folder
        self._attempts = MOST_ATTEMPTS
        self._next: re.Pattern[bytes] | None = None
        self._number = 0

    def __iter__(self) -> Iterator[Found | Failed]:
        if self._shape.list_at is None:
            yield self._take(spans.value_at(self._data, self._shape.start))
            return
        list_at: int | None = self._shape.list_at
        while list_at is not None:
            at, list_at = list_at, None
            for span in spans.values(self._data, at):
                self._number += 1
                self._next = self._next or _beginning(self._data, span.start)
                found = self._take(span)
                yield found
                if isinstance(found, Failed) and not found.known and (list_at := self._behind(span.start)):
                    break  # the end of this one cannot be trusted

    def _take(self, span: Span) -> Found | Failed:
        value: Any = None
        try:
            value = spans.read(self._data, span)
            source = formats.source_of(value)
            if not source:
                return Failed(formats.name_of(value, self._number), UNKNOWN, known=isinstance(value, dict))
            reading = formats.read(source, value, version=self._shape.header.get('version'), folder=self._folder)
        except ValueError as error:
            given = value if value is not None else {'title': _title_in(self._data, span)}
            return Failed(formats.name_of(given, self._number), _first_line(error), known=isinstance(value, dict))
        return Found(span, source, reading)

    def _behind(self, start: int) -> int | None:
        """Return where the list goes on behind what should not be in it."""
        at = start + 1
        while self._next and self._attempts > 0:
            self._attempts -= 1
            found = self._next.search(self._data, at)
            if not found:
                return None
            at = found.end()
            span = spans.value_at(self._data, at)
            if span.whole and isinstance(self._take(span), Found):
                return found.start(1)
        return None


def _beginning(data: mmap, start: int) -> re.Pattern[bytes] | None:
    """Return what separates this chat from the next: a comma, and the name of the first value."""
    first = re.compile(rb'\{\s*("[^"\\]{1,40}")\s*:').match(data, start)
    return re.compile(rb'\}\s*(,)\s*(?=\{\s*' + re.escape(first[1]) + rb'\s*:)') if first else None


def _title_in(data: mmap, span: Span) -> str:
    """Return the title of a chat that is no JSON, if it has one near its beginning."""
    found = _TITLE.search(data, span.start, min(span.end, span.start + 4000))
    return found[1].decode('utf-8', 'replace') if found else ''


_TITLE = re.compile(rb'"(?:title|name)"\s*:\s*"([^"\\]{1,200})"')


@contextmanager
def _mapped(path: Path) -> Iterator[mmap]:
    if not path.stat().st_size:
        raise ValueError('it is empty')
    with path.open('rb') as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        yield data


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
