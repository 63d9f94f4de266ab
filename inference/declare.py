"""How a parameter is declared once, and how forms, help and checks read the declaration."""

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import annotated_types as bounds
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

Kind = Literal['bool', 'int', 'float', 'choice', 'text', 'texts', 'numbers', 'order', 'biases']
"""`text` may have several lines, `order` is a list of choices without repeats, `biases` maps token ids to numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One parameter as a form or a help text needs it; `minimum` and `maximum` are inclusive."""

    name: str
    title: str
    help: str
    group: str
    unit: str
    kind: Kind
    default: Any
    step: float
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    needs_reload: bool


def declare(
    default: Any, title: str, help: str, *, group: str, reload: bool, unit: str = '', step: float = 1, **limits: Any
) -> Any:
    """Return the field of a parameter; `limits` are pydantic's."""
    extra: dict[str, Any] = {'group': group, 'unit': unit, 'step': step, 'needs_reload': reload}
    return Field(default, title=title, description=help, json_schema_extra=extra, **limits)


needs_reload = partial(declare, reload=True)
live = partial(declare, reload=False)


def describe(model: type[BaseModel]) -> Iterator[Setting]:
    """Yield the parameters of `LoadSettings` or `SamplingSettings` in their order."""
    for name, info in model.model_fields.items():
        extra = typing.cast('dict[str, Any]', info.json_schema_extra)
        kind = _kind(info.annotation)
        yield Setting(
            name=name,
            title=info.title or name,
            help=info.description or '',
            kind=kind,
            default=info.get_default(call_default_factory=True),
            group=extra['group'],
            unit=extra['unit'],
            step=extra['step'],
            needs_reload=extra['needs_reload'],
            minimum=_limit(info, bounds.Ge, 'ge'),
            maximum=_limit(info, bounds.Le, 'le'),
            choices=_choices(info.annotation, kind),
        )


def _kind(annotation: Any) -> Kind:
    kinds: dict[Any, Kind] = {
        bool: 'bool',
        int: 'int',
        float: 'float',
        str: 'text',
        tuple[str, ...]: 'texts',
        tuple[float, ...]: 'numbers',
        dict[int, float]: 'biases',
    }
    if annotation in kinds:
        return kinds[annotation]
    return 'order' if typing.get_origin(annotation) is tuple else 'choice'


def _choices(annotation: Any, kind: Kind) -> tuple[str, ...]:
    match kind:
        case 'choice':
            return typing.get_args(annotation)
        case 'order':
            return typing.get_args(typing.get_args(annotation)[0])
        case _:
            return ()


def _limit(info: FieldInfo, kind: type, attribute: str) -> float | None:
    return next((getattr(item, attribute) for item in info.metadata if isinstance(item, kind)), None)
