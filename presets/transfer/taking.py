"""From what lies ready to what is saved: nothing twice, nothing over something else, and every failure told."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from presets.chat import Chat
from presets.chats import ChatStore
from presets.errors import StoreError
from presets.transfer.fields import new_id
from presets.transfer.staged import Skipped, Staged

BATCH = 20
"""Chats that are saved before others who save get their turn."""
MOST_TWINS = 100

Progress = Callable[[int], object]


@dataclass(slots=True)
class Summary:
    """How an import ended: ids of the chats that were taken, how many were there already, what was not taken."""

    taken: list[str] = field(default_factory=list)
    there: int = 0
    skipped: list[Skipped] = field(default_factory=list)


async def take(store: ChatStore, staged: Staged, places: Sequence[int], progress: Progress) -> Summary:
    """Save the chats of these entries; calls `progress` with how many are done."""
    summary = Summary(skipped=list(staged.skipped))
    known = {chat.id for chat in store.summaries()}
    found = staged.chats(places)
    done = 0
    while batch := await asyncio.to_thread(_next, found):
        summary.skipped += [it for it in batch if isinstance(it, Skipped)]
        await _save(store, [it for it in batch if isinstance(it, Chat)], known, summary)
        done += len(batch)
        progress(done)
    return summary


async def _save(store: ChatStore, chats: list[Chat], known: set[str], summary: Summary) -> None:
    new: dict[str, Chat] = {}
    for chat in chats:
        if await _find_place(store, chat, new, known):
            new[chat.id] = chat
        else:
            summary.there += 1
    failed = await store.add(list(new.values()))
    summary.skipped += [Skipped(new[chat_id].display_title, str(error)) for chat_id, error in failed.items()]
    summary.taken += [chat_id for chat_id in new if chat_id not in failed]
    known |= new.keys()


async def _find_place(store: ChatStore, chat: Chat, new: dict[str, Chat], known: set[str]) -> bool:
    """Give the chat an id that is free, always the same one for the same content; False if it is there already."""
    content = await asyncio.to_thread(digest, chat)
    for number in range(MOST_TWINS):
        if number:  # what has this id is another chat: this one gets one that comes of both
            chat.id = new_id(chat.id, content, str(number))
        if chat.id in new or chat.id in known:
            other = new.get(chat.id) or await _load(store, chat.id)
            if other and await asyncio.to_thread(digest, other) == content:
                return False
        elif not await store.in_trash([chat.id]):  # a copy in the trash stays there, for itself
            return True
    raise AssertionError('ids that come of a hash do not repeat')


async def _load(store: ChatStore, chat_id: str) -> Chat | None:
    try:
        return await store.load(chat_id)
    except StoreError:
        return None


def digest(chat: Chat) -> str:
    """Return what tells one conversation from another: its messages and its system prompt, not where it is kept."""
    messages = [
        [it.id, it.parent, it.role, it.content, it.reasoning, [(file.name, file.text) for file in it.attachments]]
        for it in chat.messages.values()
    ]
    content: Any = [chat.system_prompt, sorted(messages, key=lambda message: message[0])]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()


def _next(found: Iterable[Chat | Skipped]) -> list[Chat | Skipped]:
    return list(islice(found, BATCH))
