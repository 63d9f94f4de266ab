"""What a chat shows before its first message."""

from collections.abc import Callable

from nicegui import ui

from webui.components.controls import text_button
from webui.components.region import Region
from webui.services import Services
from webui.words import say

STARTERS = 3


class EmptyChat(Region):
    """A greeting with the model's state, what to do if there is no model, and suggestions to begin with."""

    def __init__(self, services: Services, on_starter: Callable[[str], None]) -> None:
        super().__init__()
        self._services, self._on_starter = services, on_starter
        self._state: ui.label | None = None
        self._help: Region | None = None
        self._helped = ''

    def show(self, shown: bool) -> None:
        """Draw it, or take it away."""
        if shown and not self._state:
            with self, ui.element('div').classes('empty'):
                with ui.element('div'):
                    ui.label(say('transcript.greeting')).classes('title').props('role=heading aria-level=1')
                    self._state = ui.label().classes('muted')
                    self._help, self._helped = Region(), ''
                with ui.element('div').classes('starters'):
                    for number in range(1, STARTERS + 1):
                        self._draw_starter(say(f'transcript.starter-{number}'))
        elif self._state and not shown:
            self.clear()
            self._state = self._help = None

    def describe(self, state: str) -> None:
        """Say what the model does; without one, offer the first there is."""
        if self._state and self._help:
            self._state.set_text(state)
            phase = self._services.host.state.phase
            if phase != self._helped:
                self._helped = phase
                self._help.clear()
                if phase in ('empty', 'failed'):
                    self._draw_help()

    def _draw_help(self) -> None:
        services = self._services
        assert self._help
        with self._help.classes('empty-help'):
            if models := services.catalog.chat_models:
                model = next((model for model in models if model.id == services.models.last_used()), models[0])
                load = say('transcript.load', model=model.name)
                text_button(load, lambda: services.host.load(model.id), primary=True, testid='load-first')
            else:
                ui.label(say('transcript.no-models', folder=services.config.models_folders[0])).classes('muted')

    def _draw_starter(self, text: str) -> None:
        button = ui.element('button').classes('starter').props('type=button')
        button.on('click', lambda: self._on_starter(text), args=[])
        with button:
            ui.label(text)
