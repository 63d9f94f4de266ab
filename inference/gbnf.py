"""Reads GBNF, the notation of llama.cpp for grammars, which is described in its `grammars/README.md`.

llama.cpp's own reader ends the process on some texts (many parentheses in each other) and does not return from others
(`{5,3}`); here each of them is an InvalidRequest that names the line.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from inference.errors import InvalidRequest

MOST_REPEATS = 50_000
MOST_SHOWN = 60
MOST_DEPTH = 100
"""Of parentheses in each other."""

CodePoints = tuple[tuple[int, int], ...]
"""Ranges from the first to the last code point, sorted and apart."""

EVERY: CodePoints = ((1, 0xD7FF), (0xE000, 0x10FFFF))
"""All that UTF-8 can hold, but NUL, which no text in this app contains."""


@dataclass(frozen=True, slots=True)
class Set:
    """One character of these."""

    points: CodePoints


@dataclass(frozen=True, slots=True)
class NamedToken:
    """The token of this text, or with `negated` any other."""

    text: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """A rule by its name, which stands at this place of the text."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Group:
    """One of several sequences."""

    alternatives: 'Alternatives'


@dataclass(frozen=True, slots=True)
class Repeat:
    """An item from `least` to `most` times, or without end."""

    item: 'Item'
    least: int
    most: int | None


Item = Set | NamedToken | Reference | Group | Repeat
Alternatives = tuple[tuple[Item, ...], ...]

_SPACE = re.compile(r'(?:[ \t]|#[^\r\n]*)*')
_SPACE_AND_LINES = re.compile(r'(?:[ \t\r\n]|#[^\r\n]*)*')
_NAME = re.compile(r'[a-zA-Z0-9-]+')
_CHAR = re.compile(r'\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([trn\\"\[\]-]))|[^\\]', re.DOTALL)
_TOKEN = re.compile(r'(!?)(<[^>]+>)')
_TIMES = re.compile(r'([*+?])|\{\s*(\d{1,9})\s*(?:(,)\s*(\d{1,9})?\s*)?\}')
_SHORT_TIMES: dict[str, tuple[int, int | None]] = {'*': (0, None), '+': (1, None), '?': (0, 1)}
_ESCAPES = {'t': '\t', 'r': '\r', 'n': '\n'}


