"""From chats to what stands in their files; a chat that is saved twice a second is not written out anew each time."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Self

import orjson

from presets.chat import Chat, ChatSummary, StoredMessage
from presets.migrations import Tables
from presets.storage import encode

MOST_CHATS = 4
"""Chats that are remembered as they were saved last."""
_INDENT = b'\n    '
"""Where a message stands in the file, in readable JSON."""

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A chat as it was at one moment: fast to take, and safe to read on another thread.

    Messages are shallow copies of their fields, which suffices because their lists are replaced, not changed.
    """

    head: Fields
    messages: dict[str, Fields]
    summary: ChatSummary

    @classmethod
    def of(cls, chat: Chat, before: Self | None = None) -> Self:
        """Take it; what is as it was `before` is the same object. Under a millisecond for a thousand messages."""
        known = before.messages if before else {}
        messages = {
            key: fields if (fields := known.get(key)) == vars(message) and fields else vars(message).copy()
            for key, message in chat.messages.items()
        }
        return cls(chat.model_dump(mode='json', exclude={'messages'}), messages, ChatSummary.of(chat))


class Snapshots:
    """Takes snapshots of chats; belongs to the thread that changes them."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, Snapshot] = OrderedDict()

    def take(self, chat: Chat) -> Snapshot:
        """Return the chat as it is now."""
        snapshot = self._last[chat.id] = Snapshot.of(chat, self._last.pop(chat.id, None))
        if len(self._last) > MOST_CHATS:
            self._last.popitem(last=False)
        return snapshot


class ChatTables:
    """Makes tables of snapshots, and remembers what it wrote; belongs to the thread that writes."""

    def __init__(self) -> None:
        self._written: OrderedDict[str, dict[str, tuple[Fields, Any]]] = OrderedDict()

    def of(self, snapshot: Snapshot) -> Tables:
        """Return tables that can only be encoded: their rows are JSON already."""
        before = self._written.pop(snapshot.summary.id, {})
        written = self._written[snapshot.summary.id] = {}
        for key, fields in snapshot.messages.items():
            known = before.get(key)
            written[key] = known if known and known[0] is fields else (fields, _row_of_message(fields))
        if len(self._written) > MOST_CHATS:
            self._written.popitem(last=False)
        rows: dict[str, Any] = {str(number): row for number, (_, row) in enumerate(written.values(), 1)}
        return {'chat': {'1': _row(snapshot.head)}, 'messages': rows}


def _row_of_message(fields: Fields) -> Any:
    return _row(StoredMessage.model_construct(**fields).model_dump(mode='json'))


def _row(value: Fields) -> Any:
    # No line breaks but those between fields: within texts they are escaped.
    return orjson.Fragment(encode(value).replace(b'\n', _INDENT))
