"""Finds chats by their titles and everything said in them.

The texts lie in an index that follows the chats on a thread of its own; the chats remain the truth.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, TypeVarTuple

from loguru import logger

from inference.chat import clean_text
from presets.chat import ChatSummary
from presets.chats import ChatStore
from presets.migrations import Tables
from presets.search_index import SearchIndex, in_title, is_title, numbers
from presets.search_text import Query, Span, Term, marked, parse, snippet
from presets.storage import Stamp

CHATS = 20
"""Chats that are told at first."""
MESSAGES = 3
"""Messages that are told of each chat, the newest first."""
QUIET_SECONDS = 1.0
"""How long a chat must not have been saved before it is read for the index."""
LATEST_SECONDS = 10.0
"""How long a chat that is saved again and again stays out of the index."""
BATCH = 20
"""Chats that are read before the next search has its turn."""

FAILURES = 2
"""After so many the index is kept in memory."""

T = TypeVar('T')
Ts = TypeVarTuple('Ts')


@dataclass(frozen=True)
class MessageHit:
    """A message with something that was looked for; the words around it, in one line."""

    id: str
    snippet: tuple[Span, ...]


@dataclass(frozen=True)
class ChatHit:
    """A chat that was found, with its newest hits; `count` messages were found in it."""

    chat: ChatSummary
    title: tuple[Span, ...]
    messages: tuple[MessageHit, ...] = ()
    count: int = 0


@dataclass(frozen=True)
class Found:
    """The first chats that were found, of `total`; `unread` chats are not in the index yet.

    `is_slow` says that this Python's SQLite has no full-text index, so that all texts are looked through.
    """

    text: str
    chats: tuple[ChatHit, ...] = ()
    total: int = 0
    unread: int = 0
    is_slow: bool = False


class ChatSearch:
    """Follows a store. Public methods belong to the event loop, `_on_thread` ones to the index's thread."""

    def __init__(self, path: Path, store: ChatStore) -> None:
        self._path, self._store = path, store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix='search')
        self._loop = asyncio.get_running_loop()
        self._index: SearchIndex
        self._failures = 0
        self._waiting: dict[str, tuple[float, float]] = {}  # when first and last saved, since it was read
        self._wake, self._settled = asyncio.Event(), asyncio.Event()
        self._keeping_up: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] = lambda: None

    @classmethod
    async def open(cls, path: Path, store: ChatStore) -> Self:
        """Open the index beside the chats and begin to read what changed since it was written."""
        search = cls(path, store)
        await search._run(search._open_on_thread, path)
        search._unwatch = store.watch(search._note)
        await search._catch_up()
        search._keeping_up = asyncio.create_task(search._keep_up(), name='search index')
        return search

    async def find(self, text: str, limit: int = CHATS) -> Found:
        """Return the chats with every word of `text`: those first that have it in the title, then the newest."""
        query = parse(clean_text(text))
        try:
            hits, total = await self._run(self._find_on_thread, query, self._store.summaries(), limit)
        except sqlite3.Error as error:
            logger.warning('The search index is made anew: {}', error)
            await self._start_over()
            return Found(text, unread=len(self._waiting))
        return Found(text, tuple(hits), total, len(self._waiting), is_slow=not self._index.has_words)

    async def up_to_date(self) -> None:
        """Return when every chat that was saved until now can be found."""
        for chat_id in self._waiting:
            self._waiting[chat_id] = (0.0, 0.0)
        self._wake.set()
        await self._settled.wait()

    async def close(self) -> None:
        """Stop following the store; what is not read yet is read at the next start."""
        self._unwatch()
        if self._keeping_up:
            self._keeping_up.cancel()
            await asyncio.wait([self._keeping_up])
        await self._run(self._index.close)
        self._thread.shutdown()

    # Following the store

    def _note(self, chat_id: str) -> None:
        now = self._loop.time()
        first, _ = self._waiting.get(chat_id, (now, now))
        self._waiting[chat_id] = (first, now)
        self._settled.clear()
        self._wake.set()

    async def _catch_up(self) -> None:
        """Let every chat wait whose file is not as the index has it, the newest first."""
        known = await self._run(self._index.stamps)
        chats = [chat.id for chat in self._store.summaries()]
        gone = known.keys() - set(chats)
        self._waiting = {
            chat_id: (0.0, 0.0) for chat_id in [*gone, *chats] if known.get(chat_id) != self._store.stamp(chat_id)
        }
        self._wake.set()

    async def _keep_up(self) -> None:
        while True:
            await self._wake.wait()
            if batch := self._due():
                await self._read(batch)
            elif self._waiting:
                await asyncio.sleep(QUIET_SECONDS / 4)
            else:
                self._wake.clear()
                self._settled.set()

    def _due(self) -> list[str]:
        now = self._loop.time()
        due = (
            chat_id
            for chat_id, (first, last) in self._waiting.items()
            if now - last >= QUIET_SECONDS or now - first >= LATEST_SECONDS
        )
        return [chat_id for chat_id, _ in zip(due, range(BATCH), strict=False)]

    async def _read(self, batch: list[str]) -> None:
        before = {chat_id: self._waiting[chat_id] for chat_id in batch}
        states = [(chat_id, self._store.stamp(chat_id), self._store.summary(chat_id)) for chat_id in batch]
        try:
            await self._run(self._read_on_thread, states)
        except sqlite3.Error:
            await self._start_over()
            return
        for chat_id, times in before.items():
            if self._waiting.get(chat_id) == times:  # else it was saved meanwhile
                del self._waiting[chat_id]

    async def _start_over(self) -> None:
        """Make the index anew; where its file fails a second time, in memory."""
        self._failures += 1
        await self._run(self._index.remove_file)
        await self._run(self._open_on_thread, self._path if self._failures < FAILURES else None)
        await self._catch_up()

    def _open_on_thread(self, path: Path | None) -> None:
        try:
            self._index = SearchIndex(path)
        except sqlite3.Error:
            self._index = SearchIndex(None)

    def _read_on_thread(self, states: list[tuple[str, Stamp | None, ChatSummary | None]]) -> None:
        for chat_id, stamp, summary in states:
            tables = self._store.read_tables(chat_id) if stamp and summary else None
            if stamp and summary and tables:
                self._index.put(chat_id, stamp, {'': clean_text(summary.title), **_texts(tables)})
            else:
                self._index.remove(chat_id)
        self._index.commit()

    def _find_on_thread(self, query: Query, chats: list[ChatSummary], limit: int) -> tuple[list[ChatHit], int]:
        chats = [chat for chat in chats if _is_wanted(chat, query)]
        if not query.terms:
            chats = chats if query.has_filter else []
            return [ChatHit(chat, (Span(chat.title),)) for chat in chats[:limit]], len(chats)
        found = [self._index.matches(term) for term in query.terms]
        chats = [chat for chat in chats if all(chat.id in matches for matches in found)]
        chats.sort(key=lambda chat: not all(in_title(matches[chat.id]) for matches in found))
        hits = [self._hit(chat, query.terms, [matches[chat.id] for matches in found]) for chat in chats[:limit]]
        return hits, len(chats)

    def _hit(self, chat: ChatSummary, terms: Sequence[Term], found: list[str]) -> ChatHit:
        """Return a chat with the messages that have the most of the terms in them."""
        scores = Counter(number for matches in found for number in numbers(matches) if not is_title(number))
        best = max(scores.values(), default=0)
        places = sorted((number for number, score in scores.items() if score == best), reverse=True)
        texts = [self._index.text(number) for number in places[:MESSAGES]]
        messages = tuple(MessageHit(message_id, snippet(text, terms)) for message_id, text in texts)
        return ChatHit(chat, marked(chat.title, terms), messages, len(places))

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.shield(self._loop.run_in_executor(self._thread, function, *args))


def _texts(tables: Tables) -> dict[str, str]:
    """Return what is said in a chat by message id: the text and what is attached to it."""
    return {
        str(message.get('id')): clean_text('\n'.join([str(message.get('content', '')), *_attached(message)]))
        for message in tables.get('messages', {}).values()
    }


def _attached(message: dict[str, Any]) -> list[str]:
    files = message.get('attachments') or []
    return [f'{file.get("name", "")}\n{file.get("text", "")}' for file in files if isinstance(file, dict)]


def _is_wanted(chat: ChatSummary, query: Query) -> bool:
    """Say whether a chat passes the filters; archived ones are only found when they are asked for."""
    return (
        chat.archived == query.archived
        and (chat.pinned or not query.pinned)
        and query.folder.casefold() in chat.folder.casefold()
        and query.model.casefold() in chat.model.casefold()
    )
