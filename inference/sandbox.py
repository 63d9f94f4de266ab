"""Runs chat templates: Jinja's sandbox, with time, repetitions and all that is made bounded.

A template is a program by a stranger. This and `sandbox_budget.py` are the only doors to Jinja.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from datetime import datetime
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar

import jinja2
from jinja2 import filters, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from inference.errors import InvalidTemplate
from inference.sandbox_budget import (
    ITEM,
    MOST_TEXT,
    TooMuch,
    budget,
    spending,
    weight_of,
    weight_of_format,
    weight_of_items,
    weight_of_method,
    weight_of_operation,
    weight_of_replacement,
)

_MOST_SOURCE = 1 << 18
MOST_SECONDS = 2.0
_MOST_INDENT, _MOST_FORM = 16, 200
_T = TypeVar('_T')


class Sandbox:
    """A compiled template; `render` raises InvalidTemplate where it fails, refuses or asks for too much."""

    def __init__(self, source: str) -> None:
        if len(source) > _MOST_SOURCE:
            raise InvalidTemplate(f'The chat template is {len(source):,} characters long, which is too much.')
        self._template: jinja2.Template = _guarded(lambda: _Environment().from_string(source), MOST_SECONDS)

    def render(self, variables: Mapping[str, Any], *, seconds: float = MOST_SECONDS) -> str:
        """Return what the template makes of `variables`, within `seconds`."""
        return _guarded(lambda: _joined(self._template.generate(variables)), seconds)


class _Refused(Exception):
    """The template called raise_exception."""


class _TimedList(list[Any]):
    """What a loop runs over; a list, because templates ask for its length and its last item."""

    def __iter__(self) -> Iterator[Any]:
        check = budget().check
        for item in super().__iter__():
            check()
            yield item


class _GenerationTag(Extension):
    """Accepts {% generation %}, which marks replies for training and changes nothing here."""

    tags = {'generation'}  # noqa: RUF012 (declared so by Jinja)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(('name:endgeneration',), drop_needle=True)


class _Bounds(NodeTransformer):
    """Puts filters of ours around what Jinja does by itself: loops, slices, texts put together, and what is hashed."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (named by Jinja)
        node.iter = _filtered(node.iter, 'timed')
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), 'together')

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, 'weighed') if isinstance(node.arg, nodes.Slice) else node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:  # noqa: N802
        node.key = _filtered(node.key, 'key')
        return self.generic_visit(node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        if any(operand.op in ('in', 'notin') for operand in node.ops):
            node.expr = _filtered(node.expr, 'key')
        return self.generic_visit(node)


class _Environment(ImmutableSandboxedEnvironment):
    """The names and habits chat templates are written for, which are those of the transformers library."""

    intercepted_binops = frozenset({'*', '**', '+', '%'})

    def __init__(self) -> None:
        extensions = [_GenerationTag, 'jinja2.ext.loopcontrols']
        # Not optimized: nothing is computed while a template is compiled.
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, optimized=False, finalize=_shown)
        self.filters = {**_filters(), **_OWN_FILTERS}
        del self.globals['lipsum']
        self.globals |= {'raise_exception': _raise_exception, 'strftime_now': _strftime_now}

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Join what a macro or block has written."""
        pieces = list(pieces)
        budget().take(sum(map(len, pieces)))
        return ''.join(pieces)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget().check()
        if any(isinstance(value, int) and value > MOST_TEXT for value in (*args, *kwargs.values())):
            raise TooMuch('it asks for too large a text')
        text = getattr(obj, '__self__', None)
        if isinstance(text, str):
            args = tuple(map(_listed, args))
            budget().take(weight_of_method(text, obj.__name__, args))
        result = super().call(context, obj, *args, **kwargs)
        budget().take(sys.getsizeof(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget().take(weight_of_operation(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        form = super().wrap_str_format(value)
        if not form or value.__name__ != 'format':
            return None

        def weighed(*args: Any, **kwargs: Any) -> str:
            budget().take(weight_of_format(value.__self__, (*args, *kwargs.values())))
            return form(*args, **kwargs)

        return weighed

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Bounds().visit(super()._parse(source, name, filename))
        return tree


def _guarded(work: Callable[[], _T], seconds: float) -> _T:
    """Run a template's code; whatever it raises is its own failure."""
    try:
        with spending(seconds):
            return work()
    except _Refused as error:
        raise InvalidTemplate(
            f'The chat template of this model refuses the conversation: {str(error).rstrip(".")}.'
        ) from None
    except TooMuch as error:
        raise InvalidTemplate(f'The chat template of this model was stopped because {error}.') from None
    except jinja2.TemplateSyntaxError as error:
        raise InvalidTemplate(
            f'The chat template of this model has an error in line {error.lineno}: {error.message}'
        ) from None
    except Exception as error:
        cause = f'{type(error).__name__}: {error}'[:300]
        raise InvalidTemplate(f'The chat template of this model failed ({cause}).') from error


def _joined(pieces: Iterable[str]) -> str:
    kept: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > MOST_TEXT:
            raise TooMuch('its output does not come to an end')
        kept.append(piece)
    return ''.join(kept)


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _listed(value: Any) -> Any:
    """Make a list of what can be looked at only once."""
    return [*budget().counted(value)] if isinstance(value, Iterator) else value


