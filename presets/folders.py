"""Folders for chats. A chat names its folder itself; this file keeps those in which there is no chat (any more)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from inference.chat import clean_text
from presets.errors import StoreError
from presets.migrations import Tables
from presets.storage import Database, Report, Writer, on_loop

LONGEST_NAME = 60
DEEPEST = 8
"""Levels of folders in each other."""


class Folders:
    """Paths of names, such as 'Work/Taxes'. Belongs to the event loop; its file to the writer's thread."""

    def __init__(self, database: Database, writer: Writer, paths: set[str]) -> None:
        self._database, self._writer = database, writer
        self.paths = paths

    @classmethod
    async def open(cls, path: Path, writer: Writer, on_problem: Report) -> Self:
        """Read the file; a damaged one is reported, set aside, and costs no more than the empty folders."""
        database = Database(path, on_loop(on_problem))
        return cls(database, writer, await writer.run(_read, database))

    async def add(self, path: str) -> None:
        """Let a folder be there even when no chat is in it."""
        if path and path not in self.paths:
            await self._save(self.paths | {path})

    async def rename(self, old: str, new: str) -> None:
        """Give a folder, and with it all below, another path; with '' as the new one, they move to the top."""
        moved = {renamed(path, old, new) for path in self.paths | {old}}
        await self._save(moved - {''})

    async def remove(self, path: str) -> None:
        """Forget a folder; what is below moves up."""
        up = parent(path)
        kept = {renamed(each, path, up) if each != path else '' for each in self.paths}
        await self._save(kept - {''})

    async def _save(self, paths: set[str]) -> None:
        before, self.paths = self.paths, paths
        tables = {'folders': {str(number): {'path': path} for number, path in enumerate(sorted(paths), 1)}}
        try:
            await self._writer.run(self._database.file.write, tables)
        except StoreError:
            self.paths = before
            raise


def folder_path(text: str) -> str:
    """Return the path that a person means: names without spaces around them, none empty, none endless."""
    names = (' '.join(name.split())[:LONGEST_NAME].strip() for name in clean_text(text).split('/'))
    return '/'.join([name for name in names if name.strip('.')][:DEEPEST])


def is_within(path: str, folder: str) -> bool:
    """Say whether a path is the folder or lies in it."""
    return path == folder or path.startswith(f'{folder}/')


def renamed(path: str, old: str, new: str) -> str:
    """Return the path after the folder `old` has become `new`."""
    if not is_within(path, old):
        return path
    return f'{new}{path.removeprefix(old)}'.strip('/')


def parent(path: str) -> str:
    """Return the folder in which a folder lies, '' for one at the top."""
    return path.rpartition('/')[0]


def with_parents(paths: Iterable[str]) -> list[str]:
    """Return the paths and the folders around them, in the order of a tree."""
    everything = set(paths)
    for path in tuple(everything):
        while path := parent(path):
            everything.add(path)
    return sorted(everything, key=lambda path: ([name.casefold() for name in path.split('/')], path))


def _read(database: Database) -> set[str]:
    try:
        paths = database.file.load(_paths)
    except StoreError:
        return set()  # told when it was set aside
    return paths or set()


def _paths(tables: Tables) -> set[str]:
    return {folder_path(str(record['path'])) for record in tables.get('folders', {}).values()} - {''}
