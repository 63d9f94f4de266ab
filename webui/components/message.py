"""One message of the conversation: the user's bubble, or a reply with its state, text and actions."""

from collections.abc import Callable
from dataclasses import dataclass

from nicegui import ui

from presets.chat import StoredMessage
from webui.components.controls import Handler, icon_button, text_button
from webui.components.reasoning import Reasoning
from webui.components.region import Region
from webui.components.streaming import StreamingMarkdown
from webui.components.tool_calls import ToolCalls
from webui.conversation import Conversation

SHOWN_CHARACTERS = 6_000
"""Of a message by the user; more is shown on request, because a page with a book in it is slow."""
ENDINGS = {
    'length': 'The reply ended because the context or the token limit was reached.',
    'cancelled': 'Stopped.',
    'interrupted': 'The app ended while this was written; the rest is lost.',
}
NOT_SENT = 'Not sent: the context is full'


@dataclass(frozen=True, kw_only=True, slots=True)
class Actions:
    """What the buttons of a message do."""

    copy: Callable[[StoredMessage], None]
    regenerate: Handler
    open_settings: Handler


class UserMessage(ui.element):
    """What the user wrote, as it was written."""

    def __init__(self, message: StoredMessage, actions: Actions) -> None:
        super().__init__('article')
        self.message = message
        _describe(self, message)
        with self:
            bubble = ui.label(message.content[:SHOWN_CHARACTERS]).classes('bubble')
            if len(message.content) > SHOWN_CHARACTERS:
                size = f'Show all {len(message.content):,} characters'
                more = text_button(size, lambda: bubble.set_text(message.content)).classes('show-all')
                more.on_click(more.delete)
            self.not_sent = NotSent()
            with ui.element('div').classes('message-actions'):
                icon_button('content_copy', 'Copy', lambda: actions.copy(message))


class Reply(Region):
    """A reply. `think`, `extend`, `call`, `show_state` and `finish` change single parts of it while it is made."""

    def __init__(self, message: StoredMessage, actions: Actions, *, running: bool) -> None:
        super().__init__()
        self.message, self._actions = message, actions
        self._reasoning: Reasoning | None = None
        _describe(self, message)
        with self:
            self._waiting = Region()
            self._thoughts = Region()
            self._body = StreamingMarkdown().classes('answer')
            self._calls = ToolCalls()
            self.not_sent = NotSent()
            self._end = Region()
        if message.reasoning:
            self._add_reasoning(running=running and not message.content and not message.tool_calls)
        self._calls.show(message.tool_calls)
        if running:
            self.classes('running')
            self._body.append(message.content)
        else:
            self._body.set_content(message.content)
            self._show_end()

    def think(self, text: str) -> None:
        """Append streamed reasoning."""
        if self._reasoning:
            self._reasoning.extend(text)
        else:
            self._add_reasoning(running=True)

    def extend(self, text: str) -> None:
        """Append streamed text."""
        self._fold_reasoning()
        self._body.append(text)

    def call(self) -> None:
        """Show the message's calls as they are now."""
        self._fold_reasoning()
        self._calls.show(self.message.tool_calls)

    def show_state(self, conversation: Conversation, model_state: str, model_progress: float) -> None:
        """Say what is being waited for, while there is no text yet."""
        self._waiting.clear()
        progress = conversation.progress
        with self._waiting:
            if conversation.state == 'waiting':
                place = f'Waiting, place {conversation.place} in the queue' if conversation.place else ''
                _waiting(place or model_state or 'Waiting for the model', model_progress)
            elif conversation.state == 'prefill' and progress and progress.done < progress.total:
                share = (progress.done - progress.cached) / max(1, progress.total - progress.cached)
                _waiting(f'Reading the conversation, {share:.0%} of {progress.total - progress.cached:,} tokens', share)
            elif conversation.state == 'prefill':
                _waiting('Thinking of the first word', 0)

    def finish(self) -> None:
        """Close the text and show what there is to do with it."""
        self._waiting.clear()
        self._fold_reasoning()
        self._body.finish()
        self.classes(remove='running')
        self._show_end()

    def _add_reasoning(self, *, running: bool) -> None:
        with self._thoughts:
            self._reasoning = Reasoning(self.message, running=running)

    def _fold_reasoning(self) -> None:
        if self._reasoning:
            self._reasoning.fold()

    def _show_end(self) -> None:
        message = self.message
        with self._end:
            if message.error:
                self._show_failure(message.error)
            if note := describe_ending(message):
                ui.label(note).classes('note')
            with ui.element('div').classes('message-actions'):
                icon_button('content_copy', 'Copy', lambda: self._actions.copy(message))
                icon_button('refresh', 'Answer again', self._actions.regenerate, testid='regenerate')
                if message.completion_tokens:
                    ui.label(describe_numbers(message)).classes('stats').props('data-testid=stats')

    def _show_failure(self, error: str) -> None:
        with ui.element('div').classes('failure').props('role=alert data-testid=reply-error'):
            ui.label(error).classes('failure-text')
            with ui.element('div').classes('failure-actions'):
                text_button('Try again', self._actions.regenerate, primary=True)
                text_button('Settings', self._actions.open_settings)


class NotSent(Region):
    """A quiet line under a message that the model did not see."""

    def __init__(self) -> None:
        super().__init__()
        self._label: ui.label | None = None

    def show(self, shown: bool) -> None:
        """Show or hide the line."""
        if shown and not self._label:
            with self:
                self._label = ui.label(NOT_SENT).classes('note').props('data-testid=left-out')
        if self._label:
            self._label.set_visibility(shown)


def describe_ending(message: StoredMessage) -> str:
    """Say why a reply ended, if that is not as it should be."""
    return f'Ended because {message.detail}.' if message.detail else ENDINGS.get(message.finish_reason or '', '')


def describe_numbers(message: StoredMessage) -> str:
    """Return the honest numbers under a reply; the wait for the model is not counted as its reading time."""
    parts = [f'{message.completion_tokens:,} tokens']
    if message.decode and message.completion_tokens > 1:
        parts.append(f'{(message.completion_tokens - 1) / message.decode:.1f} tok/s')
    parts.append(f'{message.queued + message.prefill:.2f} s to first token')
    parts.append(f'{message.cached_tokens:,} of {message.prompt_tokens:,} prompt tokens cached')
    return ' · '.join(parts)


def _describe(element: ui.element, message: StoredMessage) -> None:
    element.classes('message')
    element.props['data-testid'] = 'message'
    element.props['data-role'] = message.role
    element.props['data-message-id'] = message.id


def _waiting(text: str, share: float) -> None:
    with ui.element('div').classes('waiting').props('data-testid=load-progress'):
        ui.element('div').classes('pulse')
        ui.label(text)
        if share:
            ui.element('progress').props(f'max=1 value={share:.3f}')
