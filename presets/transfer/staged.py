"""Files that were given for an import: what is in them, before anything is taken. All is for a worker thread."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from presets.chat import Chat
from presets.errors import InvalidImport
from presets.transfer.archive import Unpacked, is_zip, unpack
from presets.transfer.formats import Source
from presets.transfer.source import UNKNOWN, Failed, Found, SourceFile
from presets.transfer.spans import Span

MOST_TOLD = 200
"""Chats of a file that are named when they cannot be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A chat that can be taken."""

    title: str
    source: Source
    messages: int
    updated: datetime
    left_out: int
    """Parts of it, such as pictures, that cannot be taken over."""
    file: SourceFile
    span: Span


class Skipped(NamedTuple):
    """A chat that cannot be taken, or a file without any, and why."""

    chat: str
    reason: str


@dataclass(slots=True)
class Staged:
    """What lies ready in `folder`, which goes with it."""

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    files: int = 0

    def add(self, path: Path, name: str) -> None:
        """Look at one more file, which lies in the folder. Raises InvalidImport if nothing in it can be taken."""
        self.files += 1
        if is_zip(path):
            entries, skipped = self._look_into_zip(path)
        else:
            entries, skipped = _look(SourceFile(path, name))
        if not entries:
            raise InvalidImport(_nothing(name, skipped))
        self.entries += entries
        self.skipped += skipped

    def chats(self, places: Sequence[int]) -> Iterator[Chat | Skipped]:
        """Yield the chats of these entries."""
        for place in places:
            entry = self.entries[place]
            try:
                yield entry.file.read(entry.span).chat
            except (ValueError, OSError) as error:
                yield Skipped(entry.title, str(error))

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _look_into_zip(self, path: Path) -> tuple[list[Entry], list[Skipped]]:
        entries: list[Entry] = []
        skipped: list[Skipped] = []
        into = self.folder / f'unpacked-{self.files}'
        into.mkdir()
        for unpacked in unpack(path, into):
            found, failed = _look_at_member(unpacked)
            entries += found
            # Exports have other files beside the chats; only those that are chats and cannot be read are told of.
            skipped += failed
        return entries, skipped


def _look_at_member(unpacked: Unpacked) -> tuple[list[Entry], list[Skipped]]:
    if not unpacked.path:
        return [], [Skipped(unpacked.name, unpacked.problem)]
    file = SourceFile(unpacked.path, unpacked.name, unpacked.folder)
    try:
        entries, skipped = _look(file)
    except InvalidImport as error:
        return [], [Skipped(unpacked.name, str(error))]
    if not entries:
        skipped = [failed for failed in skipped if failed.reason != UNKNOWN]
    return entries, skipped


def _look(file: SourceFile) -> tuple[list[Entry], list[Skipped]]:
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    more = 0
    try:
        for found in file.chats():
            match found:
                case Found(span=span, source=source, reading=reading):
                    chat = reading.chat
                    count = len(chat.messages)
                    entries.append(Entry(chat.display_title, source, count, chat.updated, reading.left_out, file, span))
                case Failed(chat=chat_name, reason=reason):
                    more += len(skipped) >= MOST_TOLD
                    skipped += [Skipped(chat_name, reason)] if len(skipped) < MOST_TOLD else []
    except ValueError as error:
        raise InvalidImport(f'{file.name} cannot be imported: {error}.') from None
    except OSError as error:
        raise InvalidImport(f'{file.name} cannot be read: {error.strerror or error}.') from None
    return entries, [*skipped, Skipped('…', f'{more:,} more in {file.name}')] if more else skipped


def _nothing(name: str, skipped: list[Skipped]) -> str:
    kinds = 'exports of this app, ChatGPT and Open WebUI, and conversation files of LM Studio'
    why = f'{skipped[0].chat}: {skipped[0].reason}' if skipped else 'it holds no chats'
    return f'Nothing in {name} can be imported ({why}). What can be: {kinds}, as they are or in a zip file.'
