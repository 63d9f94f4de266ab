"""Each chat is a file of its own; the list of all chats is in memory."""

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

from inference.settings import SamplingSettings
from presets.chat import Chat, ChatSummary
from presets.chat_order import ChatOrder, Section
from presets.chat_tables import ChatTables, Snapshot, Snapshots
from presets.errors import DamagedFile, NotFound, StoreError
from presets.folders import Folders, with_parents
from presets.index_file import IndexFile
from presets.migrations import Tables, migrate, salvage
from presets.storage import UNSOUND, Database, Report, Stamp, Writer, decode, explained, on_loop
from presets.trash import TRASH_DAYS, Trash, Trashed

INDEX_LAG = 100
"""Chats that may change before the index is written anew; after a crash, these are read from their files."""

# Not every name is a file of its own: some are ours, the others are devices on Windows.
_ID = re.compile(r'(?!(?i:index|folders|con|prn|aux|nul|com\d|lpt\d)$)[A-Za-z0-9_-]{1,64}')


Entry = tuple[Stamp, ChatSummary]


class ChatStore:
    """The chats of one folder; public methods belong to the event loop, `_on_writer` ones to the writer's thread."""

    def __init__(self, folder: Path, writer: Writer, on_problem: Report) -> None:
        self._folder = folder
        self._trash = Trash(folder / 'trash', writer)
        self._index_file = IndexFile[Entry](folder / 'index.json', Entry)
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._on_problem = on_loop(on_problem)
        self._snapshots = Snapshots()
        self._tables = ChatTables()  # of the writer's thread, as are the next
        self._databases: dict[str, Database] = {}
        self._order = ChatOrder()
        self._stamps: dict[str, Stamp] = {}
        self._not_indexed: set[str] = set()
        self._deleted: set[str] = set()
        self._saved_here: set[str] = set()
        self._subscribers: list[Callable[[], None]] = []
        self._watchers: list[Callable[[str], None]] = []
        self._folders: Folders

    @classmethod
    async def open(cls, folder: Path, writer: Writer, on_problem: Report, *, trash_days: int = TRASH_DAYS) -> Self:
        """List the folder, reading only the chats that changed since the index was written, and thin out the trash."""
        store = cls(folder, writer, on_problem)
        entries, trashed = await writer.run(store._scan_on_writer)
        store._order = ChatOrder([summary for _, summary in entries.values()])
        store._stamps = {chat_id: stamp for chat_id, (stamp, _) in entries.items()}
        store._trash.fill(trashed)
        store._folders = await Folders.open(folder / 'folders.json', writer, on_problem)
        try:
            await store.purge(store._trash.expired(trash_days))
        except StoreError as error:
            on_problem(str(error))
        return store

    # The list

    def summaries(self) -> list[ChatSummary]:
        """What is saved, newest first."""
        return list(self._order.all())

    def section(self, section: Section) -> Sequence[ChatSummary]:
        """One part of the list, newest first; it changes with the list."""
        return self._order.section(section)

    def summary(self, chat_id: str) -> ChatSummary | None:
        """What the list knows of a chat, if there is one."""
        return self._order.get(chat_id)

    def stamp(self, chat_id: str) -> Stamp | None:
        """Which state of its file the list knows."""
        return self._stamps.get(chat_id)

    def folders(self) -> list[str]:
        """Every folder, with chats in it or without, in the order of a tree."""
        return with_parents([*self._folders.paths, *self._order.folders()])

    def trashed(self) -> list[Trashed]:
        """What is in the trash, what was deleted last first."""
        return self._trash.entries()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on the event loop after the list, the folders or the trash changed; returns what ends it."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def watch(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call back with the id of each chat that was saved or is gone; returns what ends it."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    # One chat

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
        await self._writer.run(self._save_on_writer, self._snapshots.take(chat))
        if len(self._not_indexed) > INDEX_LAG:
            await self._save_index()

    async def arrange(self, chat_id: str, **places: bool | str) -> None:
        """Set `pinned`, `archived` or `folder` of a chat that is not open: an open one is saved as it is in memory."""
        _check(chat_id)
        await self._writer.run(self._arrange_on_writer, chat_id, places)

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

    async def purge(self, chat_ids: Sequence[str]) -> None:
        """Remove chats that are in the trash for good; what is not there is left out."""
        chat_ids = [chat_id for chat_id in chat_ids if chat_id in self._trash]
        if chat_ids:
            await self._writer.run(self._trash.purge_on_writer, chat_ids)
            self._trash.remove(chat_ids)
            self._notify()

    # Folders

    async def add_folder(self, path: str) -> None:
        """Let a folder be there even when no chat is in it."""
        await self._folders.add(path)
        self._notify()

    async def rename_folder(self, old: str, new: str) -> None:
        """Give a folder and all below it another path; the chats in it are to be moved after that."""
        await self._folders.rename(old, new)
        self._notify()

    async def remove_folder(self, path: str) -> None:
        """Forget a folder; those below move up, and the chats in it are to be moved after that."""
        await self._folders.remove(path)
        self._notify()

    async def close(self) -> None:
        """Write the index, so that the next start is quick."""
        await self._trash.close()
        if self._not_indexed:
            await self._save_index()

    def read_tables(self, chat_id: str) -> Tables | None:
        """The chat as it is on disk, from any thread and without any change there; None if it cannot be read."""
        return _peek(self._path(chat_id))

    async def _save_index(self) -> None:
        self._not_indexed.clear()
        await self._writer.run(self._save_index_on_writer, self._order.all().copy(), self._stamps.copy())

    def _list(self, entry: Entry) -> None:
        stamp, summary = entry
        before = self._order.get(summary.id)
        self._stamps[summary.id] = stamp
        self._not_indexed.add(summary.id)
        if before != summary:
            self._order.put(summary)
            self._notify()
        self._tell(summary.id)

    def _rearrange(self, chat_id: str, stamp: Stamp, places: dict[str, bool | str]) -> None:
        if summary := self._order.get(chat_id):
            self._list((stamp, summary.model_copy(update=places)))

    def _list_in_trash(self, chat_id: str, stamp: Stamp) -> None:
        if summary := self._order.get(chat_id):
            self._trash.put(Trashed(stamp, summary, datetime.now(UTC)))

    def _unlist(self, chat_id: str) -> None:
        if self._stamps.pop(chat_id, None):
            self._order.remove(chat_id)
            self._not_indexed.add(chat_id)
            self._notify()
            self._tell(chat_id)

    def _notify(self) -> None:
        for callback in self._subscribers.copy():
            callback()

    def _tell(self, chat_id: str) -> None:
        for callback in self._watchers.copy():
            callback(chat_id)

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
                self._save_on_writer(Snapshot.of(chat))
            except StoreError as error:
                failed[chat.id] = error
        return failed

    def _in_trash_on_writer(self, chat_ids: Iterable[str]) -> set[str]:
        trash = self._folder / 'trash'
        with explained(trash, 'read'):
            return {chat_id for chat_id in chat_ids if (trash / f'{chat_id}.json').exists()}

    def _save_on_writer(self, snapshot: Snapshot) -> None:
        file = self._database(snapshot.summary.id).file
        file.write(self._tables.of(snapshot))
        if file.seen:
            self._loop.call_soon_threadsafe(self._list, (file.seen, snapshot.summary))

    def _arrange_on_writer(self, chat_id: str, places: dict[str, bool | str]) -> None:
        file = self._database(chat_id).file
        try:
            tables = file.read()
        finally:
            self._unlist_if_gone(chat_id)
        if tables is None:
            raise NotFound('There is no such chat (any more). Look for it in the list or in the trash.')
        for head in tables['chat'].values():
            head.update(places)
        file.write(tables)
        if file.seen:
            self._loop.call_soon_threadsafe(self._rearrange, chat_id, file.seen, places)

    def _delete_on_writer(self, chat_id: str) -> None:
        try:
            stamp = self._trash.take_on_writer(chat_id, self._folder)
            self._loop.call_soon_threadsafe(self._list_in_trash, chat_id, stamp)
        finally:
            self._unlist_if_gone(chat_id)

    def _unlist_if_gone(self, chat_id: str) -> None:
        if not self._path(chat_id).exists():
            self._databases.pop(chat_id, None)
            self._loop.call_soon_threadsafe(self._unlist, chat_id)

    def _restore_on_writer(self, chat_id: str) -> None:
        self._trash.give_back_on_writer(chat_id, self._folder)
        self._loop.call_soon_threadsafe(self._deleted.discard, chat_id)
        self._loop.call_soon_threadsafe(self._trash.remove, [chat_id])
        if entry := self._read_entry(chat_id):
            self._loop.call_soon_threadsafe(self._list, entry)

    def _save_index_on_writer(self, summaries: list[ChatSummary], stamps: dict[str, Stamp]) -> None:
        self._index_file.write((summary.id, (stamps[summary.id], summary)) for summary in summaries)

    def _scan_on_writer(self) -> tuple[dict[str, Entry], dict[str, Trashed]]:
        indexed, index = self._index_file.read(), dict[str, Entry]()
        with explained(self._folder, 'read'):
            self._trash.folder.mkdir(parents=True, exist_ok=True)
        for chat_id, stamp in _files(self._folder):
            entry = indexed.get(chat_id)
            if not entry or entry[0] != stamp:
                entry = self._read_entry(chat_id)
            if entry:
                index[chat_id] = entry
        if index != indexed:
            self._index_file.write(index.items())
        return index, self._trash.scan_on_writer(_files(self._trash.folder), _summary_of)

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


