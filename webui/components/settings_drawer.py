"""The settings of the open chat, and those the model is loaded with."""

import psutil
from nicegui import app, ui

from inference.errors import InferenceError
from inference.settings import LoadSettings, SamplingSettings
from webui.components.controls import Handler, icon_button, text_button
from webui.components.region import Region
from webui.components.settings_form import SettingsForm
from webui.conversation import Conversation
from webui.services import Services

THEMES = {'auto': None, 'light': False, 'dark': True}


class SettingsDrawer(Region):
    """System prompt and sampling apply at once; load settings wait in a bar with one button."""

    def __init__(self, services: Services, *, on_close: Handler, dark: ui.dark_mode) -> None:
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
                ui.label('Needs a reload: changes wait for the button below.').classes('settings-note')
                self._model = ui.element('div')
                self._draw_theme(dark)
            self._draw_reload_bar()
        self._follow_model()
        services.host.changed.subscribe(self._follow_model)

    def show(self, conversation: Conversation) -> None:
        """Show the settings of another chat."""
        self._conversation = conversation
        self._prompt.set_value(conversation.chat.system_prompt)
        self._sampling.show(conversation.chat.sampling)

    def _draw_chat(self) -> None:
        ui.label('Chat').classes('settings-section')
        self._prompt = ui.textarea(placeholder='System prompt: what the model should know and how it should answer')
        self._prompt.props('outlined autogrow debounce=400 data-testid=system-prompt aria-label="System prompt"')
        self._prompt.classes('system-prompt').on_value_change(lambda event: self._set_prompt(event.value))
        self._sampling = SettingsForm(SamplingSettings(), self._set_sampling)

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
            ui.label('Takes effect when the model is loaded again.').classes('col')
            text_button('Revert', self._revert)
            text_button('Apply', self._apply, primary=True, testid='apply-load-settings')
        self._bar.set_visibility(False)

    def _follow_model(self) -> None:
        """Draw the load settings of the model that is loaded, or would be."""
        model_id = self._services.host.state.model_id or self._services.first_model()
        if model_id == self._model_id and model_id:
            if not self._services.host.state.is_busy:
                self._settle(self._services.host.load_settings(model_id))
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

    def _set_load(self, settings: LoadSettings) -> None:
        self._bar.set_visibility(bool(self._model_id) and settings != self._loaded)

    def _apply(self) -> None:
        self._services.host.load(self._model_id, self._load.settings)

    def _revert(self) -> None:
        self._settle(self._loaded)

    async def _set_sampling(self, settings: SamplingSettings) -> None:
        if self._conversation:
            await self._conversation.change(sampling=settings)

    async def _set_prompt(self, text: str) -> None:
        if self._conversation and text != self._conversation.chat.system_prompt:
            await self._conversation.change(system_prompt=text)


def stored_theme() -> str:
    """Return what this browser's user chose: auto, light or dark."""
    theme = app.storage.user.get('theme', 'auto')
    return theme if theme in THEMES else 'auto'
