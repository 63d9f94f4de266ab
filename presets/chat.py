"""A chat: a tree of messages, and the line it takes in the list."""

import re
import secrets
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from inference.chat import Overflow, Role, ToolCall
from inference.settings import SamplingSettings

_MARKS = re.compile(r'^(?:#{1,6} |> |[-*] |```\w*)+|\*\*(?=\w)|(?<=\w)\*\*|`')


def _new_id() -> str:
    return secrets.token_hex(8)


def _now() -> datetime:
    return datetime.now(UTC)


class Attachment(BaseModel):
    """A file that goes to the model with a message: the text that was found in it. `size` is the file's, in bytes."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    id: str = Field(default_factory=_new_id)
    name: str
    media_type: str = 'text/plain'
    size: int = 0
    text: str


class StoredMessage(BaseModel):
    """One turn; an assistant message without a `finish_reason` is still being written.

    Its lists are replaced, never changed in place: what is saved is a shallow copy. `edited` says that a person changed
    what the model wrote. `left_out` are the ids of the messages that the model did not see when it wrote this one,
    because the context was full; `detail` says why it ended if nobody asked for that.
    """

    model_config = ConfigDict(extra='forbid')

    id: str = Field(default_factory=_new_id)
    parent: str | None = None
    role: Role
    content: str
    attachments: list[Attachment] = []
    edited: bool = False
    reasoning: str = ''
    reasoning_seconds: float = 0.0
    tool_calls: list[ToolCall] = []
    created: AwareDatetime = Field(default_factory=_now)
    model: str = ''
    preset: str = ''
    left_out: list[str] = []
    finish_reason: Literal['stop', 'length', 'tool_calls', 'cancelled', 'interrupted', 'error'] | None = None
    detail: str = ''
    error: str = ''
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queued: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0


class Chat(BaseModel):
    """A tree of messages by their `parent`; the conversation on screen is the path that ends at `leaf`.

    `queue` are messages that wait until the reply before them has ended. `folder` is a path of names, such as
    'Work/Taxes', or empty.
    """

    model_config = ConfigDict(extra='forbid')

    id: str = Field(default_factory=_new_id)
    title: str = ''
    created: AwareDatetime = Field(default_factory=_now)
    updated: AwareDatetime = Field(default_factory=_now)
    pinned: bool = False
    archived: bool = False
    folder: str = ''
    system_prompt: str = ''
    sampling: SamplingSettings = SamplingSettings()
    overflow: Overflow = 'stop'
    messages: dict[str, StoredMessage] = {}
    leaf: str | None = None
    queue: list[StoredMessage] = []

    @classmethod
    def new(cls) -> Self:
        return cls()

    def path(self) -> list[StoredMessage]:
        """The messages from the root to the leaf."""
        return self.path_to(self.leaf)

    def path_to(self, message_id: str | None) -> list[StoredMessage]:
        """The messages from the root to this one; a missing parent or a circle ends it."""
        path: dict[str, StoredMessage] = {}
        at = message_id
        while at in self.messages and at not in path:
            path[at] = self.messages[at]
            at = path[at].parent
        return list(path.values())[::-1]

    def variants(self, message_id: str) -> list[str]:
        """The ids of all messages with the parent of this one, itself among them, in order of creation."""
        parent = self.messages[message_id].parent
        return [message.id for message in self.messages.values() if message.parent == parent]

    def newest_below(self, message_id: str | None) -> str | None:
        """The end of the branch that goes from this message to the newest below it; from the beginning for None."""
        newest = {message.parent: message.id for message in self.messages.values()}  # a later one replaces the earlier
        at, seen = message_id, {message_id}
        while (below := newest.get(at)) and below not in seen:
            at = below
            seen.add(at)
        return at

    def below(self, message_id: str) -> set[str]:
        """The ids of this message and of all that follow it on any branch."""
        children: dict[str | None, list[str]] = {}
        for message in self.messages.values():
            children.setdefault(message.parent, []).append(message.id)
        found, unseen = {message_id}, [message_id]
        while unseen:
            new = [child for child in children.get(unseen.pop(), []) if child not in found]
            found.update(new)
            unseen += new
        return found

    def left_out(self) -> list[str]:
        """The ids of the messages that the last reply on screen was written without."""
        replies = (message for message in reversed(self.path()) if message.role == 'assistant')
        last = next(replies, None)
        return last.left_out if last else []

    def append(self, message: StoredMessage) -> None:
        """Add the message below the leaf and make it the leaf."""
        self.add(message, self.leaf)

    def add(self, message: StoredMessage, parent: str | None) -> None:
        """Add the message below `parent`, beside what is there, and make it the leaf."""
        message.parent = parent
        self.messages[message.id] = message
        self.leaf = message.id
        self.updated = _now()

    @property
    def display_title(self) -> str:
        """The title, or how the first question begins."""
        return self.title or _beginning(self.path())

    def mark_interrupted(self) -> None:
        """Close the replies that were being written when the app ended."""
        for message in self.messages.values():
            if message.role == 'assistant' and message.finish_reason is None:
                message.finish_reason = 'interrupted'


class ChatSummary(BaseModel):
    """A chat as the list shows it; `model` made the last reply on screen."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    id: str
    title: str
    updated: AwareDatetime
    model: str
    message_count: int
    created: AwareDatetime
    pinned: bool = False
    archived: bool = False
    folder: str = ''

    @classmethod
    def of(cls, chat: Chat) -> Self:
        path = chat.path()
        models = (message.model for message in reversed(path) if message.role == 'assistant')
        return cls(
            id=chat.id,
            title=chat.title or _beginning(path),
            updated=chat.updated,
            model=next(models, ''),
            message_count=len(chat.messages),
            created=chat.created,
            pinned=chat.pinned,
            archived=chat.archived,
            folder=chat.folder,
        )


def _beginning(path: list[StoredMessage]) -> str:
    """Return how the first question begins, without the marks of Markdown that stand there."""
    first = next((message.content for message in path if message.role == 'user'), '')
    lines = (_MARKS.sub('', line.strip()).strip() for line in first.split('\n'))
    return next(filter(None, lines), 'New chat')[:60]
