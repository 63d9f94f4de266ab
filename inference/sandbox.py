"""Runs chat templates: Jinja's sandbox, with time, repetitions and output bounded.

A template is a program by a stranger. This is the only door to Jinja.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from inference.errors import InvalidTemplate

_MOST_SOURCE, _MOST_OUTPUT, _MOST_BITS = 1 << 20, 16 << 20, 4096
MOST_SECONDS = 2.0
_CLOCK = 'time left'  # no name a template could write
_T = TypeVar('_T')


class Sandbox:
    """A compiled template; `render` raises InvalidTemplate where it fails, refuses or asks for too much."""

    def __init__(self, source: str) -> None:
        if len(source) > _MOST_SOURCE:
            raise InvalidTemplate(f'The chat template is {len(source):,} characters long, which is too much.')
        self._template: jinja2.Template = _guarded(lambda: _Environment().from_string(source))

    def render(self, variables: Mapping[str, Any], *, seconds: float = MOST_SECONDS) -> str:
        """Return what the template makes of `variables`, within `seconds`."""
        return _guarded(lambda: _joined(self._template.generate({**variables, _CLOCK: _Clock(seconds)})))


class _Refused(Exception):
    """The template called raise_exception."""


class _TooMuch(Exception):
    """The template went over a bound."""


class _Clock:
    """Ends a rendering that goes on for too long; looked at in each loop step, call and repetition."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise _TooMuch('it does not come to an end')


class _TimedList(list[Any]):
    """What a loop runs over; a list, because templates ask for its length and its last item."""

    def __init__(self, items: Iterable[Any], clock: _Clock) -> None:
        super().__init__(items)
        self._clock = clock

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self._clock.check()
            yield item


class _GenerationTag(Extension):
    """Accepts {% generation %}, which marks replies for training and changes nothing here."""

    tags = {'generation'}  # noqa: RUF012 (declared so by Jinja)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(('name:endgeneration',), drop_needle=True)


class _Bounds(NodeTransformer):
    """Puts filters of ours around what loops run over and around texts that are put together."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (named by Jinja)
        node.iter = _filtered(node.iter, 'timed', node)
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        return _filtered(self.generic_visit(node), 'bounded', node)

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        node.filter = _filtered(node.filter, 'bounded', node)
        return self.generic_visit(node)


class _Environment(ImmutableSandboxedEnvironment):
    """The names and habits chat templates are written for, which are those of the transformers library."""

    intercepted_binops = frozenset({'*', '**', '+'})

    def __init__(self) -> None:
        extensions = [_GenerationTag, 'jinja2.ext.loopcontrols']
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        self.filters['tojson'] = _tojson
        self.filters |= {'timed': _timed, 'bounded': _bounded}
        for name in ('batch', 'center', 'slice'):  # they make large things of a large number
            del self.filters[name]
        del self.globals['lipsum']
        self.globals['raise_exception'] = _raise_exception
        self.globals['strftime_now'] = _strftime_now

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Bounds().visit(super()._parse(source, name, filename))
        return tree

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _clock(context).check()
        if any(isinstance(value, int) and value > _MOST_OUTPUT for value in (*args, *kwargs.values())):
            raise _TooMuch('it asks for too large a text')
        return _bounded(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _clock(context).check()
        if _result_size(operator, left, right) > _MOST_OUTPUT:
            raise _TooMuch('it makes too large a text or number')
        return super().call_binop(context, operator, left, right)


def _guarded(work: Callable[[], _T]) -> _T:
    """Run a template's code; whatever it raises is its own failure."""
    try:
        return work()
    except _Refused as error:
        raise InvalidTemplate(
            f'The chat template of this model refuses the conversation: {str(error).rstrip(".")}.'
        ) from None
    except _TooMuch as error:
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
        if length > _MOST_OUTPUT:
            raise _TooMuch('its output does not come to an end')
        kept.append(piece)
    return ''.join(kept)


def _result_size(operator: str, left: Any, right: Any) -> int:
    """Tell how many characters, items or, scaled to the same bound, bits an operation would make."""
    sizes = [len(side) if isinstance(side, str | list | tuple) else None for side in (left, right)]
    match operator, *sizes:
        case '*', int(size), None:
            return size * int(right)
        case '*', None, int(size):
            return size * int(left)
        case '+', int(size), int(other):
            return size + other
        case '*', None, None if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() + right.bit_length()
        case '**', None, None if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right
        case _:
            return 0
    return bits * (_MOST_OUTPUT // _MOST_BITS)


def _filtered(node: nodes.Node | None, name: str, place: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=place.lineno)


def _clock(context: Context) -> _Clock:
    clock = context.parent[_CLOCK]
    assert isinstance(clock, _Clock)
    return clock


@jinja2.pass_context
def _timed(context: Context, items: Iterable[Any]) -> _TimedList:
    return _TimedList(items, _clock(context))


def _bounded(value: Any) -> Any:
    if isinstance(value, str | list) and len(value) > _MOST_OUTPUT:
        raise _TooMuch('it makes too large a text')
    return value


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise _Refused(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
