"""Values of a file that somebody else wrote: what has the wrong type counts as missing, and every text is cleaned."""

import hashlib
import math
from datetime import UTC, datetime
from typing import Any

from inference.chat import clean_text

LARGEST = 2**53
"""The largest number that every JSON reader takes exactly."""
TITLE_LENGTH = 200
PLACEHOLDERS = {'new chat', 'untitled', 'untitled chat', 'none', 'null'}
"""Titles that other apps give to a chat without one."""

Table = dict[str, Any]


def text(value: object) -> str:
    """Return a text that every file and browser takes."""
    return clean_text(value) if isinstance(value, str) else ''


def line(value: object, length: int = TITLE_LENGTH) -> str:
    """Return a text as one line."""
    return ' '.join(text(value).split())[:length]


def title(value: object) -> str:
    """Return a chat's title; empty where the app had none."""
    found = line(value)
    return '' if found.lower() in PLACEHOLDERS else found


def table(value: object) -> Table:
    """Return a JSON object."""
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[Any]:
    """Return a JSON list."""
    return value if isinstance(value, list) else []


def count(value: object) -> int:
    """Return a number of things."""
    return int(number(value))


def number(value: object) -> float:
    """Return a number from 0 up."""
    if isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= LARGEST:
        return float(value)
    return 0.0


def when(value: object) -> datetime | None:
    """Return a point in time; numbers are seconds since 1970, or milli-, micro- or nanoseconds by their size."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            return None
        seconds = float(value)
        while seconds > 1e11:  # the year 5138
            seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def new_id(*parts: str) -> str:
    """Return an id that is the same each time for the same parts, and tells nothing of them."""
    joined = '\0'.join(parts).encode('utf-8', 'surrogatepass')
    return hashlib.sha256(joined).hexdigest()[:16]


def fenced(code: str, language: str = '') -> str:
    """Return a Markdown block of code that its content cannot end."""
    longest = max((len(run) for run in _runs_of_backticks(code)), default=0)
    fence = '`' * max(3, longest + 1)
    return f'{fence}{language}\n{code}\n{fence}'


def _runs_of_backticks(code: str) -> list[str]:
    return [run for run in ''.join(sign if sign == '`' else ' ' for sign in code).split() if run]
