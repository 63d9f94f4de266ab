"""The chat page: sidebar, conversation, composer, settings. It shows one conversation at a time and owns none."""

import time
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, urlencode, urlsplit

from nicegui import app, ui

from presets.chat import StoredMessage
from presets.errors import StoreError
from webui.components.chat_panel import ChatPanel
from webui.components.composer import Composer
from webui.components.controls import Toasts, follow_focus, icon_button, text_button
from webui.components.gauge import Gauge
from webui.components.key_list import KeyList
from webui.components.keyboard import Keyboard, send_hint
from webui.components.model_picker import ModelCard, ModelPicker
from webui.components.palette import ChatSource, CommandSource, MessageSource, ModelSource, Palette
from webui.components.region import Region
from webui.components.settings_drawer import SettingsDrawer
from webui.components.transcript import Place, Transcript
from webui.components.transfer import TransferDialog
from webui.conversation import Conversation
from webui.pages.message_commands import MessageCommands
from webui.pages.reading_places import ReadingPlaces
from webui.preferences import preferences
from webui.services import Services
from webui.words import say
from webui.words.formats import number

HINT_SECONDS = 0.5
"""How often the live rate changes: a number that flickers cannot be read."""
SEEN_ABOVE = 80
"""Pixels of the conversation that are seen above a message that was searched for."""


