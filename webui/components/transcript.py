"""The scrolling column of messages. It shows one conversation and changes in place as that goes on."""

from collections.abc import Callable

from nicegui import ui

from presets.chat import StoredMessage
from webui.components.controls import text_button
from webui.components.message import Actions, Reply, UserMessage
from webui.components.model_picker import describe_state
from webui.components.region import Region
from webui.conversation import Conversation
from webui.services import Services

SHOWN_MESSAGES = 60
"""The newest ones; earlier ones come on request."""
STARTERS = (
    'Explain how a rainbow forms, in three sentences.',
    'Write a short poem about the sea in winter.',
    'Give me a Python function that counts the words in a text.',
)


class Transcript(ui.element, component='transcript.js'):
    """Stays at its end while the reader is there, and stays put once they scroll up."""

    def __init__(self, services: Services, actions: Actions, *, on_starter: Callable[[str], None]) -> None:
        super().__init__()
        self._services, self._actions, self._on_starter = services, actions, on_starter
        self._conversation: Conversation | None = None
        self._messages: list[UserMessage | Reply] = []
        self._reply: Reply | None = None
        self.props('data-testid=conversation data-state=idle role=log aria-label=Conversation aria-live=off')
        services.host.changed.subscribe(self._show_state)

    def show(self, conversation: Conversation) -> None:
        """Show another conversation and follow it from now on."""
        self._leave()
        self._conversation = conversation
        conversation.added.subscribe(self._add)
        conversation.reasoned.subscribe(self._think)
        conversation.extended.subscribe(self._extend)
        conversation.called.subscribe(self._call)
        conversation.marked.subscribe(self._mark)
        conversation.finished.subscribe(self._finish)
        conversation.changed.subscribe(self._show_state)
        conversation.replaced.subscribe(self._draw)
        self._draw()
        self.run_method('toEnd')

    def _leave(self) -> None:
        if old := self._conversation:
            old.added.unsubscribe(self._add)
            old.reasoned.unsubscribe(self._think)
            old.extended.unsubscribe(self._extend)
            old.called.unsubscribe(self._call)
            old.marked.unsubscribe(self._mark)
            old.finished.unsubscribe(self._finish)
            old.changed.unsubscribe(self._show_state)
            old.replaced.unsubscribe(self._draw)

    def _draw(self, count: int = SHOWN_MESSAGES) -> None:
        assert self._conversation
        messages = self._conversation.chat.path()
        self.clear()
        self._messages, self._reply = [], None
        with self:
            if not messages:
                self._draw_empty()
            if len(messages) > count:
                text_button(f'Show {len(messages) - count:,} earlier messages', lambda: self._draw(count * 4))
        for message in messages[-count:]:
            self._append(message)
        self._mark()
        self._show_state()

    def _draw_empty(self) -> None:
        with Region().classes('empty'):
            with ui.element('div'):
                ui.label('What would you like to talk about?').classes('title').props('role=heading aria-level=1')
                self._model_state = ui.label().classes('muted')
            with ui.element('div').classes('starters'):
                for text in STARTERS:
                    self._draw_starter(text)

    def _draw_starter(self, text: str) -> None:
        button = ui.element('button').classes('starter').props('type=button')
        button.on('click', lambda: self._on_starter(text))
        with button:
            ui.label(text)

    def _append(self, message: StoredMessage) -> None:
        if self._messages:
            self._messages[-1].classes(remove='last')
        view: UserMessage | Reply
        with self:
            if message.role == 'assistant':
                view = self._reply = Reply(message, self._actions, running=self._is_running(message))
            else:
                view = UserMessage(message, self._actions)
        self._messages.append(view.classes('last'))

    def _is_running(self, message: StoredMessage) -> bool:
        conversation = self._conversation
        return bool(conversation and conversation.is_running and message.id == conversation.chat.leaf)

    def _add(self, message: StoredMessage) -> None:
        if message.id in [view.message.id for view in self._messages]:
            return  # this tab was opened while the message was being saved
        if self._messages:
            self._append(message)
        else:
            self._draw()
        if message.role == 'user':
            self.run_method('toEnd')

    def _mark(self) -> None:
        """Say of each message whether it was left out of what the model read last."""
        assert self._conversation
        left_out = set(self._conversation.chat.left_out())
        for view in self._messages:
            view.not_sent.show(view.message.id in left_out)

    def _think(self, message: StoredMessage, text: str) -> None:
        if self._reply:
            self._reply.think(text)

    def _call(self, message: StoredMessage) -> None:
        if self._reply:
            self._reply.call()

    def _extend(self, message: StoredMessage, text: str) -> None:
        if self._reply:
            self._reply.extend(text)

    def _finish(self, message: StoredMessage) -> None:
        if self._reply:
            self._reply.finish()

    def _show_state(self) -> None:
        conversation, state = self._conversation, self._services.host.state
        if not conversation:
            return
        if self._props['data-state'] != conversation.state:
            self.props(f'data-state={conversation.state}')
        description = describe_state(self._services, state)
        if not self._messages:
            self._model_state.set_text(description)
        if conversation.is_running and self._reply:
            self._reply.show_state(conversation, description if state.is_busy else '', state.progress)
