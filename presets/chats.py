"""Each chat is a file of its own; the list of all chats is in memory."""

import asyncio
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from inference.settings import SamplingSettings
from presets.chat import Chat, ChatSummary
from presets.errors import DamagedFile, NotFound, StoreError
from presets.migrations import Tables, salvage
from presets.storage import Database, Report, Stamp, Writer, encode, explained, move, on_loop, write_file

INDEX_SECONDS = 30.0

# Not every name is a file of its own: `index` is ours, the others are devices on Windows.
_ID = re.compile(r'(?!(?i:index|con|prn|aux|nul|com\d|lpt\d)$)[A-Za-z0-9_-]{1,64}')


Entry = tuple[Stamp, ChatSummary]
Index = dict[str, Entry]
_INDEX = TypeAdapter(Index)


class ChatStore:
    """The chats of one folder; public methods belong to the event loop, `_on_writer` ones to the writer's thread."""

    def __init__(self, folder: Path, writer: Writer, on_problem: Report) -> None:
        self._folder = folder
        self._trash = folder / 'trash'
        self._index_path = folder / 'index.json'
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._on_problem = on_loop(on_problem)
        self._databases: dict[str, Database] = {}  # of the writer's thread
        self._index: Index = {}
        self._index_saved = self._loop.time()
        self._index_changed = False
        self._deleted: set[str] = set()
        self._saved_here: set[str] = set()
        self._subscribers: list[Callable[[], None]] = []

    @classmethod
    async def open(cls, folder: Path, writer: Writer, on_problem: Report) -> Self:
        """List the folder, reading only the chats that changed since the index was written."""
        store = cls(folder, writer, on_problem)
        store._index = await writer.run(store._scan_on_writer)
        return store

    def summaries(self) -> list[ChatSummary]:
        """What is saved, newest first."""
        return sorted((summary for _, summary in self._index.values()), key=lambda it: it.updated, reverse=True)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on the event loop after the summaries changed; returns what ends it."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    async def load(self, chat_id: str) -> Chat:
        """Read a chat; replies without an end that this process did not save itself are marked as interrupted."""
        _check(chat_id)
        chat = await self._writer.run(self._load_on_writer, chat_id)
        if chat_id not in self._saved_here:
            chat.mark_interrupted()
        return chat

    async def add(self, chats: Iterable[Chat]) -> dict[str, StoreError]:
        """Save new chats that nobody else holds, without work on the event loop; returns what failed, by id."""
        return await self._writer.run(self._add_on_writer, chats)

    async def in_trash(self, chat_ids: Iterable[str]) -> set[str]:
        """Which of these lie in the trash."""
        return await self._writer.run(self._in_trash_on_writer, chat_ids)

    async def save(self, chat: Chat) -> None:
        """Put the chat on disk as it is now; saves arrive there in the order of their calls."""
        _check(chat.id)
        if chat.id in self._deleted:
            raise NotFound('This chat was deleted. Restore it from the trash to go on with it.')
        self._saved_here.add(chat.id)
        await self._writer.run(self._save_on_writer, _to_tables(chat), ChatSummary.of(chat))
        if self._loop.time() - self._index_saved > INDEX_SECONDS:
            await self._save_index()

    async def delete(self, chat_id: str) -> None:
        """Move the chat to the trash; a reply that still runs cannot bring it back."""
        _check(chat_id)
        if chat_id in self._deleted:
            raise NotFound('This chat is in the trash already.')
        self._deleted.add(chat_id)
        self._saved_here.discard(chat_id)
        try:
            await self._writer.run(self._delete_on_writer, chat_id)
        except StoreError:
            self._deleted.discard(chat_id)
            raise

    async def restore(self, chat_id: str) -> None:
        """Take the chat back from the trash."""
        _check(chat_id)
        await self._writer.run(self._restore_on_writer, chat_id)

    async def close(self) -> None:
        """Write the index, so that the next start is quick."""
        if self._index_changed:
            await self._save_index()

    async def _save_index(self) -> None:
        self._index_changed = False
        self._index_saved = self._loop.time()
        await self._writer.run(self._save_index_on_writer, self._index.copy())

    def _list(self, entry: Entry) -> None:
        summary = entry[1]
        before = self._index.get(summary.id)
        self._index[summary.id] = entry
        self._index_changed = True
        if not before or before[1] != summary:
            self._notify()

    def _unlist(self, chat_id: str) -> None:
        if self._index.pop(chat_id, None):
            self._index_changed = True
            self._notify()

    def _notify(self) -> None:
        for callback in self._subscribers.copy():
            callback()

    def _load_on_writer(self, chat_id: str) -> Chat:
        try:
            chat = self._database(chat_id).file.load(partial(_from_tables, chat_id, self._on_problem))
        finally:
            self._unlist_if_gone(chat_id)
        if chat is None:
            raise NotFound('There is no such chat (any more). Look for it in the list or in the trash.')
        return chat

    def _add_on_writer(self, chats: Iterable[Chat]) -> dict[str, StoreError]:
        failed: dict[str, StoreError] = {}
        for chat in chats:
            try:
                _check(chat.id)
                self._save_on_writer(_to_tables(chat), ChatSummary.of(chat))
            except StoreError as error:
                failed[chat.id] = error
        return failed

    def _in_trash_on_writer(self, chat_ids: Iterable[str]) -> set[str]:
        trash = self._folder / 'trash'
        with explained(trash, 'read'):
            return {chat_id for chat_id in chat_ids if (trash / f'{chat_id}.json').exists()}

    def _save_on_writer(self, tables: Tables, summary: ChatSummary) -> None:
        file = self._database(summary.id).file
        file.write(tables)
        if file.seen:
            self._loop.call_soon_threadsafe(self._list, (file.seen, summary))

    def _delete_on_writer(self, chat_id: str) -> None:
        try:
            _move(chat_id, self._folder, self._trash)
        finally:
            self._unlist_if_gone(chat_id)

    def _unlist_if_gone(self, chat_id: str) -> None:
        if not self._path(chat_id).exists():
            self._databases.pop(chat_id, None)
            self._loop.call_soon_threadsafe(self._unlist, chat_id)

    def _restore_on_writer(self, chat_id: str) -> None:
        _move(chat_id, self._trash, self._folder)
        self._loop.call_soon_threadsafe(self._deleted.discard, chat_id)
        if entry := self._read_entry(chat_id):
            self._loop.call_soon_threadsafe(self._list, entry)

    def _scan_on_writer(self) -> Index:
        indexed, index = self._read_index(), Index()
        for chat_id, stamp in self._files():
            entry = indexed.get(chat_id)
            if not entry or entry[0] != stamp:
                entry = self._read_entry(chat_id)
            if entry:
                index[chat_id] = entry
        if index != indexed:
            self._save_index_on_writer(index)
        return index

    def _files(self) -> list[tuple[str, Stamp]]:
        with explained(self._folder, 'read'):
            self._trash.mkdir(parents=True, exist_ok=True)
            with os.scandir(self._folder) as files:
                named = [(file.name.removesuffix('.json'), file) for file in files if file.name.endswith('.json')]
            statuses = [(chat_id, file.stat()) for chat_id, file in named if _ID.fullmatch(chat_id) and file.is_file()]
        return [(chat_id, (status.st_mtime_ns, status.st_size)) for chat_id, status in statuses]

    def _read_entry(self, chat_id: str) -> Entry | None:
        """What the list needs of a file; one that cannot be read is reported and left out."""
        file = Database(self._path(chat_id), self._on_problem).file
        try:
            chat = file.load(partial(_from_tables, chat_id, lambda problem: None))  # loading reports settings
        except DamagedFile:
            return None  # reported when it was set aside
        except StoreError as error:
            self._on_problem(str(error))
            return None
        return (file.seen, ChatSummary.of(chat)) if chat and file.seen else None

    def _read_index(self) -> Index:
        try:
            return _INDEX.validate_json(self._index_path.read_bytes())
        except (OSError, ValueError):
            return {}  # it is only a cache

    def _save_index_on_writer(self, index: Index) -> None:
        with suppress(StoreError):  # it is only a cache
            write_file(self._index_path, encode(_INDEX.dump_python(index, mode='json')))

    def _database(self, chat_id: str) -> Database:
        if chat_id not in self._databases:
            self._databases[chat_id] = Database(self._path(chat_id), self._on_problem)
        return self._databases[chat_id]

    def _path(self, chat_id: str) -> Path:
        return self._folder / f'{chat_id}.json'


