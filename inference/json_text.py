"""Pieces of JSON text as GBNF: constants, ranges of integers, and strings that match a regular expression."""

import json
import re
from collections.abc import Iterable, Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from inference.errors import InvalidRequest
from inference.gbnf import CodePoints, merged, others, shown

NUMBER_DIGITS = 16
MOST_PATTERN = 5_000
_HIGHEST = 10**NUMBER_DIGITS - 1

_ESCAPED = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))
"""What stands in a JSON string only behind a backslash."""
_ESCAPES = {'"': '"', '\\': '\\', '\n': 'n', '\r': 'r', '\t': 't', '\b': 'b', '\f': 'f'}
_DIGITS: CodePoints = ((0x30, 0x39),)
_WORD: CodePoints = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: CodePoints = ((0x09, 0x0D), (0x20, 0x20))
_CATEGORIES: dict[Any, CodePoints] = {
    op.CATEGORY_DIGIT: _DIGITS,
    op.CATEGORY_NOT_DIGIT: others(_DIGITS),
    op.CATEGORY_WORD: _WORD,
    op.CATEGORY_NOT_WORD: others(_WORD),
    op.CATEGORY_SPACE: _SPACE,
    op.CATEGORY_NOT_SPACE: others(_SPACE),
}
_NO_LINE_BREAK = others([(0x0A, 0x0A), (0x0D, 0x0D)])


def literal(value: object) -> str:
    """Return a value as it stands in JSON."""
    return _quoted(json.dumps(value, ensure_ascii=False))


def integers_between(low: int | None, high: int | None) -> str:
    """Return the integers from `low` to `high`; None and what is beyond 16 digits is no bound."""
    low = max(-_HIGHEST, -_HIGHEST if low is None else low)
    high = min(_HIGHEST, _HIGHEST if high is None else high)
    found = [f'"-" ( {" | ".join(_between(max(1, -high), -low))} )'] if low < 0 else []
    found += _between(max(0, low), high) if high >= 0 else []
    return f'( {" | ".join(found)} )'


def _between(low: int, high: int) -> list[str]:
    found: list[str] = []
    for length in range(len(str(low)), len(str(high)) + 1):
        start, end = max(low, 10 ** (length - 1) if length > 1 else 0), min(high, 10**length - 1)
        found += _digits_between(str(start), str(end))
    return found


def _digits_between(low: str, high: str) -> Iterator[str]:
    """Yield groups of numbers that together are those from `low` to `high`, which have the same length."""
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    if low == high:
        yield f'"{low}"'
    elif first == last:
        yield from (f'"{first}" {group}' for group in _digits_between(low[1:], high[1:]))
    else:
        if low[1:].strip('0'):
            yield from (f'"{first}" {group}' for group in _digits_between(low[1:], '9' * rest))
            first += 1
        if high[1:].strip('9'):
            yield from (f'"{last}" {group}' for group in _digits_between('0' * rest, high[1:]))
            last -= 1
        if first <= last:
            yield f'[{first}-{last}] [0-9]{{{rest}}}'


def pattern(text: str) -> str:
    """Return the inside of a JSON string that matches a regular expression. Raises InvalidRequest."""
    if len(text) > MOST_PATTERN:
        raise InvalidRequest(f'A pattern has {len(text):,} characters; at most {MOST_PATTERN:,} can be followed.')
    try:
        tree = _parser.parse(text)
        if tree.state.flags & ~re.UNICODE:
            raise InvalidRequest(
                f'The pattern {shown(text)} has flags, which cannot be followed. Write it without them.'
            )
        items = list(tree)
        begins, ends = items[:1] == [(op.AT, op.AT_BEGINNING)], items[-1:] == [(op.AT, op.AT_END)]
        body = _sequence(items[begins : len(items) - ends])
    except (re.error, OverflowError, RecursionError, _Unsupported) as error:
        raise InvalidRequest(f'The pattern {shown(text)} cannot be followed: {error}. Write a simpler one.') from None
    return f'{"" if begins else "char*"} {body} {"" if ends else "char*"}'


class _Unsupported(Exception):
    pass


def _sequence(items: Iterable[tuple[Any, Any]]) -> str:
    return ' '.join(_item(*item) for item in items)


def _item(kind: Any, value: Any) -> str:
    match kind, value:
        case ((op.LITERAL | op.NOT_LITERAL | op.ANY | op.IN), _):
            return _one_of(_points(kind, value))
        case op.BRANCH, (_, branches):
            return f'( {" | ".join(_sequence(branch) for branch in branches)} )'
        case op.SUBPATTERN, (_, 0, 0, inner):
            return f'( {_sequence(inner)} )'
        case ((op.MAX_REPEAT | op.MIN_REPEAT), (least, most, inner)):
            return f'( {_sequence(inner)} ){{{least},{"" if most == op.MAXREPEAT else most}}}'
    raise _Unsupported(f'{str(kind).lower()} is more than a grammar can say')


def _points(kind: Any, value: Any) -> CodePoints:
    match kind:
        case op.LITERAL:
            return ((value, value),)
        case op.NOT_LITERAL:
            return others([(value, value)])
        case op.RANGE:
            return (value,)
        case op.CATEGORY:
            return _CATEGORIES[value]
        case op.IN:
            negated = value[0][0] is op.NEGATE
            points = merged(points for choice in value[negated:] for points in _points(*choice))
            return others(points) if negated else points
    return _NO_LINE_BREAK


def _one_of(points: CodePoints) -> str:
    """Return one character of a JSON string, written as it is or behind a backslash."""
    plain = others([*others(points), *_ESCAPED])
    escaped = [letter for char, letter in _ESCAPES.items() if any(low <= ord(char) <= high for low, high in points)]
    found = [f'[{"".join(f"{_code(low)}-{_code(high)}" for low, high in plain)}]'] if plain else []
    found += [rf'"\\" [{"".join(map(_code, map(ord, escaped)))}]'] if escaped else []
    if not found:
        raise _Unsupported('it asks for a character that JSON does not have')
    return f'( {" | ".join(found)} )'


def _code(code: int) -> str:
    return f'\\U{code:08X}'


def _quoted(text: str) -> str:
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'