class ChatPage:
    """One browser tab."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._user = str(app.storage.browser['id'])
        self._conversation: Conversation | None = None
        self._hinted_at = 0.0
        self._shown_title = ''
        self._places = ReadingPlaces()
        self._build()
        services.notices.added.subscribe(self._notify)
        for notice in services.notices.take():
            self._notify(notice)
        ui.on('command', lambda event: self._command(event.args))
        ui.on('visit', lambda event: self.visit(event.args))

    async def visit(self, address: str) -> None:
        """Open the chat that an address names, at a message if it names one; an empty chat for any other address."""
        url = urlsplit(address)
        chat_id = url.path.removeprefix('/c/') if url.path.startswith('/c/') else ''
        message_id = ''.join(parse_qs(url.query).get('message', [])[:1])
        try:
            await self._show(await self._find(chat_id, message_id), message_id)
        except StoreError as error:
            await self._show(self._new())
            self._toasts.show(str(error), error=True)

    # The parts of the page

    def _build(self) -> None:
        self._keyboard, self._toasts = Keyboard(), Toasts()
        self._transfer = TransferDialog(self._services)
        with ui.left_drawer(bordered=True).props('width=272 breakpoint=899') as self._sidebar:
            self._build_sidebar()
        follow_focus(self._sidebar, 'left')
        with ui.right_drawer(value=False, bordered=True).props('width=352 breakpoint=899') as self._settings:
            self._drawer = SettingsDrawer(
                self._services, self._transfer, on_close=self._settings.hide, keyboard=self._keyboard
            )
        follow_focus(self._settings, 'right')
        with ui.element('div').classes('page'):  # Quasar has a <main> around it
            self._build_top_line()
            self._banner = Region()
            self._transcript = Transcript(
                self._services,
                self._act,
                on_place=self._places.keep,
                on_starter=self._suggest,
                open_settings=self._settings.show,
            )
            with Region().classes('composer-part'):
                self._composer = Composer(
                    self._services,
                    on_stop=self._stop,
                    on_measured=self._gauge.show,
                    on_context=self._gauge.open,
                )
                with Region():
                    self._hint = ui.label(send_hint()).classes('composer-hint').props('data-testid=hint')
        self._palette = Palette(
            [
                ChatSource(self._services.chats, self._open),
                CommandSource(self._command),
                ModelSource(self._services),
                MessageSource(self._services.search, self._open),
            ]
        )
        ui.skip_link(say('common.skip_to_composer'), target=self._composer)
        ui.skip_link(say('common.skip_to_conversation'), target=self._transcript)
        self._commands = MessageCommands(self._services.conversations, self._toasts, self._user, on_open=self._open)

    def _build_sidebar(self) -> None:
        with ui.element('div').classes('sidebar'):
            with ui.element('div').classes('sidebar-head'):
                ui.label('Chatbot WebUI').classes('brand')
                icon_button('left_panel_close', say('page.hide-sidebar'), self._sidebar.hide, command='sidebar')
            new = ui.button(say('page.new-chat'), icon='sym_o_edit_square', color=None, on_click=self._start_new)
            new.props('flat align=left data-testid=new-chat').classes('new-chat')
            self._chats = ChatPanel(
                self._services,
                self._toasts,
                on_open=self._open,
                on_gone=self._leave,
                on_export=self._export,
                on_import=self._transfer.open_import,
            )
            ModelCard(self._services)

    def _build_top_line(self) -> None:
        with Region().classes('topline'):
            with ui.element('div').classes('title-part'):
                icon_button(
                    'menu', say('page.sidebar'), self._sidebar.toggle, command='sidebar', testid='sidebar-toggle'
                )
                self._title = ui.input(on_change=lambda event: self._retitle(event.value)).classes('title-field')
                self._title.props('borderless dense debounce=600 data-testid=chat-title')
                self._title.props['placeholder'] = say('page.new-chat')
                self._title.props['aria-label'] = say('page.title')
            ModelPicker(self._services)
            with ui.element('div').classes('right-part'):
                self._gauge = Gauge(self._services)
                icon_button(
                    'tune', say('page.settings'), self._settings.toggle, command='settings', testid='settings-toggle'
                )

    # Following a conversation

    async def _find(self, chat_id: str, message_id: str) -> Conversation:
        """Return the conversation to show, with the message on its path. Raises StoreError."""
        if not chat_id:
            return self._new()
        conversation = await self._services.conversations.open(chat_id)
        if message_id:
            await conversation.reveal(message_id)
        return conversation

    async def _show(self, conversation: Conversation, message_id: str = '') -> None:
        self._follow(conversation)
        marked = Place(message_id=message_id, offset=SEEN_ABOVE, marked=True) if message_id else None
        await self._transcript.show(conversation, marked or self._places.of(conversation.chat.id))

    def _follow(self, conversation: Conversation) -> None:
        if self._conversation:
            self._conversation.changed.unsubscribe(self._show_state)
            self._conversation.reasoned.unsubscribe(self._show_rate)
            self._conversation.extended.unsubscribe(self._show_rate)
            self._conversation.added.unsubscribe(self._name_address)
        self._conversation = conversation
        conversation.titling = preferences().titles
        conversation.changed.subscribe(self._show_state)
        conversation.reasoned.subscribe(self._show_rate)
        conversation.extended.subscribe(self._show_rate)
        conversation.added.subscribe(self._name_address)
        self._drawer.show(conversation)
        self._composer.show(conversation)
        self._gauge.follow(conversation)
        self._show_state()

    def _show_state(self) -> None:
        conversation = self._conversation
        assert conversation
        chat = conversation.chat
        self._show_title(chat.display_title if chat.messages else '')
        self._chats.list.select(chat.id)
        if not conversation.is_running:
            self._hint.set_text(send_hint())
        self._show_problem()

    def _show_title(self, title: str) -> None:
        """Show another title; what is just being typed stays while the title is as it was."""
        if title != self._shown_title:
            self._shown_title = title
            self._title.set_value(title)

    def _show_rate(self, message: StoredMessage, text: str) -> None:
        assert self._conversation
        if time.monotonic() - self._hinted_at >= HINT_SECONDS:
            self._hinted_at = time.monotonic()
            rate, tokens = self._conversation.rate, self._conversation.tokens
            self._hint.set_text(say('page.live', rate=number(rate, 1), tokens=number(tokens)))

    def _show_problem(self) -> None:
        conversation = self._conversation
        assert conversation
        self._banner.clear()
        if conversation.problem:
            with self._banner, ui.element('div').classes('banner').props('role=alert data-testid=save-problem'):
                ui.icon('sym_o_error')
                ui.label(conversation.problem).classes('col')
                text_button(say('page.save-again'), conversation.save)

    def _name_address(self, message: StoredMessage) -> None:
        """Give a chat its address once it has its first message."""
        assert self._conversation
        if message.parent is None:
            ui.navigate.history.push(f'/c/{self._conversation.chat.id}')

    # What the person does

    def _new(self) -> Conversation:
        return self._services.conversations.new()

    def _start_new(self) -> None:
        conversation = self._new()
        self._follow(conversation)
        self._transcript.begin(conversation)
        ui.navigate.history.push('/')
        self._composer.focus()

    async def _open(self, chat_id: str, message_id: str = '') -> None:
        address = f'/c/{chat_id}' + (f'?{urlencode({"message": message_id})}' if message_id else '')
        await self.visit(address)
        ui.navigate.history.push(address)

    async def _retitle(self, title: str) -> None:
        conversation = self._conversation
        if conversation and conversation.chat.messages and title != self._shown_title:
            self._shown_title = title
            await conversation.change(title=title)

    def _leave(self, chat_ids: Sequence[str]) -> None:
        """Show a new chat in place of one that was deleted."""
        if self._conversation and self._conversation.chat.id in chat_ids:
            self._start_new()

    def _export(self, chat_ids: Sequence[str]) -> None:
        self._transfer.open_export(chat_ids)

    async def _act(self, message_id: str, name: str) -> None:
        assert self._conversation
        await self._commands.run(self._conversation, name, message_id)

    def _notify(self, notice: str) -> None:
        self._toasts.show(notice, error=True)

    def _stop(self) -> None:
        if self._conversation:
            self._conversation.stop()

    def _suggest(self, text: str) -> None:
        self._composer.set_text(text)

    async def _command(self, command: str) -> None:
        assert self._conversation
        commands: dict[str, Callable[[], object]] = {
            'settings': self._settings.toggle,
            'sidebar': self._sidebar.toggle,
            'hide-sidebar': self._sidebar.hide,
            'new-chat': self._start_new,
            'stop': self._stop,
            'palette': self._palette.open,
            'keys': lambda: KeyList(self._keyboard).open(),
            'edit-last': self._transcript.edit_last,
            'copy-last': self._transcript.copy_last,
        }
        if command in commands:
            commands[command]()
        elif command in ('regenerate', 'continue'):
            await self._commands.run(self._conversation, command)
