"""Draws the rows of `LoadSettings` or `SamplingSettings` from their declarations."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from nicegui import ui
from pydantic import BaseModel, ValidationError

from inference.settings import Kind, Setting, describe
from webui.components.controls import icon_button, set_class

S = TypeVar('S', bound=BaseModel)
Outcome = Awaitable[None] | None
HINTS = defaultdict(
    lambda: 'Not allowed.', texts='Too many of them.', numbers='Numbers only.', biases='Such as 42=-100.'
)
SLIDER_STEPS = 2000
"""A range with more steps than this gets no slider: nobody can hit a value on it."""


class SettingsForm(ui.element, Generic[S]):
    """Shows settings and reports each valid change; `maxima` tighten the bounds to this machine and model."""

    def __init__(
        self, settings: S, on_change: Callable[[S], Outcome], maxima: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.classes('settings-form')
        self.settings = settings
        self._on_change = on_change
        self._rows: dict[str, _Row] = {}
        with self:
            for group, rows in _groups(type(settings)).items():
                with ui.expansion(group, value=True).classes('settings-group w-full').props('dense'):
                    for setting in rows:
                        maximum = (maxima or {}).get(setting.name, setting.maximum)
                        self._rows[setting.name] = _Row(setting, maximum, self._set)
        self.show(settings)

    def show(self, settings: S) -> None:
        """Show other values, without reporting them as a change."""
        self.settings = settings
        for name, row in self._rows.items():
            row.show(getattr(settings, name))

    def _set(self, name: str, value: Any) -> Outcome:
        if getattr(self.settings, name) == value:
            self._rows[name].show(value)  # in place of one that was refused
            return None
        try:
            self.settings = type(self.settings).model_validate({**self.settings.model_dump(), name: value})
        except ValidationError:
            self._rows[name].complain()
            return None
        self._rows[name].show(value)
        return self._on_change(self.settings)


class _Row(ui.element):
    """Name, value field, slider where a range makes sense, help and reset."""

    def __init__(self, setting: Setting, maximum: float | None, on_change: Callable[[str, Any], Outcome]) -> None:
        super().__init__()
        self.classes('setting')
        self._setting, self._maximum, self._on_change = setting, maximum, on_change
        self._showing = False
        with self:
            with ui.element('div').classes('setting-line'):
                self._name()
                self._field = self._make_field()
            self._slider = self._make_slider()
            self._error = ui.label().classes('setting-error')
        self._error.set_visibility(False)

    def show(self, value: Any) -> None:
        self._showing = True
        self._field.set_value(_shown(self._setting.kind, value))
        if self._slider:
            self._slider.set_value(value)
        self._showing = False
        self._error.set_visibility(False)
        set_class(self, 'is-changed', value != self._setting.default)

    def complain(self) -> None:
        minimum, maximum = self._setting.minimum, self._setting.maximum
        reason = HINTS[self._setting.kind] if minimum is None else f'Between {minimum:,} and {maximum:,}.'
        self._error.set_text(f'{reason} The old value stays.')
        self._error.set_visibility(True)

    def _name(self) -> None:
        setting = self._setting
        with ui.element('div').classes('setting-name'):
            ui.label(setting.title).classes('ellipsis')
            ui.element('span').classes('changed')
        unit = f' In {setting.unit}.' if setting.unit else ''
        default = f' Default: {setting.default}.' if setting.kind in ('bool', 'int', 'float', 'choice') else ''
        reset = icon_button(
            'undo', f'Reset {setting.title}', lambda: self._changed(_shown(setting.kind, setting.default))
        )
        reset.classes('reset')
        info = icon_button('info', f'About {setting.title}', lambda: None)
        with info:
            info.default_slot.children[0].delete()
            ui.tooltip(f'{setting.help}{unit}{default}').style('max-width: 18rem')

    def _make_field(self) -> Any:
        setting = self._setting
        field: Any
        match setting.kind:
            case 'bool':
                field = ui.switch(on_change=lambda event: self._changed(event.value)).props('dense')
            case 'choice':
                field = ui.select(list(setting.choices), on_change=lambda event: self._changed(event.value))
                field.props('outlined dense options-dense').classes('field')
            case 'texts' | 'order' | 'numbers' | 'biases':
                field = ui.input_chips(on_change=lambda event: self._changed(event.value))
                field.props('outlined dense').classes('field wide')
            case 'text':
                field = ui.textarea(on_change=lambda event: self._changed(event.value))
                field.props('outlined dense autogrow debounce=500').classes('field wide')
            case _:
                field = ui.number(step=setting.step, on_change=lambda event: self._changed(event.value))
                field.props('outlined dense debounce=500').classes('field')
        field.props['data-testid'] = f'setting-{setting.name}'
        field.props['aria-label'] = setting.title
        return field

    def _make_slider(self) -> ui.slider | None:
        setting, maximum = self._setting, self._maximum
        if setting.kind not in ('int', 'float') or setting.minimum is None or maximum is None:
            return None
        if (maximum - setting.minimum) / setting.step > SLIDER_STEPS:
            return None
        slider = ui.slider(min=setting.minimum, max=maximum, step=setting.step).props('dense color=secondary')
        slider.props['aria-label'] = setting.title
        slider.on('change', lambda: self._changed(slider.value))
        return slider

    def _changed(self, value: Any) -> Outcome:
        if self._showing or value is None:
            return None
        try:
            setting = _read(self._setting.kind, value)
        except ValueError:
            self.complain()
            return None
        return self._on_change(self._setting.name, setting)


def _shown(kind: Kind, value: Any) -> Any:
    """Return a setting as its field takes it."""
    match kind:
        case 'texts' | 'order':
            return list(value)
        case 'numbers':
            return [f'{number:g}' for number in value]
        case 'biases':
            return [f'{token}={bias:g}' for token, bias in value.items()]
        case _:
            return value


def _read(kind: Kind, shown: Any) -> Any:
    """Return what a field shows as a setting; raise ValueError."""
    match kind:
        case 'int':
            return int(shown)
        case 'texts' | 'order':
            return tuple(shown)
        case 'numbers':
            return tuple(float(number) for number in shown)
        case 'biases':
            pairs = (text.partition('=')[::2] for text in shown)
            return {int(token): float(bias) for token, bias in pairs}
        case _:
            return shown


def _groups(model: type[BaseModel]) -> dict[str, list[Setting]]:
    groups: dict[str, list[Setting]] = {}
    for setting in describe(model):
        groups.setdefault(setting.group, []).append(setting)
    return groups
