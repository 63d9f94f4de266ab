"""One message of the conversation: the user's bubble, or a reply with its state and text, and its actions below."""

import asyncio
from collections.abc import Callable
from typing import Literal, TypeVar

from nicegui import ui

from presets.chat import StoredMessage
from webui.components.attachment_chips import AttachmentChips
from webui.components.controls import Handler, text_button
from webui.components.message_actions import MessageActions
from webui.components.message_editor import MessageEditor
from webui.components.numbers import describe_numbers, list_numbers
from webui.components.progress import Progress
from webui.components.reasoning import Reasoning
from webui.components.region import Region
from webui.components.streaming import StreamingMarkdown
from webui.components.tool_calls import ToolCalls
from webui.conversation import Conversation
from webui.plain import plain
from webui.words import say
from webui.words.formats import number

SHOWN_CHARACTERS = 6_000
"""Of a message by the user; more is shown on request, because a page with a book in it is slow."""
ENDINGS = ('length', 'cancelled', 'interrupted')
"""Reasons for an end that are said below a reply."""
CUT = ('length', 'cancelled', 'interrupted', 'error')
"""Ends after which a reply can go on where it was cut."""
Variants = tuple[int, int] | None
"""Which of how many a message is, if there are several."""
E = TypeVar('E', bound=ui.element)
Act = Callable[[str, str], object]
"""Does something with a message, given its id and the name of what to do."""


class MessageView(Region):
    """What all messages have: an id, actions, a place for an editor, a note if the model did not see it."""

    def __init__(self, message: StoredMessage, chat_id: str) -> None:
        super().__init__()
        self.message, self._chat_id = message, chat_id
        self._body: ui.element
        self._actions: MessageActions
        self._editor: MessageEditor | None = None
        self._insertion: MessageEditor | None = None
        self._note: ui.label | None = None
        self._source: ui.label | None = None
        self._variants: Variants = None
        self._is_last = False
        self.classes('message').props('role=article')
        self.props['aria-label'] = say('message.reply' if message.role == 'assistant' else 'message.you')
        self.props['data-testid'] = 'message'
        self.props['data-role'] = message.role
        self.props['data-message-id'] = message.id

    def place(self, variants: Variants, *, is_last: bool) -> None:
        """Say which of its variants this is, and whether it ends the conversation; both decide what it offers."""
        self._variants, self._is_last = variants, is_last
        self._offer()

    def show_left_out(self, shown: bool) -> None:
        """Show or hide a quiet line that says that the model did not see the message."""
        if shown and not self._note:
            self._note = self._before_actions(lambda: ui.label(say('message.left-out')).classes('note'))
            self._note.props('data-testid=left-out')
        elif self._note and not shown:
            self._note.delete()
            self._note = None

    def edit(self) -> None:
        """Put an editor in the place of the text."""
        if not self._editor:
            if self._source:
                self.toggle_source()
            self._body.set_visibility(False)
            self._editor = self._before_actions(self._make_editor)
            self.classes('editing')

    def insert(self, role: Literal['user', 'assistant']) -> None:
        """Open a field for a message that is to stand below this one."""
        if self._insertion:
            return
        with self:
            self._insertion = MessageEditor(
                '', draft=f'insert:{role}:{self._chat_id}:{self.message.id}',
                address=f'/api/chats/{self._chat_id}/insert',
                body={'role': role, 'after': self.message.id}, name=say(f'message.insert-{role}-text'),
                save=say('message.insert'), on_done=self._end_insertion,
            )  # fmt: skip

    def toggle_source(self) -> None:
        """Show the message as it was written, or as it is meant."""
        if self._source:
            self._source.delete()
            self._source = None
        else:
            text = self.message.content
            self._source = self._before_actions(lambda: ui.label(text).classes('message-source'))
            self._source.props('data-testid=message-source tabindex=0')
        self._body.set_visibility(not self._source)
        self._offer()

    def toggle_numbers(self) -> None:
        """Show all numbers, or hide them again."""
        self._actions.toggle_numbers(list_numbers(self.message))

    def copy(self) -> None:
        """Put the message's source into the clipboard."""
        self._actions.copy(self.message.content)

    async def copy_text(self) -> None:
        """Put what the message says into the clipboard, without marks."""
        self.copy()

    def _offer(self) -> None:
        raise NotImplementedError

    def _make_editor(self) -> MessageEditor:
        message = self.message
        return MessageEditor(
            message.content, draft=f'edit:{self._chat_id}:{message.id}', method='PUT',
            address=f'/api/chats/{self._chat_id}/messages/{message.id}', name=say('message.edit-text'),
            save=say('message.save-as-variant' if message.role == 'assistant' else 'message.save-and-answer'),
            on_done=self._end_edit,
        )  # fmt: skip

    def _end_edit(self) -> None:
        if self._editor:
            self._editor.delete()
            self._editor = None
            self._body.set_visibility(not self._source)
            self.classes(remove='editing')

    def _end_insertion(self) -> None:
        if self._insertion:
            self._insertion.delete()
            self._insertion = None

    def _before_actions(self, make: Callable[[], E]) -> E:
        with self:
            element = make()
        element.move(target_index=self.default_slot.children.index(self._actions))
        return element


