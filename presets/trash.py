"""The chats that were deleted: their files, when that was, and how they come back or leave for good."""

import asyncio
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from presets.chat import ChatSummary
from presets.errors import NotFound
from presets.index_file import IndexFile
from presets.storage import Stamp, Writer, explained, move, stamp_of

TRASH_DAYS = 30
"""How long a chat stays in the trash before the app removes it at a start."""
SAVE_SECONDS = 2.0
"""How long more deletions are waited for before their dates are written."""


class Trashed(NamedTuple):
    """A chat in the trash; `deleted` is when it came there, or when it was first seen there."""

    stamp: Stamp
    summary: ChatSummary
    deleted: datetime

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.stamp[1]


class Trash:
    """A folder with the files of deleted chats; `_on_writer` methods belong to the writer's thread."""

    def __init__(self, folder: Path, writer: Writer) -> None:
        self.folder = folder
        self._writer = writer
        self._index = IndexFile[Trashed](folder / 'index.json', Trashed)
        self._entries: dict[str, Trashed] = {}
        self._saving: asyncio.TimerHandle | None = None
        self._saver: asyncio.Task[None] | None = None

    def __contains__(self, chat_id: str) -> bool:
        return chat_id in self._entries

    def entries(self) -> list[Trashed]:
        """Return what is in the trash, what was deleted last first."""
        return sorted(self._entries.values(), key=lambda it: it.deleted, reverse=True)

    def fill(self, entries: dict[str, Trashed]) -> None:
        """Take what was found at the start."""
        self._entries = entries

    def put(self, entry: Trashed) -> None:
        """Note that a chat has come."""
        self._entries[entry.summary.id] = entry
        self._save_soon()

    def remove(self, chat_ids: Iterable[str]) -> None:
        """Note that chats have left."""
        for chat_id in chat_ids:
            self._entries.pop(chat_id, None)
        self._save_soon()

    def expired(self, days: int) -> list[str]:
        """Return the chats that have been there for more than `days`."""
        limit = datetime.now(UTC) - timedelta(days=days)
        return [chat_id for chat_id, entry in self._entries.items() if entry.deleted < limit]

    async def close(self) -> None:
        """Write the dates that are not written yet."""
        if self._saving:
            self._saving.cancel()
            await self._save()
        if self._saver:
            await self._saver

    def scan_on_writer(self, files: list[tuple[str, Stamp]], read: Callable[[Path], ChatSummary]) -> dict[str, Trashed]:
        """Return what is in the folder. A file that nothing is known of came now: none is removed too early."""
        known, entries, now = self._index.read(), dict[str, Trashed](), datetime.now(UTC)
        for chat_id, stamp in files:
            entry = known.get(chat_id)
            if entry and entry.stamp == stamp:
                entries[chat_id] = entry
            else:
                deleted = entry.deleted if entry else now
                entries[chat_id] = Trashed(stamp, read(self.folder / f'{chat_id}.json'), deleted)
        if entries != known:
            self._index.write(entries.items())
        return entries

    def take_on_writer(self, chat_id: str, source: Path) -> Stamp:
        """Move a chat's files here; returns which state of the file that is."""
        move_chat(chat_id, source, self.folder)
        return stamp_of(self.folder / f'{chat_id}.json') or (0, 0)

    def give_back_on_writer(self, chat_id: str, target: Path) -> None:
        """Move a chat's files out of here."""
        move_chat(chat_id, self.folder, target)

    def purge_on_writer(self, chat_ids: list[str]) -> None:
        """Remove the chats' files, and the backups and older versions of them, for good."""
        wanted = {f'{chat_id}.json' for chat_id in chat_ids}
        with explained(self.folder, 'emptied'), os.scandir(self.folder) as files:
            paths = [Path(file.path) for file in files if _chat_file(file.name) in wanted and file.is_file()]
            for path in paths:
                path.unlink(missing_ok=True)

    def _save_soon(self) -> None:
        if not self._saving:
            self._saving = asyncio.get_running_loop().call_later(SAVE_SECONDS, self._start_saving)

    def _start_saving(self) -> None:
        self._saver = asyncio.create_task(self._save())

    async def _save(self) -> None:
        self._saving = None
        await self._writer.run(self._index.write, self._entries.copy().items())


def move_chat(chat_id: str, source: Path, target: Path) -> None:
    """Move a chat's file and its backup; NotFound if there is none."""
    name = f'{chat_id}.json'
    if not (source / name).exists():
        raise NotFound('There is no such chat (any more). Look for it in the list or in the trash.')
    for part in (name, f'{name}.bak'):
        if (source / part).exists():
            move(source / part, target / part)


def _chat_file(name: str) -> str:
    """Return the name without what the app puts behind it: .bak, .tmp, .damaged-…, .v3."""
    before, dot_json, _ = name.partition('.json')
    return f'{before}{dot_json}'
