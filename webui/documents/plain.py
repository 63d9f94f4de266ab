"""Text files of any encoding, and tables."""

import codecs
import csv
import unicodedata
from collections.abc import Iterator
from io import StringIO
from typing import Literal

from webui.documents.refusal import LONGEST_TEXT, Note, Refused

_MARKS = (
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF32_LE, 'utf-32'),  # before that of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, 'utf-32'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)
_SAMPLE = 4096
_MOST_CONTROLS = 0.02
"""The share of control characters from which on it is no text; logs have some, for colours."""
_DELIMITERS = ',;\t|'
_ROWS_LOOKED_AT = 20


def decode(content: bytes) -> tuple[str, Note]:
    """Return the text, and whether its encoding is only a guess. Raises Refused for what is no text."""
    note: Note = ''
    try:
        text = content.decode(_encoding_of(content))
    except UnicodeDecodeError:
        if b'\0' in content:
            raise Refused('binary') from None
        text, note = content.decode('cp1252', 'replace'), 'windows_1252'
    if _looks_binary(text):
        raise Refused('binary')
    return text.replace('\r\n', '\n').replace('\r', '\n'), note


def decode_table(content: bytes) -> tuple[str, Note]:
    """Return the table with a line for each row and ` | ` between its cells, without what is empty around it."""
    text, note = decode(content)
    csv.field_size_limit(LONGEST_TEXT)
    try:
        return '\n'.join(_rows(text)), note
    except csv.Error:
        return text, note  # whatever it is, its text says it


def _rows(text: str) -> Iterator[str]:
    # A single quote mark in a cell would swallow the rest of the file; then there are no quotes in this table.
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if text.count('"') % 2 == 0 else csv.QUOTE_NONE
    for row in csv.reader(StringIO(text), delimiter=_delimiter_of(text), quoting=quoting):
        cells = [' '.join(cell.split()) for cell in row]
        if any(cells):
            yield ' | '.join(cells).rstrip(' |')


def _delimiter_of(text: str) -> str:
    """Return the sign that cuts the first lines into the same number of cells, and into the most."""
    lines = text.split('\n', _ROWS_LOOKED_AT)[:_ROWS_LOOKED_AT]
    counts = {sign: [line.count(sign) for line in lines if line.strip()] for sign in _DELIMITERS}

    def fitness(sign: str) -> tuple[int, int]:
        return min(counts[sign], default=0), sum(counts[sign])

    return max(_DELIMITERS, key=fitness)


def _encoding_of(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    sample = content[:_SAMPLE]
    # Mostly Latin text in UTF-16 without a mark: every other byte is zero.
    for offset, encoding in ((1, 'utf-16-le'), (0, 'utf-16-be')):
        zeros, others = sample[offset::2].count(0), sample[1 - offset :: 2].count(0)
        if zeros > len(sample) // 4 and others == 0:
            return encoding
    return 'utf-8'


def _looks_binary(text: str) -> bool:
    sample = text[:_SAMPLE]
    controls = sum(unicodedata.category(character) == 'Cc' for character in sample if character not in '\t\n\r\f\x1b')
    return '\0' in text or controls > _MOST_CONTROLS * len(sample)
