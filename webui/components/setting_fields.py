"""The field of one setting, by its kind: what it shows of a value, and what value it means."""

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from inference.settings import Kind, Setting
from webui.components.controls import icon_button
from webui.components.region import Region
from webui.words import say
from webui.words.settings import choice_name, setting_title

Report = Callable[[Any], object]
WIDE: tuple[Kind, ...] = ('text', 'texts', 'numbers', 'order', 'biases')
"""Kinds whose field stands below the name."""
PLACEHOLDERS: tuple[Kind, ...] = ('texts', 'numbers', 'biases')
"""Kinds whose field says how it is filled in."""


def make_field(setting: Setting, on_change: Report) -> Any:
    """Return the field; it has a `value` and `set_value`, both of them as `shown` returns it."""
    field: Any
    match setting.kind:
        case 'bool':
            field = ui.switch(on_change=lambda event: on_change(event.value)).props('dense')
        case 'choice':
            field = ui.select(
                {name: choice_name(name) for name in setting.choices}, on_change=lambda event: on_change(event.value)
            )
            field.props('outlined dense options-dense').classes('field')
        case 'texts' | 'biases':
            field = ui.input_chips(on_change=lambda event: on_change(event.value)).props('outlined dense')
        case 'numbers':
            field = ui.input(on_change=lambda event: on_change(event.value)).props('outlined dense debounce=500')
        case 'order':
            field = OrderField(setting.choices, on_change)
        case 'text':
            field = ui.textarea(on_change=lambda event: on_change(event.value))
            field.props('outlined dense autogrow debounce=500 spellcheck=false').classes('code-field')
        case 'int' | 'float':
            field = ui.number(step=setting.step, on_change=lambda event: on_change(event.value))
            field.props('outlined dense debounce=500').classes('field')
    if setting.kind in WIDE:
        field.classes('field-below')
    if setting.kind in PLACEHOLDERS:
        field.props['placeholder'] = say(f'settings.placeholder_{setting.kind}')
    field.props['data-testid'] = f'setting-{setting.name}'
    field.props['aria-label'] = setting_title(setting)
    return field


def shown(kind: Kind, value: Any) -> Any:
    """Return a setting as its field takes it; in lists of texts, a line break is written as \\n."""
    match kind:
        case 'texts':
            return [_escaped(text) for text in value]
        case 'order':
            return list(value)
        case 'numbers':
            return ', '.join(f'{number:g}' for number in value)
        case 'biases':
            return [f'{token}={bias:g}' for token, bias in value.items()]
        case _:
            return value


def read(kind: Kind, shown: Any) -> Any:
    """Return what a field shows as a setting; raise ValueError."""
    match kind:
        case 'int':
            return int(shown)
        case 'texts':
            return tuple(_unescaped(text) for text in shown)
        case 'order':
            return tuple(shown)
        case 'numbers':
            return tuple(float(number) for number in shown.replace(',', ' ').replace(';', ' ').split())
        case 'biases':
            pairs = (text.partition('=')[::2] for text in shown)
            return {int(token): float(bias) for token, bias in pairs}
        case _:
            return shown


class OrderField(Region):
    """Choices in an order: those that are ticked can be moved, the others stand behind them."""

    def __init__(self, choices: Sequence[str], on_change: Report) -> None:
        super().__init__()
        self._choices, self._on_change = choices, on_change
        self.value: list[str] = []
        self.classes('order-field').props('role=group')
        self._draw()

    def set_value(self, value: list[str]) -> object:
        """Show another order, and report it; returns what the report did, for the page to await."""
        if value == self.value:
            return None
        self.value = value
        self._draw()
        return self._on_change(value)

    def _draw(self) -> None:
        self.clear()
        with self:
            for name in (*self.value, *(name for name in self._choices if name not in self.value)):
                self._draw_row(name)

    def _draw_row(self, name: str) -> None:
        with ui.element('div').classes('order-row'):
            box = ui.checkbox(name.replace('_', ' '), value=name in self.value, on_change=lambda: self._toggle(name))
            box.props('dense size=xs').props['data-testid'] = f'use-{name}'
            if name in self.value:
                place = self.value.index(name)
                up = icon_button(
                    'arrow_upward', say('settings.move_up', name=name), lambda: self._move(place, place - 1)
                )
                up.set_enabled(place > 0)
                down = icon_button(
                    'arrow_downward', say('settings.move_down', name=name), lambda: self._move(place, place + 1)
                )
                down.set_enabled(place < len(self.value) - 1)

    def _toggle(self, name: str) -> object:
        others = [other for other in self.value if other != name]
        return self.set_value(others if name in self.value else [*others, name])

    def _move(self, place: int, to: int) -> object:
        order = self.value.copy()
        order.insert(to, order.pop(place))
        return self.set_value(order)


def _escaped(text: str) -> str:
    return text.replace('\\', '\\\\').replace('\n', '\\n').replace('\t', '\\t')


def _unescaped(text: str) -> str:
    """Read \\n, \\t and \\\\; any other backslash stands for itself."""
    parts = text.split('\\\\')
    return '\\'.join(part.replace('\\n', '\n').replace('\\t', '\t') for part in parts)