def is_valid_id(chat_id: str) -> bool:
    """Whether a chat may have this id: nothing but a plain name becomes part of a path."""
    return _ID.fullmatch(chat_id) is not None


def _check(chat_id: str) -> None:
    if not is_valid_id(chat_id):  # an id may come from a URL
        raise NotFound('There is no such chat. Look for it in the list.')


def _move(chat_id: str, source: Path, target: Path) -> None:
    name = f'{chat_id}.json'
    if not (source / name).exists():
        raise NotFound('There is no such chat (any more). Look for it in the list or in the trash.')
    for part in (name, f'{name}.bak'):
        if (source / part).exists():
            move(source / part, target / part)


def _to_tables(chat: Chat) -> Tables:
    head = chat.model_dump(mode='json')
    messages = head.pop('messages').values()
    return {'chat': {'1': head}, 'messages': {str(number): message for number, message in enumerate(messages, 1)}}


def _from_tables(chat_id: str, on_problem: Report, tables: Tables) -> Chat:
    heads = list(tables.get('chat', {}).values())
    if len(heads) != 1:
        raise ValueError('there is no chat in it')
    head = heads[0]
    owner = f'The chat "{head.get("title") or chat_id}"'
    sampling = salvage(SamplingSettings, head.get('sampling', {}), owner, on_problem)
    messages = {message.get('id'): message for message in tables.get('messages', {}).values()}
    return Chat.model_validate({**head, 'id': chat_id, 'sampling': sampling, 'messages': messages})
