"""The stretch of a conversation that is on the page: its messages in groups, each drawn apart from the others."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from presets.chat import StoredMessage
from webui.components.message import SHOWN_CHARACTERS, MessageView
from webui.components.region import Region
from webui.markdown import render

GROUP_SIZE, GROUP_CHARACTERS = 20, 24_000
"""Messages of a group, and characters of text, whatever is reached first; a single message may be longer."""
AT_ONCE = 4_000
"""Characters that are rendered sooner than a thread would be started."""

Html = dict[str, str]
"""Rendered replies by the ids of their messages."""
Make = Callable[[StoredMessage, str], MessageView]
"""Draws a message, given its text as HTML, or '' if that is not there yet."""


class MessageGroup(Region):
    """Neighbouring messages. What changes in one does not draw those of the other groups again."""

    def __init__(self) -> None:
        super().__init__()
        self.classes('message-group')
        self.views: list[MessageView] = []

    def add(self, message: StoredMessage, make: Make, html: Html, index: int | None = None) -> MessageView:
        """Draw a message at the end, or at a place among the others."""
        with self:
            view = make(message, html.get(message.id, ''))
        if index is not None:
            view.move(target_index=index)
        self.views.insert(len(self.views) if index is None else index, view)
        return view

    def take_out(self, view: MessageView) -> None:
        """Take a message off the page."""
        self.views.remove(view)
        view.delete()


class MessageWindow(Region):
    """Follows one path of messages. What is above and below is fetched with `extend` and dropped again."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        self.classes('messages')
        self._make = make
        self._groups: list[MessageGroup] = []

    @property
    def views(self) -> Iterator[MessageView]:
        """The messages that are on the page, in their order."""
        return (view for group in self._groups for view in group.views)

    @property
    def first(self) -> MessageView | None:
        """The topmost message."""
        return self._groups[0].views[0] if self._groups else None

    @property
    def last(self) -> MessageView | None:
        """The lowest message."""
        return self._groups[-1].views[-1] if self._groups else None

    def find(self, message_id: str) -> MessageView | None:
        """Return the message if it is on the page."""
        return next((view for view in self.views if view.message.id == message_id), None)

    def restart(self, messages: Sequence[StoredMessage], html: Html) -> None:
        """Show these messages and no others."""
        self.clear()
        self._groups.clear()
        for start in range(0, len(messages), GROUP_SIZE):
            self._add_group(messages[start : start + GROUP_SIZE], html, len(self._groups))

    def append(self, message: StoredMessage) -> MessageView:
        """Show one more at the end."""
        if not self._groups or len(self._groups[-1].views) >= GROUP_SIZE:
            with self:
                self._groups.append(MessageGroup())
        return self._groups[-1].add(message, self._make, {})

    def extend(self, messages: Sequence[StoredMessage], html: Html, *, at_top: bool, spare: int) -> None:
        """Show a group more at one end, and drop `spare` groups at the other."""
        self._add_group(messages, html, 0 if at_top else len(self._groups))
        for _ in range(min(spare, len(self._groups) - 1)):
            self._groups.pop(-1 if at_top else 0).delete()

    def follow(self, path: Sequence[StoredMessage]) -> None:
        """Take out what is not on the path any more, and put in what came between; what stays is not drawn again."""
        ids = {message.id for message in path}
        for group in self._groups:
            for view in [view for view in group.views if view.message.id not in ids]:
                group.take_out(view)
        for empty in [group for group in self._groups if not group.views]:
            self._groups.remove(empty)
            empty.delete()
        if self.first and self.last:
            start, end = (index_of(path, view.message.id) for view in (self.first, self.last))
            self._fill(path[start : end + 1])

    def _fill(self, messages: Sequence[StoredMessage]) -> None:
        wanted = iter(messages)
        for group in self._groups:
            for view in group.views.copy():
                for message in wanted:
                    if message.id == view.message.id:
                        break
                    group.add(message, self._make, {}, group.views.index(view))

    def _add_group(self, messages: Sequence[StoredMessage], html: Html, index: int) -> None:
        with self:
            group = MessageGroup()
        group.move(target_index=index)
        self._groups.insert(index, group)
        for message in messages:
            group.add(message, self._make, html)


def group_before(path: Sequence[StoredMessage], end: int) -> int:
    """Return where the group begins that ends before `end`."""
    start, characters = end, 0
    while start > 0 and end - start < GROUP_SIZE and characters < GROUP_CHARACTERS:
        start -= 1
        characters += _shown_length(path[start])
    return start


def group_after(path: Sequence[StoredMessage], start: int) -> int:
    """Return where the group ends that begins at `start`."""
    end, characters = start, 0
    while end < len(path) and end - start < GROUP_SIZE and characters < GROUP_CHARACTERS:
        characters += _shown_length(path[end])
        end += 1
    return end


def _shown_length(message: StoredMessage) -> int:
    length = len(message.content)
    return length if message.role == 'assistant' else min(length, SHOWN_CHARACTERS)


def index_of(path: Sequence[StoredMessage], message_id: str) -> int:
    """Return the place of a message on the path; -1 if it is not there."""
    return next((index for index, message in enumerate(path) if message.id == message_id), -1)


async def render_replies(messages: Sequence[StoredMessage]) -> Html:
    """Render on a thread what would hold the event loop for long."""
    replies = {
        message.id: message.content for message in messages if message.role == 'assistant' and message.finish_reason
    }
    if sum(map(len, replies.values())) < AT_ONCE:
        return {}
    return await asyncio.to_thread(lambda: {message_id: render(text) for message_id, text in replies.items()})
