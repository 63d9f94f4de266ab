"""Formulas: LaTeX, which comes from the model like everything else, turned into MathML that cannot act."""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LIMIT = 4096  # characters; latex2mathml takes about 5 µs for each
MOST_ELEMENTS, MOST_DEPTH = 4000, 100
CACHED_LIMIT, CACHED_COUNT = 500, 512  # the tail of a reply is rendered many times while it is written


def mathml(source: str, *, display: bool) -> str:
    """Return a formula as MathML; empty if it cannot be read or is too large."""
    return _convert_short(source, display) if len(source) <= CACHED_LIMIT else _convert(source, display)


def _convert(source: str, display: bool) -> str:
    from latex2mathml.converter import convert_to_element  # noqa: PLC0415 - slow, and most replies have no formula

    try:
        root = convert_to_element(_prepare(source, display), display='block' if display else 'inline')
        return ''.join(_write(root, _Budget()))
    except Exception:  # noqa: BLE001 - on text that is not LaTeX it stumbles anywhere, with any error
        return ''


_convert_short = lru_cache(CACHED_COUNT)(_convert)


class _Unreadable(Exception):
    """It is not the LaTeX we know."""


class _Budget:
    """What one formula may take of the browser."""

    def __init__(self) -> None:
        self._elements = MOST_ELEMENTS

    def take(self, depth: int) -> None:
        self._elements -= 1
        if self._elements < 0 or depth > MOST_DEPTH:
            raise _Unreadable


# Macros can grow without bound, and the others would hide what they lose on the way: a target, a style.
_REFUSED = re.compile(
    r'\\(?:def|(?:re)?newcommand|newenvironment|DeclareMathOperator|href|url|style|class|unicode|includegraphics)'
    r'(?![A-Za-z])'
)
_DROPPED = re.compile(r'\\(?:nonumber|notag)(?![A-Za-z])|\\label\s*\{[^{}]*\}')
_TAG = re.compile(r'\\tag\*?\s*\{([^{}$]*)\}')
_EDGE = re.compile(r'\\(?P<edge>begin|end)\s*\{(?P<name>[A-Za-z]+)\*?\}(?:\[[a-z]\])?')
_ALIGNAT = re.compile(r'(\\begin\s*\{alignat(?:ed)?\*?\})\s*\{\d+\}')
_ENVIRONMENTS = {
    **{name: name for name in 'matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array cases'.split()},
    **dict.fromkeys('align aligned alignat alignedat split eqnarray flalign'.split(), 'align*'),
    **dict.fromkeys('gather gathered multline multlined'.split(), 'displaylines'),
    **dict.fromkeys('dcases'.split(), 'cases'),
    **dict.fromkeys('equation math displaymath subequations'.split(), ''),
}  # fmt: skip


def _prepare(source: str, display: bool) -> str:
    """Say it in the LaTeX that latex2mathml reads; equations have no numbers here, they would all be the first."""
    if len(source) > LIMIT or _REFUSED.search(source):
        raise _Unreadable
    source = _TAG.sub(r'\\qquad\\text{(\1)}', _DROPPED.sub('', source))
    if display and r'\\' in source and r'\begin' not in source:
        name = 'align' if '&' in source else 'gather'
        source = rf'\begin{{{name}}}{source}\end{{{name}}}'
    return _EDGE.sub(_environment, _ALIGNAT.sub(r'\1', source))


def _environment(edge: re.Match[str]) -> str:
    name = _ENVIRONMENTS.get(edge['name'])
    if name is None:
        raise _Unreadable
    return f'\\{edge["edge"]}{{{name}}}' if name else ''


TAGS = frozenset(
    'math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover '
    'mtable mtr mtd mstyle mpadded mphantom menclose'.split()
)
_WORDS, _LENGTH = r'[a-z -]{1,60}', r'[+-]?(?:\d(?:\.\d{1,4})?|\.\d{1,4})(?:em|ex)|\d{1,2}p[tx]|0'
_PATTERNS = {
    **dict.fromkeys('display displaystyle stretchy fence form movablelimits separator accent'.split(), _WORDS),
    **dict.fromkeys('largeop mathvariant columnalign columnlines rowlines notation'.split(), _WORDS),
    **dict.fromkeys('width height depth voffset lspace rspace minsize maxsize linethickness'.split(), _LENGTH),
    'scriptlevel': r'\d',
    'mathcolor': r'[A-Za-z]{3,20}|#[0-9A-Fa-f]{3,8}',
}
ATTRIBUTES = frozenset(_PATTERNS)
_ALLOWED = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}
# Browsers know neither the names that MathML once had for spaces nor TeX's own unit.
_SPACES = {'thin': '0.167em', 'medium': '0.222em', 'thick': '0.278em'}
_SPACE = re.compile(r'(negative)?(thin|medium|thick)mathspace')
_CHARACTER = re.compile(r'&#x([0-9A-Fa-f]{1,6});')


def _write(element: 'Element', budget: _Budget, depth: int = 0) -> Iterator[str]:
    """Yield the HTML of an element; what latex2mathml writes itself escapes nothing."""
    budget.take(depth)
    if element.tag not in TAGS:
        raise _Unreadable
    yield f'<{element.tag}{_attributes(element)}>{escape(_text(element), quote=False)}'
    for child in element:
        yield from _write(child, budget, depth + 1)
    yield f'</{element.tag}>'


def _attributes(element: 'Element') -> str:
    parts = []
    for name, value in element.attrib.items():
        value = _SPACE.sub(lambda space: ('-' if space[1] else '') + _SPACES[space[2]], value)
        if name in _ALLOWED and _ALLOWED[name].fullmatch(value):
            parts.append(f' {name}="{value}"')
    return ''.join(parts)


def _text(element: 'Element') -> str:
    text = _CHARACTER.sub(lambda code: chr(int(code[1], 16)), element.text or '')
    is_unknown = element.tag in {'mi', 'mo'} and (text == '&' or (len(text) > 1 and text[0] == '\\'))
    if is_unknown or any('\ud800' <= character <= '\udfff' for character in text):
        raise _Unreadable
    return text
