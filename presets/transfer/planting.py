"""From the messages of another app to the tree of a chat."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from presets.chat import Attachment, Chat, StoredMessage
from presets.transfer.fields import new_id


@dataclass(frozen=True, slots=True)
class Seed:
    """A message with its name in the source and that of the message it follows."""

    key: str
    parent: str | None
    message: StoredMessage


@dataclass(frozen=True, slots=True)
class Reading:
    """A chat as it was found in a file, and how many parts of it, such as pictures, cannot be taken over."""

    chat: Chat
    left_out: int = 0


def plant(chat: Chat, seeds: Sequence[Seed], leaf: str | None) -> None:
    """Give the chat its messages, parents first and siblings in their order; circles and lost parents make a root."""
    known = {seed.key: seed for seed in seeds}
    children: dict[str | None, list[Seed]] = {}
    for seed in seeds:
        children.setdefault(seed.parent if seed.parent in known else None, []).append(seed)
    for root in [*children.get(None, []), *seeds]:  # only what lies in a circle is left for the second part
        waiting = [root]
        while waiting:
            seed = waiting.pop()
            _add(chat, seed)
            waiting += [
                child for child in reversed(children.get(seed.key, [])) if _id(chat, child.key) not in chat.messages
            ]
    chat.leaf = _id(chat, leaf) if leaf in known else _newest(chat)


def date(chat: Chat, created: datetime | None, updated: datetime | None) -> None:
    """Set when the chat was begun and went on, from its messages where the source does not say."""
    dates = [message.created for message in chat.messages.values() if message.created > _UNKNOWN]
    chat.created = created or min(dates, default=_UNKNOWN)
    chat.updated = updated or max([*dates, chat.created])
    for message in chat.messages.values():
        message.created = max(message.created, chat.created) if message.created == _UNKNOWN else message.created


def moment(found: datetime | None) -> datetime:
    """Return the time of a message, or one that `date` replaces."""
    return found or _UNKNOWN


def attachment(name: str, content: str, *, media_type: str = 'text/plain', size: int = 0) -> Attachment:
    """Return a file that came with a message."""
    return Attachment(id=new_id(name, content), name=name, media_type=media_type, size=size, text=content)


_UNKNOWN = datetime(1970, 1, 2, tzinfo=UTC)  # a day later than the first: some systems cannot show what is before


def _add(chat: Chat, seed: Seed) -> None:
    message = seed.message
    message.id = _id(chat, seed.key)
    if message.id in chat.messages:
        return
    parent = _id(chat, seed.parent) if seed.parent is not None else None
    message.parent = parent if parent in chat.messages else None
    chat.messages[message.id] = message


def _id(chat: Chat, key: str | None) -> str:
    return new_id(chat.id, key or '')


def _newest(chat: Chat) -> str | None:
    """Return the end of the branch that goes from the last root to the last message each."""
    last = {message.parent: message.id for message in chat.messages.values()}
    at = last.get(None)
    while at in last:
        at = last[at]
    return at
