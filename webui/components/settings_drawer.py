"""The settings of the open chat, and those the model is loaded with."""

from collections.abc import Awaitable
from typing import Any

import psutil
from nicegui import ui

from inference.chat import Overflow
from inference.errors import InferenceError
from inference.settings import LoadSettings, SamplingSettings, describe
from webui.components.controls import Handler, icon_button, info_button, text_button
from webui.components.keyboard import Keyboard
from webui.components.model_picker import LoadProblem
from webui.components.preferences_form import PreferencesForm
from webui.components.region import Region
from webui.components.settings_form import SettingsForm
from webui.components.transfer import TransferDialog
from webui.conversation import Conversation
from webui.preferences import preferences
from webui.services import Services
from webui.words import say

OVERFLOWS = ('stop', 'roll', 'middle')
LIVE = {setting.name for setting in describe(LoadSettings) if not setting.needs_reload}


class SettingsDrawer(Region):
    """What belongs to the chat applies at once, load settings wait in a bar with one button if they need a reload."""

    def __init__(self, services: Services, transfer: TransferDialog, *, on_close: Handler, keyboard: Keyboard) -> None:
        super().__init__()
        self._services = services
        self._conversation: Conversation | None = None
        self._loaded = LoadSettings()
        self._adjusting = 0
        self._model_id = ''
        self.classes('settings').props('data-testid=settings-drawer')
        with self:
            with ui.element('div').classes('settings-head'):
                ui.label(say('settings.title')).classes('name').props('role=heading aria-level=2')
                icon_button('close', say('settings.close'), on_close, command='settings')
            with ui.element('div').classes('settings-body'):
                self._draw_chat()
                _section('settings.model')
                ui.label(say('settings.model_note')).classes('settings-note')
                self._model = ui.element('div')
                _section('settings.you')
                ui.label(say('settings.you_note')).classes('settings-note')
                PreferencesForm(keyboard, on_titles=self._follow_titling)
                transfer.draw_settings()
            LoadProblem(services)
            self._draw_reload_bar()
        self._follow_model()
        services.host.changed.subscribe(self._follow_model)
        services.host.adjusted.subscribe(self._follow_adjustment)

    def show(self, conversation: Conversation) -> None:
        """Show the settings of another chat."""
        if self._conversation:
            self._conversation.changed.unsubscribe(self._follow_chat)
        self._conversation = conversation
        conversation.changed.subscribe(self._follow_chat)
        self._follow_titling()
        self._prompt.set_value(conversation.chat.system_prompt)
        self._overflow.set_value(conversation.chat.overflow)
        self._sampling.show(conversation.chat.sampling)

    def _draw_chat(self) -> None:
        _section('settings.chat')
        self._prompt = ui.textarea(placeholder=say('settings.system_prompt_hint'))
        self._prompt.props('outlined autogrow debounce=400 data-testid=system-prompt')
        self._prompt.props['aria-label'] = say('settings.system_prompt')
        self._prompt.classes('system-prompt').on_value_change(lambda event: self._set_prompt(event.value))
        self._draw_overflow()
        self._sampling = SettingsForm(SamplingSettings(), self._set_sampling)

    def _draw_overflow(self) -> None:
        with ui.element('div').classes('setting'):
            with ui.element('div').classes('setting-line'):
                ui.label(say('settings.overflow')).classes('setting-name')
                info_button(say('settings.overflow'), say('settings.overflow_help'))
            options = {name: say(f'settings.overflow_{name}') for name in OVERFLOWS}
            self._overflow = ui.select(options, value='stop', on_change=lambda event: self._set_overflow(event.value))
            self._overflow.props('outlined dense options-dense data-testid=setting-overflow').classes('field-below')
            self._overflow.props['aria-label'] = say('settings.overflow')

    def _draw_reload_bar(self) -> None:
        with ui.element('div').classes('reload-bar') as self._bar:
            self._bar_text = ui.label(say('settings.waiting')).classes('col')
            text_button(say('settings.revert'), self._revert)
            text_button(say('settings.apply'), self._apply, primary=True, testid='apply-load-settings')
        self._bar.set_visibility(False)

    def _follow_model(self) -> None:
        """Draw the load settings of the model that is loaded, or would be."""
        model_id = self._services.host.state.model_id or self._services.first_model()
        if model_id == self._model_id and model_id:
            saved = self._services.host.load_settings(model_id)
            if not self._services.host.state.is_busy and saved != self._loaded:
                self._settle(saved)
            return
        self._model_id = model_id
        self._model.clear()
        with self._model:
            self._load = SettingsForm(LoadSettings(), self._set_load, self._maxima(model_id))
        self._settle(self._services.host.load_settings(model_id))

    def _follow_adjustment(self) -> None:
        """Show what was changed on another page or by a program, unless something waits here."""
        if not (self._bar.visible or self._adjusting):
            self._follow_model()

    def _maxima(self, model_id: str) -> dict[str, float]:
        """Return bounds that this machine and model set."""
        limits: dict[str, float] = {'n_threads': psutil.cpu_count() or 1}
        try:
            header = self._services.catalog.find(model_id).header
        except InferenceError:
            return limits
        return {**limits, 'n_ctx': header.n_ctx_train, 'n_gpu_layers': header.n_layer + 1}

    def _settle(self, settings: LoadSettings) -> None:
        self._loaded = settings
        self._load.show(settings)
        self._bar.set_visibility(False)

    def _set_load(self, settings: LoadSettings) -> Awaitable[None] | None:
        """Apply at once what the engine can change while it runs; the rest waits in the bar."""
        self._bar_text.set_text(say('settings.waiting'))
        host = self._services.host
        changed = {name for name in LIVE if getattr(settings, name) != getattr(self._loaded, name)}
        if changed and host.engine and host.state.model_id == self._model_id:
            return self._apply_live({name: getattr(settings, name) for name in changed})
        self._show_bar()
        return None

    async def _apply_live(self, changes: dict[str, Any]) -> None:
        before = self._loaded
        self._adjusting += 1
        self._loaded = LoadSettings.model_validate({**before.model_dump(), **changes})
        try:
            await self._services.host.adjust(self._loaded)
        except InferenceError as error:
            self._loaded = before
            self._bar_text.set_text(str(error))
        self._adjusting -= 1
        self._show_bar()

    def _show_bar(self) -> None:
        self._bar.set_visibility(bool(self._model_id) and self._load.settings != self._loaded)

    def _apply(self) -> None:
        self._services.host.load(self._model_id, self._load.settings)

    def _revert(self) -> None:
        self._settle(self._loaded)

    async def _set_sampling(self, settings: SamplingSettings) -> None:
        if self._conversation:
            await self._conversation.change(sampling=settings)

    def _follow_titling(self) -> None:
        if self._conversation:
            self._conversation.titling = preferences().titles

    def _follow_chat(self) -> None:
        """Take over what can also be chosen elsewhere on the page."""
        if self._conversation:
            self._overflow.set_value(self._conversation.chat.overflow)

    async def _set_overflow(self, overflow: Overflow) -> None:
        if self._conversation and overflow != self._conversation.chat.overflow:
            await self._conversation.change(overflow=overflow)

    async def _set_prompt(self, text: str) -> None:
        if self._conversation and text != self._conversation.chat.system_prompt:
            await self._conversation.change(system_prompt=text)


def _section(name: str) -> None:
    ui.label(say(name)).classes('settings-section').props('role=heading aria-level=3')
