"""Why a file cannot be attached, and the limits that lead to it."""

from typing import Literal

LARGEST_FILE = 20 * 10**6
"""Bytes."""
LONGEST_TEXT = 2 * 10**6
"""Characters; about half a million tokens, more than nearly every context holds."""
PATIENCE = 120.0
"""Seconds that reading a file may take; a book of a thousand pages takes half of it."""

Reason = Literal[
    'too_large', 'too_long', 'too_slow', 'too_complex', 'empty', 'image', 'binary', 'kind', 'encrypted', 'no_text',
    'damaged',
]  # fmt: skip
Note = Literal['', 'windows_1252', 'pages_without_text']


class Refused(Exception):
    """The file cannot be read, for the reason `why`."""

    def __init__(self, why: Reason) -> None:
        super().__init__(why)
        self.why: Reason = why
