"""The chat page: sidebar, conversation, composer, settings. It shows one conversation at a time and owns none."""

import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlencode

from nicegui import app, ui

from inference.errors import InferenceError
from presets.chat import StoredMessage
from presets.errors import StoreError
from webui.components.chat_panel import ChatPanel
from webui.components.composer import Composer
from webui.components.controls import Toasts, follow_focus, icon_button, set_class, text_button
from webui.components.key_list import KeyList
from webui.components.keyboard import Keyboard
from webui.components.message import Actions
from webui.components.model_picker import ModelCard, ModelPicker
from webui.components.palette import ChatSource, CommandSource, ModelSource, Palette
from webui.components.region import Region
from webui.components.search_field import SearchResults
from webui.components.settings_drawer import SettingsDrawer
from webui.components.transcript import Transcript
from webui.conversation import Conversation
from webui.services import Services
from webui.words import say

HINT = 'Enter sends, Shift+Enter starts a new line'
HINT_SECONDS = 0.5
"""How often the live rate changes: a number that flickers cannot be read."""
TIGHT = 0.9
"""The share of the context from which on the gauge warns."""


class ChatPage:
    """One browser tab."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._user = str(app.storage.browser['id'])
        self._conversation: Conversation | None = None
        self._hinted_at = 0.0
        self._build()
        services.notices.added.subscribe(self._notify)
        for notice in services.notices.take():
            self._notify(notice)
        ui.on('command', lambda event: self._command(event.args))
        ui.on('visit', lambda event: self.visit(event.args))

    async def visit(self, path: str) -> None:
        """Open the chat that `path` names; an empty one for any other path."""
        path = path.partition('?')[0]
        chat_id = path.removeprefix('/c/') if path.startswith('/c/') else ''
        try:
            self._show(await self._services.conversations.open(chat_id) if chat_id else self._new())
        except StoreError as error:
            self._show(self._new())
            self._toasts.show(str(error), error=True)

    # The parts of the page

    def _build(self) -> None:
        self._keyboard, self._toasts = Keyboard(), Toasts()
        with ui.left_drawer(bordered=True).props('width=272 breakpoint=899') as self._sidebar:
            self._build_sidebar()
        follow_focus(self._sidebar, 'left')
        with ui.right_drawer(value=False, bordered=True).props('width=352 breakpoint=899') as self._settings:
            self._drawer = SettingsDrawer(self._services, on_close=self._settings.hide, keyboard=self._keyboard)
        follow_focus(self._settings, 'right')
        with ui.element('main').classes('page'):
            self._build_top_line()
            self._banner = Region()
            actions = Actions(copy=self._copy, regenerate=self._regenerate, open_settings=self._settings.show)
            self._transcript = Transcript(self._services, actions, on_starter=self._suggest)
            with Region().classes('composer-part'):
                self._composer = Composer(self._stop)
                with Region():
                    self._hint = ui.label(HINT).classes('composer-hint').props('data-testid=hint')
        sources = (
            ChatSource(self._services.chats, self._open),
            CommandSource(self._command),
            ModelSource(self._services),
            SearchResults(self._services.search, self._open),
        )
        self._palette = Palette(sources)
        ui.skip_link(say('common.skip_to_composer'), target=self._composer)
        ui.skip_link(say('common.skip_to_conversation'), target=self._transcript)

    def _build_sidebar(self) -> None:
        with ui.element('div').classes('sidebar'):
            with ui.element('div').classes('sidebar-head'):
                ui.label('Chatbot WebUI').classes('brand')
                icon_button('left_panel_close', 'Hide the sidebar', self._sidebar.hide, command='sidebar')
            new = ui.button('New chat', icon='sym_o_edit_square', color=None, on_click=self._start_new)
            new.props('flat align=left data-testid=new-chat').classes('new-chat')
            self._chats = ChatPanel(self._services, self._toasts, on_open=self._open, on_gone=self._leave)
            ModelCard(self._services)

    def _build_top_line(self) -> None:
        with Region().classes('topline'):
            with ui.element('div').classes('title-part'):
                icon_button('menu', 'Sidebar', self._sidebar.toggle, command='sidebar', testid='sidebar-toggle')
                self._title = ui.input(on_change=lambda event: self._retitle(event.value)).classes('title-field')
                self._title.props('borderless dense debounce=600 data-testid=chat-title placeholder="New chat"')
                self._title.props('aria-label="Title of the chat"')
            ModelPicker(self._services)
            with ui.element('div').classes('right-part'):
                self._build_gauge()
                icon_button('tune', 'Settings', self._settings.toggle, command='settings', testid='settings-toggle')

    def _build_gauge(self) -> None:
        with Region().classes('gauge').props('data-testid=context-gauge') as self._gauge:
            ui.tooltip('How much of the context this conversation fills')
            self._gauge_text = ui.label().classes('gauge-text')
            with ui.element('div').classes('gauge-bar') as self._gauge_bar:
                self._gauge_fill = ui.element('div')

    # Following a conversation

    def _show(self, conversation: Conversation) -> None:
        if self._conversation:
            self._conversation.changed.unsubscribe(self._show_state)
            self._conversation.reasoned.unsubscribe(self._show_rate)
            self._conversation.extended.unsubscribe(self._show_rate)
            self._conversation.added.unsubscribe(self._name_address)
        self._conversation = conversation
        conversation.changed.subscribe(self._show_state)
        conversation.reasoned.subscribe(self._show_rate)
        conversation.extended.subscribe(self._show_rate)
        conversation.added.subscribe(self._name_address)
        self._transcript.show(conversation)
        self._drawer.show(conversation)
        self._show_state()

    def _show_state(self) -> None:
        conversation = self._conversation
        assert conversation
        chat = conversation.chat
        self._composer.show(chat.id, chat.id if chat.messages else 'new')
        self._composer.set_running(conversation.is_running)
        self._title.set_value(chat.display_title if chat.messages else '')
        self._chats.list.select(chat.id)
        if not conversation.is_running:
            self._hint.set_text(HINT)
        self._show_gauge()
        self._show_problem()

    def _show_rate(self, message: StoredMessage, text: str) -> None:
        assert self._conversation
        if time.monotonic() - self._hinted_at >= HINT_SECONDS:
            self._hinted_at = time.monotonic()
            self._hint.set_text(f'{self._conversation.rate:.1f} tok/s · {self._conversation.tokens:,} tokens')

    def _show_gauge(self) -> None:
        assert self._conversation
        engine = self._services.host.engine
        replies = [message for message in self._conversation.chat.path() if message.prompt_tokens]
        self._gauge.set_visibility(bool(engine and replies))
        if engine and replies:
            used, n_ctx = replies[-1].prompt_tokens + replies[-1].completion_tokens, engine.info.n_ctx
            self._gauge_text.set_text(f'{used:,} / {n_ctx:,}')
            self._gauge_fill.style(f'width: {min(1, used / n_ctx):.1%}')
            set_class(self._gauge_bar, 'tight', used > TIGHT * n_ctx)

    def _show_problem(self) -> None:
        conversation = self._conversation
        assert conversation
        self._banner.clear()
        if conversation.problem:
            with self._banner, ui.element('div').classes('banner').props('role=alert data-testid=save-problem'):
                ui.icon('sym_o_error')
                ui.label(conversation.problem).classes('col')
                text_button('Save again', conversation.save)

    def _name_address(self, message: StoredMessage) -> None:
        """Give a chat its address once it has its first message."""
        assert self._conversation
        if message.parent is None:
            ui.navigate.history.push(f'/c/{self._conversation.chat.id}')

    # What the person does

    def _new(self) -> Conversation:
        return self._services.conversations.new()

    def _start_new(self) -> None:
        self._show(self._new())
        ui.navigate.history.push('/')
        self._composer.focus()

    async def _open(self, chat_id: str, message_id: str = '') -> None:
        address = f'/c/{chat_id}' + (f'?{urlencode({"message": message_id})}' if message_id else '')
        await self.visit(address)
        ui.navigate.history.push(address)

    async def _retitle(self, title: str) -> None:
        conversation = self._conversation
        if conversation and conversation.chat.messages and title != conversation.chat.display_title:
            await conversation.change(title=title)

    def _leave(self, chat_ids: Sequence[str]) -> None:
        """Show a new chat in place of one that was deleted."""
        if self._conversation and self._conversation.chat.id in chat_ids:
            self._start_new()

    async def _regenerate(self) -> None:
        assert self._conversation
        await self._guard(self._conversation.regenerate(user=self._user))

    def _notify(self, notice: str) -> None:
        self._toasts.show(notice, error=True)

    def _stop(self) -> None:
        if self._conversation:
            self._conversation.stop()

    def _copy(self, message: StoredMessage) -> None:
        self._composer.run_method('copy', message.content)

    def _suggest(self, text: str) -> None:
        self._composer.set_text(text)

    def _command(self, command: str) -> None:
        commands: dict[str, Callable[[], object]] = {
            'settings': self._settings.toggle,
            'sidebar': self._sidebar.toggle,
            'hide-sidebar': self._sidebar.hide,
            'new-chat': self._start_new,
            'stop': self._stop,
            'palette': self._palette.open,
            'keys': lambda: KeyList(self._keyboard).open(),
        }
        if command in commands:
            commands[command]()

    async def _guard(self, work: Awaitable[None]) -> bool:
        """Await `work`; tell an error of ours in words. Returns whether it went well."""
        try:
            await work
        except (InferenceError, StoreError) as error:
            self._toasts.show(str(error), error=True)
            return False
        return True
