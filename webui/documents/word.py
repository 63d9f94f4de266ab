"""Word files: paragraphs, headings, lists and tables in their order."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import docx
from docx.oxml.ns import qn

from webui.documents.refusal import Note, Refused

_PARAGRAPH, _TABLE, _ROW, _CELL = qn('w:p'), qn('w:tbl'), qn('w:tr'), qn('w:tc')
_SIGNS = {qn('w:tab'): '\t', qn('w:br'): '\n', qn('w:cr'): '\n', qn('w:noBreakHyphen'): '-'}
_NOT_READ = {qn('w:moveFrom'), qn('w:del'), qn('w:pPr'), qn('w:rPr'), qn('w:tcPr')}
"""What was deleted, and tab stops, which look like tabs."""
_FALLBACK = '{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback'
"""The same text again, for older programs."""


def read_word(content: bytes) -> tuple[str, Note]:
    """Return the text of the body, with headings and lists marked as in Markdown. Raises Refused."""
    try:
        document = docx.Document(BytesIO(content))
        marks = {style.style_id: _mark_of(style.name or '') for style in document.styles}
        blocks = [text for text in _blocks(document.element.body, marks) if text.strip()]
    except MemoryError:
        raise
    except Exception:  # what a damaged file raises is not documented, and is anything
        raise Refused('damaged') from None
    if not blocks:
        raise Refused('no_text')
    return '\n\n'.join(blocks), ''


def _mark_of(style: str) -> str:
    """Return what Markdown puts before a paragraph of this style."""
    name, _, level = style.lower().rpartition(' ')
    if name == 'heading' and level.isdecimal():
        return '#' * min(6, int(level)) + ' '
    return {'title': '# ', 'list': '- '}.get(style.lower().partition(' ')[0], '')


def _blocks(parent: Any, marks: dict[str, str]) -> Iterator[str]:
    for element in parent:
        if element.tag == _PARAGRAPH:
            yield _mark(element, marks) + _text(element).strip()
        elif element.tag == _TABLE:
            yield '\n'.join(_table_rows(element))
        elif element.tag not in _NOT_READ:  # content controls and the like
            yield from _blocks(element, marks)


def _mark(paragraph: Any, marks: dict[str, str]) -> str:
    if mark := marks.get(paragraph.style or '', ''):
        return mark
    properties = paragraph.pPr
    return '- ' if properties is not None and properties.numPr is not None else ''


def _table_rows(table: Any) -> Iterator[str]:
    for row in table.iter(_ROW):
        cells = (' '.join(_text(cell).split()) for cell in row if cell.tag == _CELL)
        yield ' | '.join(cells).rstrip(' |')


def _text(element: Any) -> str:
    return ''.join(_pieces(element))


def _pieces(element: Any) -> Iterator[str]:
    for child in element:
        if child.tag == qn('w:t'):
            yield child.text or ''
        elif child.tag in _SIGNS:
            yield _SIGNS[child.tag]
        elif child.tag not in _NOT_READ and child.tag != _FALLBACK:
            yield from _pieces(child)
            if child.tag == _PARAGRAPH:
                yield '\n'