# Filters: those that templates use, each with what it makes of a value and its arguments


def _weight_of_text(value: Any, *_: Any, **__: Any) -> int:
    return weight_of(value)


def _weight_of_list(value: Any, *_: Any, **__: Any) -> int:
    return weight_of_items(value)


def _weight_of_letters(value: Any, *_: Any, **__: Any) -> int:
    return weight_of_items(str(value))


def _weight_of_escaped(value: Any) -> int:
    return 6 * weight_of(value)


def _weight_of_joined(value: Any, d: Any = '', attribute: Any = None) -> int:
    return weight_of_items(value) + len(value) * weight_of(d)


def _weight_of_replaced(s: Any, old: Any, new: Any, count: Any = None) -> int:
    return weight_of(s) + weight_of_replacement(str(s), old, new)


def _weight_of_indented(s: Any, width: Any = 4, first: bool = False, blank: bool = False) -> int:
    text = str(s)
    return len(text) + (text.count('\n') + 1) * (width if isinstance(width, int) else len(width))


def _weight_of_formatted(value: Any, *args: Any, **kwargs: Any) -> int:
    return weight_of_format(str(value), (*args, *kwargs.values()))


def _weight_of_rounded(value: Any, precision: int = 0, method: str = 'common') -> int:
    return abs(precision) * (MOST_TEXT // 64)


def _weight_of_sum(iterable: Any, attribute: Any = None, start: Any = 0) -> int:
    if not isinstance(start, int | float):
        raise TooMuch('it adds up lists')
    return weight_of_items(iterable)


_LIGHT = (
    'abs', 'attr', 'count', 'd', 'default', 'first', 'float', 'int', 'items', 'last', 'length', 'map', 'reject',
    'rejectattr', 'safe', 'select', 'selectattr',
)  # fmt: skip
_WEIGHTS: Mapping[str, Callable[..., int]] = MappingProxyType({
    **dict.fromkeys(('capitalize', 'lower', 'string', 'trim', 'truncate', 'upper'), _weight_of_text),
    **dict.fromkeys(('dictsort', 'groupby', 'list', 'max', 'min', 'reverse', 'sort', 'unique'), _weight_of_list),
    **dict.fromkeys(('e', 'escape', 'forceescape'), _weight_of_escaped),
    'title': _weight_of_letters,
    'join': _weight_of_joined,
    'replace': _weight_of_replaced,
    'indent': _weight_of_indented,
    'format': _weight_of_formatted,
    'round': _weight_of_rounded,
    'sum': _weight_of_sum,
})  # fmt: skip


def _filters() -> dict[str, Callable[..., Any]]:
    """Return Jinja's own filters, but those that no chat template needs."""
    light = {name: filters.FILTERS[name] for name in _LIGHT}
    return light | {name: _weighed_before(filters.FILTERS[name], weigh) for name, weigh in _WEIGHTS.items()}


def _weighed_before(work: Callable[..., Any], weigh: Callable[..., int]) -> Callable[..., Any]:
    place = int(hasattr(work, 'jinja_pass_arg'))  # the value comes after the context that such a filter is given

    @wraps(work)
    def weighed(*args: Any, **kwargs: Any) -> Any:
        args = (*args[:place], *map(_listed, args[place:]))
        budget().take(weigh(*args[place:], **kwargs))
        return work(*args, **kwargs)

    return weighed


def _timed(items: Iterable[Any]) -> _TimedList:
    if isinstance(items, Sized):
        budget().take(weight_of_items(items) if isinstance(items, str) else ITEM * len(items))
        return _TimedList(items)
    return _TimedList(budget().counted(items))


def _together(parts: list[Any]) -> str:
    budget().take(sum(map(weight_of, parts)))
    return ''.join(map(str, parts))


def _weighed(value: Any) -> Any:
    budget().take(sys.getsizeof(value))
    return value


def _key(value: Any) -> Any:
    """Refuse what takes a deep recursion to hash."""
    if isinstance(value, tuple):
        raise TooMuch('it looks for a tuple')
    return value


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    width = len(indent) if isinstance(indent, str) else indent or 0
    if max(width, *map(len, separators or ('',))) > _MOST_INDENT:
        raise TooMuch('it makes too large a text')
    budget().take(weight_of(value, indent=width) * (6 if ensure_ascii else 2))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


_OWN_FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    'tojson': _tojson, 'timed': _timed, 'together': _together, 'weighed': _weighed, 'key': _key,
})  # fmt: skip


@jinja2.pass_context  # which also keeps Jinja from showing constants while it compiles
def _shown(context: Context, value: Any) -> Any:
    if not isinstance(value, str):
        budget().take(weight_of(value))
    return value


def _raise_exception(message: Any) -> None:
    budget().take(weight_of(message))
    raise _Refused(str(message)[:300])


def _strftime_now(form: str) -> str:
    if len(form) > _MOST_FORM:
        raise TooMuch('it makes too large a text')
    return datetime.now().strftime(form)
