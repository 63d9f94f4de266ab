"""What fills the context, and what happens when it is full."""

from typing import get_args

from nicegui import events, ui

from inference.chat import Overflow
from inference.engine import Engine
from webui.components.controls import set_class
from webui.components.region import Region
from webui.conversation import Conversation
from webui.measuring import ContextUse
from webui.services import Services
from webui.words import say
from webui.words.formats import number

TIGHT = 0.9
"""The share of the context from which on the gauge warns."""
PARTS = ('system', 'history', 'attachments', 'draft')


class Gauge(Region):
    """A ring with two numbers; it opens what they are made of and lets the chat's policy be chosen."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._conversation: Conversation | None = None
        self._engine: Engine | None = None
        self.classes('gauge')
        with self:
            with ui.button(color=None).props('flat dense data-testid=context-gauge') as self._button:
                self._button.classes('gauge-button').props('aria-haspopup=dialog')
                self._ring = ui.element('span').classes('gauge-ring').props('aria-hidden=true')
                self._label = ui.label().classes('gauge-text')
            with ui.menu().props('role=dialog anchor="bottom right" self="top right" max-height=80vh') as self._menu:
                self._menu.props['aria-label'] = say('gauge.title')
                self._draw_popover()
        services.host.changed.subscribe(self._follow)
        services.host.adjusted.subscribe(self._follow)

    def follow(self, conversation: Conversation) -> None:
        """Tell of another conversation, at first by what its last reply took."""
        if self._conversation:
            self._conversation.changed.unsubscribe(self._follow)
            self._conversation.finished.unsubscribe(self._show_last_reply)
        self._conversation = conversation
        conversation.changed.subscribe(self._follow)
        conversation.finished.subscribe(self._show_last_reply)
        self._show_last_reply()
        self._follow()

    def show(self, use: ContextUse) -> None:
        """Show what was measured."""
        used, n_ctx = number(use.total), number(use.n_ctx)
        self._label.set_text(f'{used} / {n_ctx}')
        self._button.props['aria-label'] = say('gauge.name', used=used, n_ctx=n_ctx)
        self._total.set_text(say('gauge.used', used=used, n_ctx=n_ctx))
        self._ring.style(f'--share: {min(1, use.total / use.n_ctx):.3f}')
        set_class(self._button, 'tight', use.total > TIGHT * use.n_ctx)
        for part in PARTS:
            tokens: int = getattr(use, part)
            self._counts[part].set_text(number(tokens))
            self._shares[part].style(f'width: {tokens / max(use.n_ctx, use.total):.2%}')
        room = use.n_ctx - use.total
        self._room_name.set_text(say('gauge.room' if room >= 0 else 'gauge.over'))
        self._counts['room'].set_text(number(abs(room)))
        self._left_out.set_text(say('gauge.left_out', n=len(use.left_out)))
        self._left_out.set_visibility(bool(use.left_out))

    def open(self) -> None:
        """Show what the numbers are made of."""
        self._menu.open()

    def _draw_popover(self) -> None:
        self._counts: dict[str, ui.label] = {}
        self._shares: dict[str, ui.element] = {}
        with ui.element('div').classes('gauge-popover').props('data-testid=context-popover'):
            with ui.element('div').classes('gauge-head'):
                ui.label(say('gauge.title')).classes('name')
                self._total = ui.label().classes('muted')
            with ui.element('div').classes('gauge-bar').props('aria-hidden=true'):
                for part in PARTS:
                    self._shares[part] = ui.element('div').classes(f'gauge-{part}')
            with ui.element('dl').classes('gauge-rows'):
                for part in PARTS:
                    self._draw_row(part)
                self._room_name = self._draw_row('room')
            self._left_out = ui.label().classes('gauge-left-out').props('data-testid=context-left-out')
            self._draw_policy()

    def _draw_row(self, part: str) -> ui.label:
        with ui.element('div').classes('gauge-row').props(f'data-testid=context-{part}'):
            with ui.element('dt'):
                ui.element('span').classes(f'swatch gauge-{part}')
                name = ui.label(say(f'gauge.{part}'))
            with ui.element('dd'):
                self._counts[part] = ui.label('0')
        return name

    def _draw_policy(self) -> None:
        ui.label(say('settings.overflow')).classes('name').props('id=gauge-policy')
        names = {policy: say(f'settings.overflow_{policy}') for policy in get_args(Overflow)}
        self._policy = ui.radio(names, value='stop', on_change=self._choose).props('dense data-testid=context-policy')
        self._policy.props('aria-labelledby=gauge-policy').classes('gauge-policy')
        self._help = ui.label().classes('muted small')

    def _follow(self) -> None:
        engine = self._services.host.engine
        self.set_visibility(bool(engine))
        if self._conversation:
            if engine is not self._engine:
                self._engine = engine
                self._show_last_reply()
            overflow = self._conversation.chat.overflow
            self._policy.set_value(overflow)
            self._help.set_text(say(f'gauge.{overflow}_help'))

    def _show_last_reply(self) -> None:
        assert self._conversation
        engine = self._services.host.engine
        replies = [message for message in self._conversation.chat.path() if message.prompt_tokens]
        if engine:
            taken = replies[-1].prompt_tokens + replies[-1].completion_tokens if replies else 0
            self.show(ContextUse(n_ctx=engine.info.n_ctx, history=taken))

    async def _choose(self, event: events.ValueChangeEventArguments[Overflow]) -> None:
        if self._conversation and event.value != self._conversation.chat.overflow:
            await self._conversation.change(overflow=event.value)
