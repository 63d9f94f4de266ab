"""What a template may make: every text and list is weighed before it is made, and all of a rendering adds up.

A character or a byte weighs 1. What is taken is never given back, so that a template can hold no more than that.
"""

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2.utils import Namespace

MOST_TEXT, MOST_TOTAL = 16 << 20, 256 << 20
"""What one text or list may weigh, and all that a template makes in one rendering."""
ITEM, LETTER = 16, 64
"""What something small weighs in a list, and a text of one letter that is a text of its own."""
MOST_BITS = 4096


class TooMuch(Exception):
    """The template went over a bound."""


class Budget:
    """The time and the weight that a rendering has left."""

    def __init__(self, seconds: float, weight: int = MOST_TOTAL) -> None:
        self._end, self._left = time.monotonic() + seconds, weight

    def check(self) -> None:
        """End what goes on for too long."""
        if time.monotonic() > self._end:
            raise TooMuch('it does not come to an end')

    def take(self, weight: int) -> None:
        """Take the weight of something that is about to be made."""
        self.check()
        self._left -= weight
        if weight > MOST_TEXT:
            raise TooMuch('it makes too large a text')
        if self._left < 0:
            raise TooMuch('what it makes does not come to an end')

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield items whose number nobody knows."""
        for item in items:
            self.take(ITEM)
            yield item


_BUDGET: ContextVar[Budget] = ContextVar('what the template that is rendered in this context has left')


def budget() -> Budget:
    """Return the budget of the rendering that goes on here."""
    return _BUDGET.get()


@contextmanager
def spending(seconds: float) -> Iterator[None]:
    """Give what runs inside a budget of its own."""
    token = _BUDGET.set(Budget(seconds))
    try:
        yield
    finally:
        _BUDGET.reset(token)


def weight_of(value: Any, *, indent: int = 0) -> int:
    """Return about how long a value is as text, in lines indented by so much a level; a huge one is not all counted."""
    weight, waiting = 0, [(value, 0)]
    while waiting and weight <= MOST_TEXT:
        one, depth = waiting.pop()
        weight += ITEM + indent * depth
        if isinstance(one, str | bytes):
            weight += len(one) - ITEM
        elif isinstance(one, Mapping):
            waiting += [(part, depth + 1) for item in one.items() for part in item]
        elif isinstance(one, Collection) and not isinstance(one, range):
            waiting += [(item, depth + 1) for item in one]
        elif isinstance(one, Namespace):
            waiting.append((one._Namespace__attrs, depth))
    return weight


def weight_of_items(value: Any) -> int:
    """Return what a list of the items of a value weighs, with copies of the texts in it."""
    return LETTER * len(value) if isinstance(value, str) else weight_of(value)


def weight_of_operation(operator: str, left: Any, right: Any) -> int:
    """Return what an operation will make, of numbers scaled so that too many digits are too much."""
    match operator:
        case '*' if isinstance(left, int) and isinstance(right, int):
            return (left.bit_length() + right.bit_length()) * (MOST_TEXT // MOST_BITS)
        case '**' if isinstance(left, int) and isinstance(right, int):
            return left.bit_length() * max(0, right) * (MOST_TEXT // MOST_BITS)
        case '*':
            times = next((side for side in (left, right) if isinstance(side, int)), 0)
            return (_flat(left) + _flat(right)) * max(0, times)
        case '+':
            return _flat(left) + _flat(right)
        case '%' if isinstance(left, str):
            return weight_of_format(left, right if isinstance(right, tuple) else (right,))
    return 0


def weight_of_format(form: str, values: Iterable[Any]) -> int:
    """Return at most what a format makes: any field may show any value, as wide as the numbers say."""
    values = list(values)
    widths = [int(digits[:9]) for digits in re.findall(r'\d+', form)]
    widths += [abs(value) for value in values if isinstance(value, int)] if re.search(r'\*|\{[^}]*\{', form) else []
    fields = form.count('%') + form.count('{')
    return len(form) + sum(widths) + fields * max(map(weight_of, values), default=0)


def weight_of_method(text: str, name: str, values: tuple[Any, ...]) -> int:
    """Return what a method of a text will make. Raises TooMuch for one whose weight nobody knows."""
    first = values[0] if values else None
    match name:
        case 'replace' if len(values) > 1:
            return weight_of_replacement(text, *values[:2])
        case 'join':
            return weight_of(first) + _flat(first) // ITEM * len(text)
        case 'split' | 'rsplit':
            parts = text.count(first) if isinstance(first, str) and first else len(text) // 2
            return len(text) + LETTER * parts
        case 'splitlines':
            return len(text) + LETTER * len(_ENDS_OF_LINES.findall(text))
        case 'ljust' | 'rjust' | 'center' | 'zfill':
            return max(len(text), first if isinstance(first, int) else 0)
        case _ if name in PLAIN_METHODS:
            return len(text)
    raise TooMuch(f'it uses {name}, which no template needs')


def weight_of_replacement(text: str, old: Any, new: Any) -> int:
    """Return what is left of a text where each `old` became a `new`."""
    old, new = str(old), str(new)
    return len(text) + text.count(old) * max(0, len(new) - len(old))


PLAIN_METHODS = frozenset({
    'capitalize', 'casefold', 'count', 'endswith', 'find', 'index', 'isalnum', 'isalpha', 'isascii', 'isdecimal',
    'isdigit', 'isidentifier', 'islower', 'isnumeric', 'isprintable', 'isspace', 'istitle', 'isupper', 'lower',
    'lstrip', 'partition', 'removeprefix', 'removesuffix', 'rfind', 'rindex', 'rpartition', 'rstrip', 'startswith',
    'strip', 'swapcase', 'title', 'upper',
})  # fmt: skip
"""Methods of texts that make nothing much longer than the text."""
_ENDS_OF_LINES = re.compile('[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]')


def _flat(value: Any) -> int:
    """Return what a text weighs, or a list without what its items hold."""
    if isinstance(value, str | bytes):
        return len(value)
    return ITEM * len(value) if isinstance(value, list | tuple) else 0