class UserMessage(MessageView):
    """What the user wrote, as it was written."""

    def __init__(self, message: StoredMessage, chat_id: str) -> None:
        super().__init__(message, chat_id)
        with self:
            if message.attachments:
                AttachmentChips(message.attachments)
            self._body = self._draw_bubble()
            self._actions = MessageActions(message.id)
        self._offer()

    def _draw_bubble(self) -> ui.element:
        text = self.message.content
        if len(text) <= SHOWN_CHARACTERS:
            return ui.label(text).classes('bubble message-text')
        with ui.element('div').classes('bubble') as bubble:
            label = ui.label(text[:SHOWN_CHARACTERS]).classes('message-text')
            more = text_button(say('message.show-all', n=number(len(text))), lambda: label.set_text(text)).classes(
                'show-all'
            )
            more.on_click(more.delete)
        return bubble

    def _offer(self) -> None:
        answer = ['answer'] if self._is_last and self.message.role == 'user' else []
        menu = ['fork', 'insert-user', 'insert-assistant', 'delete', 'delete-below']
        self._actions.show(['copy', 'edit', *answer], menu, variants=self._variants)


class Reply(MessageView):
    """A reply. `think`, `extend`, `call`, `show_state` and `finish` change single parts of it while it is made."""

    def __init__(
        self, message: StoredMessage, chat_id: str, act: Act, open_settings: Handler, *, html: str = ''
    ) -> None:
        super().__init__(message, chat_id)
        self._act, self._open_settings = act, open_settings
        self._thoughts: Region
        self._calls: ToolCalls | None = None
        self._reasoning: Reasoning | None = None
        self._progress: Progress | None = None
        self._draw(html)

    @property
    def is_running(self) -> bool:
        """Whether it is still being written."""
        return self._progress is not None

    def resume(self) -> None:
        """Draw it as one that goes on."""
        self._end_edit()
        self._source = self._note = self._insertion = None
        self.clear()
        self._draw('')

    def think(self, text: str) -> None:
        """Append streamed reasoning."""
        if self._reasoning:
            self._reasoning.extend(text)
        else:
            self._add_reasoning(running=True)

    def extend(self, text: str) -> None:
        """Append streamed text."""
        self._fold_reasoning()
        self._answer.append(text)

    def call(self) -> None:
        """Show the message's calls as they are now."""
        self._fold_reasoning()
        if self._calls:
            self._calls.show(self.message.tool_calls)

    def show_state(self, conversation: Conversation, model_state: str, model_progress: float) -> None:
        """Say what is being waited for, while there is no text yet."""
        if self._progress:
            self._progress.show(conversation, model_state, model_progress)

    def finish(self) -> None:
        """Close the text and show what there is to do with it."""
        if not self._progress:
            return
        self._progress.delete()
        self._progress = None
        self._fold_reasoning()
        self._answer.finish()
        self.classes(remove='running')
        self._show_end()
        self._offer()

    def _draw(self, html: str) -> None:
        """Draw what there is of the message; one without a `finish_reason` has room for more."""
        message = self.message
        running = message.finish_reason is None
        self._reasoning = self._calls = self._progress = None
        with self:
            if running:
                self._progress = Progress()
            if running or message.reasoning:
                self._thoughts = Region()
            self._body = self._answer = StreamingMarkdown().classes('answer message-text')
            if running or message.tool_calls:
                self._calls = ToolCalls()
            self._actions = MessageActions(message.id)
        if message.reasoning:
            self._add_reasoning(running=running and not message.content and not message.tool_calls)
        if self._calls:
            self._calls.show(message.tool_calls)
        if running:
            self.classes('running')
            self._answer.append(message.content)
        else:
            self._answer.set_content(message.content, html)
            self._show_end()
        self._offer()

    def _add_reasoning(self, *, running: bool) -> None:
        with self._thoughts:
            self._reasoning = Reasoning(self.message, running=running)

    def _fold_reasoning(self) -> None:
        if self._reasoning:
            self._reasoning.fold()

    def _show_end(self) -> None:
        if self.message.error:
            self._before_actions(self._draw_failure)
        if note := describe_ending(self.message):
            self._before_actions(lambda: ui.label(note).classes('note'))

    def _draw_failure(self) -> ui.element:
        with ui.element('div').classes('failure').props('role=alert data-testid=reply-error') as failure:
            ui.label(self.message.error).classes('failure-text')
            with ui.element('div').classes('failure-actions'):
                again = text_button(
                    say('message.try-again'), lambda: self._act(self.message.id, 'regenerate'), primary=True
                )
                again.props('data-testid=try-again')
                text_button(say('message.settings'), self._open_settings)
        return failure

    async def copy_text(self) -> None:
        """Put what the reply says into the clipboard, without marks."""
        self._actions.copy(await asyncio.to_thread(plain, self.message.content))

    def _offer(self) -> None:
        message = self.message
        can_go_on = self._is_last and message.finish_reason in CUT and not message.tool_calls
        copy = ['copy'] if message.content else []
        actions = [*copy, 'edit', 'regenerate', *(['continue'] if can_go_on and message.content else [])]
        menu = [
            'copy-markdown', 'copy-text', 'formatted' if self._source else 'plain', 'fork', 'insert-user',
            'insert-assistant', 'delete', 'delete-below',
        ]  # fmt: skip
        self._actions.show(actions, menu, variants=self._variants, numbers=describe_numbers(message))


def describe_ending(message: StoredMessage) -> str:
    """Say why a reply ended, if that is not as it should be."""
    if message.detail:
        first, *rest = message.detail.rstrip('.').split(' ')
        # The engine says it in sentences; an abbreviation keeps its capitals.
        why = ' '.join([first.lower() if first.istitle() else first, *rest])
        return say('message.ended-because', why=why)
    if message.finish_reason in ENDINGS:
        return say(f'message.ended-{message.finish_reason}')
    return say('message.edited') if message.edited else ''
