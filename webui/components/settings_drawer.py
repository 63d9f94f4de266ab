"""The settings of the open chat, and those the model is loaded with."""

from collections.abc import Awaitable
from typing import Any

import psutil
from nicegui import app, ui

from inference.chat import Overflow
from inference.errors import InferenceError
from inference.settings import LoadSettings, SamplingSettings, describe
from webui.components.controls import Handler, icon_button, info_button, text_button
from webui.components.region import Region
from webui.components.settings_form import SettingsForm
from webui.components.transfer import TransferDialog
from webui.conversation import Conversation
from webui.services import Services

THEMES = {'auto': None, 'light': False, 'dark': True}
OVERFLOWS = {
    'stop': 'Stop there',
    'roll': 'Leave out the oldest messages',
    'middle': 'Leave out messages in the middle',
}
OVERFLOW_HELP = (
    'What happens when the conversation outgrows the context: it ends; or the model does not get the oldest messages '
    'any more, or those in the middle, so that it knows the first question and answer. They stay on the page, marked.'
)
WAITING = 'Takes effect when the model is loaded again.'
LIVE = {setting.name for setting in describe(LoadSettings) if not setting.needs_reload}


class SettingsDrawer(Region):
    """What belongs to the chat applies at once, load settings wait in a bar with one button if they need a reload."""

    def __init__(self, services: Services, transfer: TransferDialog, *, on_close: Handler, dark: ui.dark_mode) -> None:
        super().__init__()
        self._services = services
        self._conversation: Conversation | None = None
        self._loaded = LoadSettings()
        self._model_id = ''
        self.classes('settings').props('data-testid=settings-drawer')
        with self:
            with ui.element('div').classes('settings-head'):
                ui.label('Settings').classes('name')
                icon_button('close', 'Close settings', on_close, key='Ctrl+,')
            with ui.element('div').classes('settings-body'):
                self._draw_chat()
                ui.label('Model').classes('settings-section')
                ui.label('What needs a reload waits for the button below.').classes('settings-note')
                self._model = ui.element('div')
                self._draw_theme(dark)
                transfer.draw_settings()
            self._draw_reload_bar()
        self._follow_model()
        services.host.changed.subscribe(self._follow_model)

    def show(self, conversation: Conversation) -> None:
        """Show the settings of another chat."""
        self._conversation = conversation
        self._prompt.set_value(conversation.chat.system_prompt)
        self._overflow.set_value(conversation.chat.overflow)
        self._sampling.show(conversation.chat.sampling)

    def _draw_chat(self) -> None:
        ui.label('Chat').classes('settings-section')
        self._prompt = ui.textarea(placeholder='System prompt: what the model should know and how it should answer')
        self._prompt.props('outlined autogrow debounce=400 data-testid=system-prompt aria-label="System prompt"')
        self._prompt.classes('system-prompt').on_value_change(lambda event: self._set_prompt(event.value))
        self._draw_overflow()
        self._sampling = SettingsForm(SamplingSettings(), self._set_sampling)

    def _draw_overflow(self) -> None:
        with ui.element('div').classes('setting'):
            with ui.element('div').classes('setting-line'):
                ui.label('When the context is full').classes('setting-name')
                info_button('When the context is full', OVERFLOW_HELP)
            self._overflow = ui.select(OVERFLOWS, value='stop', on_change=lambda event: self._set_overflow(event.value))
            self._overflow.props('outlined dense options-dense data-testid=setting-overflow').classes('field-below')
            self._overflow.props['aria-label'] = 'When the context is full'

    def _draw_theme(self, dark: ui.dark_mode) -> None:
        def choose(theme: str) -> None:
            app.storage.user['theme'] = theme
            dark.set_value(THEMES[theme])

        ui.label('Appearance').classes('settings-section')
        names = {'auto': 'System', 'light': 'Light', 'dark': 'Dark'}
        toggle = ui.toggle(names, value=stored_theme(), on_change=lambda event: choose(event.value))
        toggle.props('no-caps dense unelevated toggle-color=primary padding="4px 14px" data-testid=theme')

    def _draw_reload_bar(self) -> None:
        with ui.element('div').classes('reload-bar') as self._bar:
            self._bar_text = ui.label(WAITING).classes('col')
            text_button('Revert', self._revert)
            text_button('Apply', self._apply, primary=True, testid='apply-load-settings')
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
        self._bar_text.set_text(WAITING)
        host = self._services.host
        changed = {name for name in LIVE if getattr(settings, name) != getattr(self._loaded, name)}
        if changed and host.engine and host.state.model_id == self._model_id:
            return self._apply_live({name: getattr(settings, name) for name in changed})
        self._show_bar()
        return None

    async def _apply_live(self, changes: dict[str, Any]) -> None:
        before = self._loaded
        self._loaded = LoadSettings.model_validate({**before.model_dump(), **changes})
        try:
            await self._services.host.adjust(self._loaded)
        except InferenceError as error:
            self._loaded = before
            self._bar_text.set_text(str(error))
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

    async def _set_overflow(self, overflow: Overflow) -> None:
        if self._conversation and overflow != self._conversation.chat.overflow:
            await self._conversation.change(overflow=overflow)

    async def _set_prompt(self, text: str) -> None:
        if self._conversation and text != self._conversation.chat.system_prompt:
            await self._conversation.change(system_prompt=text)


def stored_theme() -> str:
    """Return what this browser's user chose: auto, light or dark."""
    theme = app.storage.user.get('theme', 'auto')
    return theme if theme in THEMES else 'auto'
