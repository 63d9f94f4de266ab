"""Draws the rows of `LoadSettings` or `SamplingSettings` from their declarations."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from nicegui import ui
from pydantic import BaseModel, ValidationError

from inference.settings import Kind, Setting, describe
from webui.components.controls import Slider, icon_button, info_button, set_class
from webui.components.setting_fields import WIDE, make_field, read, shown
from webui.words import formats, say
from webui.words.settings import explain, group_name, setting_title

S = TypeVar('S', bound=BaseModel)
Outcome = Awaitable[None] | None
UNFOLDED = ('Basic', 'Sampling', 'Reply')
"""Groups that are open at first."""
LAST = ('Expert',)
HINTS: tuple[Kind, ...] = ('texts', 'numbers', 'biases')
"""Kinds for which there is something to say about values that are refused."""
SLIDER_STEPS = 2000
"""A range with more steps than this gets no slider: nobody can hit a value on it."""


class SettingsForm(ui.element, Generic[S]):
    """Shows settings and reports each valid change; `maxima` tighten the bounds to this machine and model.

    The rows of a group are drawn when it is unfolded: there are many, and most are never looked at.
    """

    def __init__(
        self, settings: S, on_change: Callable[[S], Outcome], maxima: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.classes('settings-form')
        self.settings = settings
        self._on_change, self._maxima = on_change, maxima or {}
        self._rows: dict[str, _Row] = {}
        self._groups: dict[str, tuple[ui.expansion, list[Setting]]] = {}
        with self:
            for group, rows in _groups(type(settings)).items():
                self._add_group(group, rows)
        self.show(settings)

    def show(self, settings: S) -> None:
        """Show other values, without reporting them as a change."""
        self.settings = settings
        for name, row in self._rows.items():
            row.show(getattr(settings, name))
        self._mark_groups()

    def _add_group(self, group: str, rows: list[Setting]) -> None:
        block = ui.expansion(group_name(group), value=group in UNFOLDED, on_value_change=lambda: self._draw_rows(group))
        block.classes('settings-group w-full').props('dense').props['data-testid'] = f'group-{group}'
        self._groups[group] = block, rows
        if block.value:
            self._draw_rows(group)

    def _draw_rows(self, group: str) -> None:
        block, settings = self._groups[group]
        with block:
            for setting in settings:
                if setting.name not in self._rows:
                    maximum = self._maxima.get(setting.name, setting.maximum)
                    row = self._rows[setting.name] = _Row(setting, maximum, self._set)
                    row.show(getattr(self.settings, setting.name))

    def _mark_groups(self) -> None:
        for block, settings in self._groups.values():
            changed = any(getattr(self.settings, setting.name) != setting.default for setting in settings)
            set_class(block, 'is-changed', changed)

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
        self._mark_groups()
        return self._on_change(self.settings)


class _Row(ui.element):
    """Name, value field, slider where a range makes sense, help and reset."""

    def __init__(self, setting: Setting, maximum: float | None, on_change: Callable[[str, Any], Outcome]) -> None:
        super().__init__()
        self.classes('setting')
        self._setting, self._maximum, self._on_change = setting, maximum, on_change
        self._showing = False
        below = setting.kind in WIDE
        with self:
            with ui.element('div').classes('setting-line'):
                self._name()
                if not below:
                    self._field = make_field(setting, self._changed)
            if below:
                self._field = make_field(setting, self._changed)
            self._slider = self._make_slider()
            self._error = ui.label().classes('setting-error')
        self._error.set_visibility(False)

    def show(self, value: Any) -> None:
        self._showing = True
        self._field.set_value(shown(self._setting.kind, value))
        if self._slider:
            self._slider.set_value(value)
        self._showing = False
        self._error.set_visibility(False)
        set_class(self, 'is-changed', value != self._setting.default)

    def complain(self) -> None:
        setting = self._setting
        reason = say(f'settings.refused_{setting.kind}' if setting.kind in HINTS else 'settings.refused')
        if setting.minimum is not None and setting.maximum is not None:
            bounds = {'minimum': formats.plain(setting.minimum), 'maximum': formats.plain(setting.maximum)}
            reason = say('settings.refused_range', **bounds)
        self._error.set_text(f'{reason} {say("settings.old_value_stays")}')
        self._error.set_visibility(True)

    def _name(self) -> None:
        setting, title = self._setting, setting_title(self._setting)
        with ui.element('div').classes('setting-name'):
            ui.label(title)
            ui.element('span').classes('changed')
        name = say('common.reset', name=title)
        reset = icon_button('undo', name, lambda: self._changed(shown(setting.kind, setting.default)))
        reset.classes('reset')
        info_button(title, explain(setting))

    def _make_slider(self) -> Slider | None:
        setting, maximum = self._setting, self._maximum
        if setting.kind not in ('int', 'float') or setting.minimum is None or maximum is None:
            return None
        if (maximum - setting.minimum) / setting.step > SLIDER_STEPS:
            return None
        return Slider(setting_title(setting), setting.minimum, maximum, setting.step, self._changed)

    def _changed(self, value: Any) -> Outcome:
        if self._showing or value is None:
            return None
        try:
            setting = read(self._setting.kind, value)
        except ValueError:
            self.complain()
            return None
        return self._on_change(self._setting.name, setting)


def _groups(model: type[BaseModel]) -> dict[str, list[Setting]]:
    groups: dict[str, list[Setting]] = {}
    for setting in describe(model):
        groups.setdefault(setting.group, []).append(setting)
    last = {name: groups.pop(name) for name in LAST if name in groups}
    return {**groups, **last}
