"""The scrolling column of messages. It shows one conversation and changes in place as that goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import background_tasks, ui
from nicegui.events import GenericEventArguments

from presets.chat import StoredMessage
from webui.components.controls import Handler
from webui.components.empty_chat import EmptyChat
from webui.components.message import Act, MessageView, Reply, UserMessage, Variants
from webui.components.message_actions import action_words
from webui.components.message_queue import MessageQueue
from webui.components.message_window import (
    Html,
    MessageWindow,
    group_after,
    group_before,
    index_of,
    render_replies,
)
from webui.components.model_picker import describe_state
from webui.conversation import Conversation
from webui.services import Services
from webui.words import say

SAID_CHARACTERS = 200
"""Of a finished reply, for those who hear the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a reader is: a message, and how far its top is below the pane's; `marked` if it was searched for."""

    message_id: str
    offset: int = 0
    marked: bool = False


class Transcript(ui.element, component='transcript.js'):
    """Stays at its end while the reader is there, and stays put once they scroll up.

    What is done with a message goes to `act`, except what only changes how it is shown. `on_place` is told where the
    reader is, None for the end.
    """

    def __init__(
        self,
        services: Services,
        act: Act,
        *,
        on_place: Callable[[str, Place | None], None],
        on_starter: Callable[[str], None],
        open_settings: Handler,
    ) -> None:
        super().__init__()
        self._services, self._act_outside, self._on_place = services, act, on_place
        self._open_settings = open_settings
        self._conversation: Conversation | None = None
        self._wanted: Conversation | None = None
        self._turn = 0
        self._newer = self._loading = False
        self._props['words'] = _words()
        self.props('data-testid=conversation data-state=idle role=log aria-live=off')
        self._props['aria-label'] = say('transcript.conversation')
        self.on('act', self._on_act)
        self.on('near', self._on_near)
        self.on('place', self._note_place)
        self.on('end', lambda: self._go(None), args=[])
        with self:
            self._empty = EmptyChat(services, on_starter)
            self._window = MessageWindow(self._make)
            self._queue = MessageQueue()
        services.host.changed.subscribe(self._show_state)

    # Showing a conversation

    async def show(self, conversation: Conversation, place: Place | None = None) -> None:
        """Show a conversation, at its end or at a place in it, and follow it from now on."""
        self._wanted = conversation
        path = conversation.chat.path()
        at = index_of(path, place.message_id) if place else -1
        start, end = (
            (group_before(path, at + 1), group_after(path, at + 1))
            if at >= 0
            else (group_before(path, len(path)), len(path))
        )
        html = await render_replies(path[start:end])
        if self._wanted is not conversation or self.is_deleted:
            return  # another one was opened meanwhile
        path = conversation.chat.path()
        self._show(conversation, path[start : end if at >= 0 else len(path)], html, place)

    def begin(self, conversation: Conversation) -> None:
        """Show a conversation that has no messages yet."""
        self._wanted = conversation
        self._show(conversation, [], {}, None)

    def edit_last(self) -> None:
        """Open the editor of the last message that a person wrote."""
        questions = [view for view in self._window.views if view.message.role == 'user']
        if questions:
            questions[-1].edit()

    def copy_last(self) -> None:
        """Put the last reply into the clipboard."""
        replies = [view for view in self._window.views if view.message.role == 'assistant']
        if replies:
            replies[-1].copy()

    def _show(
        self, conversation: Conversation, messages: Sequence[StoredMessage], html: Html, place: Place | None
    ) -> None:
        self._follow(conversation)
        self._window.restart(messages, html)
        self._props['chat'] = conversation.chat.id
        self._props['target'] = {'turn': self._next_turn(), **_target(place)}
        self._settle()
        self.update()

    def _follow(self, conversation: Conversation) -> None:
        if old := self._conversation:
            for event, handler in self._subscriptions(old):
                event.unsubscribe(handler)
        self._conversation = conversation
        for event, handler in self._subscriptions(conversation):
            event.subscribe(handler)

    def _subscriptions(self, conversation: Conversation) -> list[tuple[Any, Callable[..., None]]]:
        return [
            (conversation.added, self._add),
            (conversation.reasoned, self._think),
            (conversation.extended, self._extend),
            (conversation.called, self._call),
            (conversation.marked, self._mark),
            (conversation.finished, self._finish),
            (conversation.changed, self._show_state),
            (conversation.queue_changed, self._show_queue),
            (conversation.replaced, self._replace),
        ]

    def _make(self, message: StoredMessage, html: str) -> MessageView:
        assert self._conversation
        chat_id = self._conversation.chat.id
        if message.role == 'assistant':
            return Reply(message, chat_id, self._act_outside, self._open_settings, html=html)
        return UserMessage(message, chat_id)

    # What happens in the conversation

    def _add(self, message: StoredMessage) -> None:
        if self._window.find(message.id):
            return  # this tab was opened while the message was being saved
        last = self._window.last
        follows = last.message.id == message.parent if last else not message.parent
        was_queued = message.id in self._queue
        if follows:
            self._window.append(message)
        self._settle()
        self.run_method('came', message.role == 'user' and not was_queued)

    def _replace(self) -> None:
        assert self._conversation
        path = self._conversation.chat.path()
        reached_end = not self._newer
        self._window.follow(path)
        for view in self._window.views:
            if isinstance(view, Reply) and not view.message.finish_reason and not view.is_running:
                view.resume()
        if path and not self._window.last:
            background_tasks.create(self.show(self._conversation), name='show another branch')
            return
        self._settle()
        if self._newer and reached_end:
            background_tasks.create(self._load('bottom', 0), name='show the rest of another branch')

    def _settle(self) -> None:
        """Bring up to date what depends on the messages around."""
        assert self._conversation
        chat = self._conversation.chat
        path, last = chat.path(), self._window.last
        first_id = self._window.first.message.id if self._window.first else None
        self._empty.show(not path)
        self._newer = bool(last and path and last.message.id != path[-1].id)
        self._set(older=bool(path) and first_id != path[0].id, newer=self._newer)
        variants = _variants(chat.messages.values())
        for view in self._window.views:
            view.place(variants.get(view.message.id), is_last=view is last and not self._newer)
        self._mark()
        self._show_queue()
        self._show_state()

    def _mark(self) -> None:
        """Say of each message whether it was left out of what the model read last."""
        assert self._conversation
        left_out = set(self._conversation.chat.left_out())
        for view in self._window.views:
            view.show_left_out(view.message.id in left_out)

    def _running(self, message: StoredMessage) -> Reply | None:
        last = self._window.last
        return last if isinstance(last, Reply) and last.message is message else None

    def _think(self, message: StoredMessage, text: str) -> None:
        if reply := self._running(message):
            reply.think(text)

    def _call(self, message: StoredMessage) -> None:
        if reply := self._running(message):
            reply.call()

    def _extend(self, message: StoredMessage, text: str) -> None:
        if reply := self._running(message):
            reply.extend(text)

    def _finish(self, message: StoredMessage) -> None:
        if reply := self._running(message):
            reply.finish()
        said = 'transcript.failed' if message.error else 'transcript.finished'
        self.run_method('announce', say(said, text=(message.error or message.content)[:SAID_CHARACTERS]))

    def _show_state(self) -> None:
        conversation, state = self._conversation, self._services.host.state
        if not conversation:
            return
        self._set(**{'data-state': conversation.state})
        description = describe_state(self._services, state)
        self._empty.describe(description)
        last = self._window.last
        if isinstance(last, Reply) and last.message is conversation.running:
            last.show_state(conversation, description if state.is_busy else '', state.progress)

    def _show_queue(self) -> None:
        assert self._conversation
        self._queue.show(self._conversation.chat.queue, self._conversation.chat.id)

    def _set(self, **props: object) -> None:
        if any(self._props.get(name) != value for name, value in props.items()):
            self._props.update(props)
            self.update()

    # What the reader does

    async def _on_act(self, event: GenericEventArguments) -> None:
        message_id, name = str(event.args['id']), str(event.args['name'])
        view = self._window.find(message_id)
        match name:
            case 'edit' if view:
                view.edit()
            case 'edit':
                self._queue.edit(message_id)
            case 'plain' | 'formatted' if view:
                view.toggle_source()
            case 'numbers' if view:
                view.toggle_numbers()
            case 'copy' | 'copy-markdown' if view:
                view.copy()
            case 'copy-text' if view:
                await view.copy_text()
            case 'insert-user' if view:
                view.insert('user')
            case 'insert-assistant' if view:
                view.insert('assistant')
            case _:
                result = self._act_outside(message_id, name)
                if hasattr(result, '__await__'):
                    await result

    async def _on_near(self, event: GenericEventArguments) -> None:
        await self._load(str(event.args['edge']), int(event.args['spare']))

    async def _load(self, edge: str, spare: int) -> None:
        """Show a group more at the top or the bottom, and drop those that the reader has left behind."""
        conversation, at_top = self._conversation, edge == 'top'
        view = self._window.first if at_top else self._window.last
        if not conversation or not view or self._loading:
            return
        path = conversation.chat.path()
        at = index_of(path, view.message.id)
        messages = path[group_before(path, at) : at] if at_top else path[at + 1 : group_after(path, at + 1)]
        self._loading = True
        try:
            html = await render_replies(messages)
        finally:
            self._loading = False
        still = self._window.first if at_top else self._window.last
        current = {message.id for message in conversation.chat.path()}
        if messages and still is view and conversation is self._conversation and all(m.id in current for m in messages):
            self._window.extend(messages, html, at_top=at_top, spare=spare)
            self._settle()
        else:
            self.run_method('askAgain')  # the conversation went another way meanwhile

    async def _go(self, place: Place | None) -> None:
        if self._conversation:
            await self.show(self._conversation, place)

    def _note_place(self, event: GenericEventArguments) -> None:
        conversation, args = self._conversation, event.args
        if conversation and args['id'] in conversation.chat.messages:
            place = None if args['end'] else Place(message_id=args['id'], offset=int(args['offset']))
            self._on_place(conversation.chat.id, place)

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn


def _target(place: Place | None) -> dict[str, object]:
    return {'id': place.message_id, 'offset': place.offset, 'mark': place.marked} if place else {}


def _variants(messages: Any) -> dict[str, Variants]:
    """Return which of its siblings each message is, where it has some."""
    siblings: dict[str | None, list[str]] = {}
    for message in messages:
        siblings.setdefault(message.parent, []).append(message.id)
    return {
        message_id: (place, len(ids))
        for ids in siblings.values()
        if len(ids) > 1
        for place, message_id in enumerate(ids, start=1)
    }


def _words() -> dict[str, str]:
    counted = {name: say(f'transcript.{name}', n='{n}') for name in ('one-new', 'many-new')}
    return {**action_words(), **counted, 'to-end': say('transcript.to-end')}
