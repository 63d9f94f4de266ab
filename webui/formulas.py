"""Formulas: LaTeX, which comes from the model like everything else, turned into MathML that cannot act."""

import re
import threading
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING

from webui.formula_lines import LIMIT

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_ELEMENTS, MOST_DEPTH = 4000, 100
CACHED_LIMIT, CACHED_COUNT = 500, 512  # the tail of a reply is rendered many times while it is written


def mathml(source: str, *, display: bool) -> str:
    """Return a formula as MathML; empty if it cannot be read or is too large."""
    return _convert_short(source, display) if len(source) <= CACHED_LIMIT else _convert(source, display)


def warm_up() -> None:
    """Load what reads LaTeX, beside everything else: that takes longer than a page should have to wait."""
    threading.Thread(target=import_module, args=('latex2mathml.converter',), daemon=True).start()


def _convert(source: str, display: bool) -> str:
    from latex2mathml.converter import convert_to_element  # noqa: PLC0415 - slow, and most replies have no formula

    try:
        root = convert_to_element(_prepare(source, display), display='block' if display else 'inline')
        return ''.join(_write(root, _Budget()))
    except Exception:  # on text that is not LaTeX it stumbles anywhere, with any error
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
_SAME_TO_US = {
    'align*': 'align aligned alignat alignedat split eqnarray flalign',
    'displaylines': 'gather gathered multline multlined',
    'cases': 'cases dcases',
    '': 'equation math displaymath subequations',
}
_ENVIRONMENTS = {
    **{
        name: name for name in ('matrix', 'pmatrix', 'bmatrix', 'Bmatrix', 'vmatrix', 'Vmatrix', 'smallmatrix', 'array')
    },
    **{name: ours for ours, names in _SAME_TO_US.items() for name in names.split()},
}


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
    """
    math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd mstyle
    mpadded mphantom menclose
    """.split()  # noqa: SIM905 - thirty quoted words are harder to read
)
_WORDS, _LENGTH = r'[a-z -]{1,60}', r'[+-]?(?:\d(?:\.\d{1,4})?|\.\d{1,4})(?:em|ex)|\d{1,2}p[tx]|0'
_PATTERNS = {
    r'\d': 'scriptlevel',
    r'[A-Za-z]{3,20}|#[0-9A-Fa-f]{3,8}': 'mathcolor',
    _WORDS: 'display displaystyle stretchy fence form movablelimits separator accent largeop mathvariant columnalign '
    'columnlines rowlines notation',
    _LENGTH: 'width height depth voffset lspace rspace minsize maxsize linethickness',
}
_ALLOWED = {name: re.compile(pattern) for pattern, names in _PATTERNS.items() for name in names.split()}
ATTRIBUTES = frozenset(_ALLOWED)
# Browsers know neither the names that MathML once had for spaces nor TeX's own unit.
_SPACES = {'thin': '0.167em', 'medium': '0.222em', 'thick': '0.278em'}
_SPACE = re.compile(r'(negative)?(thin|medium|thick)mathspace')
_CHARACTER = re.compile(r'&#x([0-9A-Fa-f]{1,6});')


_LIMITS = {'msub': 'munder', 'msup': 'mover', 'msubsup': 'munderover'}
_TAKES_LIMITS = frozenset(('lim', 'max', 'min', 'sup', 'inf', 'limsup', 'liminf', 'argmax', 'argmin', *'∑∏∐⋃⋂⨁⨂⋁⋀'))


def _write(element: 'Element', budget: _Budget, depth: int = 0) -> Iterator[str]:
    """Yield the HTML of an element; what latex2mathml writes itself escapes nothing."""
    budget.take(depth)
    if element.tag not in TAGS:
        raise _Unreadable
    tag = _LIMITS[element.tag] if element.tag in _LIMITS and _takes_limits(element[0]) else element.tag
    yield f'<{tag}{_attributes(element)}>{escape(_text(element), quote=False)}'
    for child in element:
        yield from _write(child, budget, depth + 1)
    yield f'</{tag}>'


def _takes_limits(base: 'Element') -> bool:
    """Whether what is under and over it belongs there; beside it in the middle of a line."""
    if base.tag != 'mo' or not (base.get('movablelimits') or _text(base) in _TAKES_LIMITS):
        return False
    base.set('movablelimits', 'true')
    return True


def _attributes(element: 'Element') -> str:
    values = {name: _SPACE.sub(_space, value) for name, value in element.attrib.items() if name in _ALLOWED}
    return ''.join(f' {name}="{value}"' for name, value in values.items() if _ALLOWED[name].fullmatch(value))


def _space(name: re.Match[str]) -> str:
    return ('-' if name[1] else '') + _SPACES[name[2]]


def _text(element: 'Element') -> str:
    text = _CHARACTER.sub(lambda code: chr(int(code[1], 16)), element.text or '')
    is_unknown = element.tag in {'mi', 'mo'} and (text == '&' or (len(text) > 1 and text[0] == '\\'))
    if is_unknown or any('\ud800' <= character <= '\udfff' for character in text):
        raise _Unreadable
    return text