def _files(folder: Path) -> list[tuple[str, Stamp]]:
    """The chats' files in a folder by id, with their states."""
    with explained(folder, 'read'):
        with os.scandir(folder) as files:
            named = [(file.name.removesuffix('.json'), file) for file in files if file.name.endswith('.json')]
        statuses = [(chat_id, file.stat()) for chat_id, file in named if _ID.fullmatch(chat_id) and file.is_file()]
    return [(chat_id, (status.st_mtime_ns, status.st_size)) for chat_id, status in statuses]


def _summary_of(path: Path) -> ChatSummary:
    """What can be told of a deleted chat; of a damaged one, which stays as it is, only its name."""
    tables = _peek(path)
    try:
        return ChatSummary.of(_from_tables(path.stem, lambda problem: None, tables or {}))
    except ValueError:
        when = datetime.fromtimestamp(0, UTC)
        return ChatSummary(id=path.stem, title=path.stem, updated=when, created=when, model='', message_count=0)


def _peek(path: Path) -> Tables | None:
    """Today's tables of a file that is left as it is; None if it cannot be read."""
    try:
        tables = decode(path.read_bytes())
        migrate(tables)
    except (OSError, *UNSOUND):
        return None
    return tables


def _from_tables(chat_id: str, on_problem: Report, tables: Tables) -> Chat:
    heads = list(tables.get('chat', {}).values())
    if len(heads) != 1:
        raise ValueError('there is no chat in it')
    head = heads[0]
    owner = f'The chat "{head.get("title") or chat_id}"'
    sampling = salvage(SamplingSettings, head.get('sampling', {}), owner, on_problem)
    messages = {message.get('id'): message for message in tables.get('messages', {}).values()}
    return Chat.model_validate({**head, 'id': chat_id, 'sampling': sampling, 'messages': messages})
