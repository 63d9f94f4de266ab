"""A JSON file that may be too large to be read at once: where the values in it begin and end, and what one of them is.

Nothing here holds more than one value in memory, and a file that ends too early gives what came before that.
"""

import json
import re
from collections.abc import Container, Iterator
from mmap import mmap
from typing import Any, NamedTuple

import orjson

LARGEST_VALUE = 64 * 2**20
"""Bytes of one chat."""
LONGEST_HEADER = 1000
"""Bytes of a value beside the list that is looked at."""

_GAP = re.compile(rb'(?:\xef\xbb\xbf)?[\s,]*+')
_MEMBER = re.compile(rb'[\s,]*+("[^"\\]*+")\s*+:\s*+')
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb'[^\s,\[\]{}"]++')
# All up to the next bracket, at once: an unfinished string matches nothing, however long it is.
_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(?:([{\[])|[}\]])', re.DOTALL)


class Span(NamedTuple):
    """Where a value lies; it is not `whole` if the file ends in it."""

    start: int
    end: int
    whole: bool = True


class Shape(NamedTuple):
    """A file as a whole: one value at `start`, or a list at `list_at`; `header` is what stands before the list."""

    start: int
    list_at: int | None
    header: dict[str, Any]


def shape_of(data: mmap, list_names: Container[str]) -> Shape:
    """Return how the file is built; a list under one of the names is taken for its content."""
    start = at = _after_gap(data, 0)
    if data[at : at + 1] == b'[':
        return Shape(start, start, {})
    header: dict[str, Any] = {}
    while data[start : start + 1] == b'{' and (member := _MEMBER.match(data, at + (at == start))):
        name, begin = read(data, Span(*member.span(1))), member.end()
        if name in list_names and data[begin : begin + 1] == b'[':
            return Shape(start, begin, header)
        span = value_at(data, begin)
        if data[begin : begin + 1] not in {b'{', b'['} and span.end - begin < LONGEST_HEADER:
            header[name] = _read_or_none(data, span)
        at = span.end
    return Shape(start, None, header)


def values(data: mmap, list_at: int) -> Iterator[Span]:
    """Yield the values of the list that begins there, or of the rest of one."""
    at = _after_gap(data, list_at + 1)
    while at < len(data) and data[at : at + 1] not in {b']', b'}'}:
        span = value_at(data, at)
        yield span
        at = _after_gap(data, span.end) if span.whole else len(data)


def value_at(data: mmap, start: int) -> Span:
    """Return where the value that begins at `start` ends."""
    first = data[start : start + 1]
    if first not in {b'{', b'['}:
        found = (_STRING if first == b'"' else _SCALAR).match(data, start)
        return Span(start, found.end()) if found else Span(start, len(data), whole=False)
    at, depth = start, 0
    while found := _BRACKET.match(data, at):
        at = found.end()
        depth += 1 if found.lastindex else -1
        if depth == 0:
            return Span(start, at)
    return Span(start, len(data), whole=False)


def read(data: mmap, span: Span) -> Any:
    """Return a value; raises ValueError in words if it is no JSON, is nested too deeply or is too large."""
    if not span.whole:
        raise ValueError('the file ends in the middle of it')
    if span.end - span.start > LARGEST_VALUE:
        raise ValueError(f'it is larger than {LARGEST_VALUE >> 20} MB')
    content = data[span.start : span.end]
    try:
        return orjson.loads(content)
    except ValueError:
        return _read_patiently(content)


def _read_patiently(content: bytes) -> Any:
    """Take what strict readers refuse: half characters, as browsers may write them, and numbers that are none."""
    try:
        return json.loads(content.decode('utf-8', 'replace'))
    except RecursionError:
        raise ValueError('it is nested too deeply') from None
    except json.JSONDecodeError as error:
        raise ValueError(f'it is not valid JSON: {error.msg} at character {error.pos}') from None


def _read_or_none(data: mmap, span: Span) -> Any:
    try:
        return read(data, span)
    except ValueError:
        return None


def _after_gap(data: mmap, at: int) -> int:
    gap = _GAP.match(data, at)
    return gap.end() if gap else at