class Reader:
    """Goes through a text once, from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def rules(self) -> dict[str, Alternatives]:
        """Return the rules by their names; of two with one name the last counts, as in llama.cpp."""
        rules: dict[str, Alternatives] = {}
        self._skip(lines=True)
        while self._at < len(self._text):
            name = self._take(_NAME, 'a rule begins with its name').group()
            self._skip()
            self._expect('::=')
            self._skip(lines=True)
            rules[name] = self._alternatives(0)
            if self._at < len(self._text) and self._text[self._at] not in '\r\n':
                self._fail(f'nothing can be read at {self._here()}')
            self._skip(lines=True)
        return rules

    def _alternatives(self, depth: int) -> Alternatives:
        found = [self._sequence(depth)]
        while self._text.startswith('|', self._at):
            self._at += 1
            self._skip(lines=True)
            found.append(self._sequence(depth))
        return tuple(found)

    def _sequence(self, depth: int) -> tuple[Item, ...]:
        items: list[Item] = []
        while (item := self._item(depth)) is not None:
            self._skip(lines=depth > 0)
            if repeat := _TIMES.match(self._text, self._at):
                item = self._repeat(item, repeat)
                self._skip(lines=depth > 0)
            items.append(item)
        if self._text[self._at : self._at + 1] in {'*', '+', '?', '{'}:
            self._fail(f'{self._here()} does not say how often something is repeated')
        return tuple(items)

    def _item(self, depth: int) -> Item | None:
        match self._text[self._at : self._at + 1]:
            case '"':
                return self._literal()
            case '[':
                return self._set()
            case '(':
                return self._group(depth + 1)
            case '.' | '<' | '!':
                return self._any()
        if name := _NAME.match(self._text, self._at):
            self._at = name.end()
            return Reference(name.group(), name.start())
        return None

    def _any(self) -> Item:
        if self._text.startswith('.', self._at):
            self._at += 1
            return Set(EVERY)
        negated, text = self._take(_TOKEN, 'a token is written <like this> or <[id]>').groups()
        return NamedToken(text, negated == '!')

    def _literal(self) -> Item:
        self._at += 1
        chars: list[Item] = []
        while not self._text.startswith('"', self._at):
            code = self._char('a text ends with "')
            chars.append(Set(((code, code),)))
        self._at += 1
        return chars[0] if len(chars) == 1 else Group((tuple(chars),))

    def _set(self) -> Set:
        self._at += 1
        negated = self._text.startswith('^', self._at)
        self._at += negated
        points: list[tuple[int, int]] = []
        while not self._text.startswith(']', self._at):
            low = high = self._char('a set of characters ends with ]')
            if self._text.startswith('-', self._at) and self._text[self._at + 1 : self._at + 2] != ']':
                self._at += 1
                high = self._char('a set of characters ends with ]')
            if high < low:
                self._fail('a range in [ ] goes from the lower to the higher character')
            points.append((low, high))
        if not points:
            self._fail('a set of characters in [ ] is empty')
        self._at += 1
        return Set(others(points) if negated else merged(points))

    def _group(self, depth: int) -> Group:
        if depth > MOST_DEPTH:
            self._fail(f'more than {MOST_DEPTH} parentheses are in each other; make rules of the inner ones')
        self._at += 1
        self._skip(lines=True)
        alternatives = self._alternatives(depth)
        self._expect(')')
        return Group(alternatives)

    def _repeat(self, item: Item, times: re.Match[str]) -> Item:
        short, least, comma, most = times.groups()
        self._at = times.end()
        if short:
            return Repeat(item, *_SHORT_TIMES[short])
        low, high = int(least), int(most or least) if most or not comma else None
        if max(low, high or 0) > MOST_REPEATS:
            self._fail(f'{times.group()} repeats too often; {MOST_REPEATS:,} times is the most')
        if high is not None and high < low:
            self._fail(f'{times.group()} has the larger number first')
        return Repeat(item, low, high)

    def _char(self, otherwise: str) -> int:
        found = self._take(_CHAR, otherwise)
        *codes, escape = found.groups()
        if escape:
            return ord(_ESCAPES.get(escape, escape))
        return next((int(code, 16) for code in codes if code), ord(found.group()[0]))

    def _skip(self, *, lines: bool = False) -> None:
        space = (_SPACE_AND_LINES if lines else _SPACE).match(self._text, self._at)
        assert space
        self._at = space.end()

    def _take(self, pattern: re.Pattern[str], otherwise: str) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if not found:
            self._fail(f'{otherwise}, but there is {self._here()}')
        self._at = found.end()
        return found

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            self._fail(f'{text} is missing before {self._here()}')
        self._at += len(text)

    def _here(self) -> str:
        return repr(self._text[self._at : self._at + 12]) if self._at < len(self._text) else 'the end'

    def _fail(self, reason: str) -> NoReturn:
        raise mistake(self._text, self._at, reason)


def merged(points: Iterable[tuple[int, int]]) -> CodePoints:
    """Return ranges in order, those that touch made one."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(points):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return tuple(found)


def others(points: Iterable[tuple[int, int]]) -> CodePoints:
    """Return every code point that is not in the ranges."""
    found: list[tuple[int, int]] = []
    for first, end in EVERY:
        start = first
        for low, high in merged(points):
            if start < low <= end:
                found.append((start, low - 1))
            start = max(start, high + 1) if low <= end else start
        if start <= end:
            found.append((start, end))
    return tuple(found)


def shown(value: object) -> str:
    """Return what somebody wrote as it can stand in a message, the beginning of it if it is long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f'{text[:MOST_SHOWN]}…'


def mistake(text: str, at: int, reason: str) -> InvalidRequest:
    line = text.count('\n', 0, at) + 1
    return InvalidRequest(f'The grammar has a mistake in line {line}: {reason}.')
