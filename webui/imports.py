"""Imports under way: a file is put aside and looked at, then some of what is in it is taken, then it is removed."""

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path

from presets.chats import ChatStore
from presets.errors import InvalidImport, NotFound
from presets.storage import explained
from presets.transfer.fields import line
from presets.transfer.staged import Staged
from presets.transfer.taking import Progress, Summary, take

LARGEST_FILE = 512 * 2**20
"""Bytes of one file that is given."""
KEPT_SECONDS = 3600.0
"""How long a file that was looked at waits for the choice of what is taken."""
MOST_KEPT = 20
_BLOCK = 2**20


class Imports:
    """The files lie in `folder`, which nothing else uses: what is left there from before is removed."""

    def __init__(self, folder: Path, store: ChatStore) -> None:
        self._folder, self._store = folder, store
        self._staged: dict[str, Staged] = {}
        self._used: dict[str, float] = {}
        self._reading: set[str] = set()
        shutil.rmtree(folder, ignore_errors=True)

    async def stage(self, content: AsyncIterator[bytes], name: str, token: str = '') -> str:
        """Look at a file as it comes in, as a further part of the import `token` if there is one; returns the token.

        Raises InvalidImport if it is too large or holds nothing that can be taken.
        """
        self._forget_old()
        staged = self.find(token) if token else self._begin()
        token = token or staged.folder.name
        self._used[token] = time.monotonic()
        path = staged.folder / secrets.token_hex(8)
        self._reading.add(token)
        try:
            await _receive(content, path)
            await asyncio.to_thread(staged.add, path, line(name, 100) or 'the file')
        except BaseException:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            if not staged.entries:
                self.drop(token)
            raise
        finally:
            self._reading.discard(token)
        return token

    def find(self, token: str) -> Staged:
        """Return what lies ready."""
        if token not in self._staged:
            raise NotFound('This import is over or was left for too long. Choose the file again.')
        return self._staged[token]

    async def take(
        self, token: str, places: Collection[int] | None = None, progress: Progress = lambda done: None
    ) -> Summary:
        """Save these entries, or all of them; the files are removed then, whatever happens."""
        staged = self.find(token)
        everything = range(len(staged.entries))
        if places is not None and not set(places) <= set(everything):
            raise InvalidImport('There are not that many chats in the file. Choose again what to take.')
        del self._staged[token]
        try:
            return await take(self._store, staged, everything if places is None else sorted(set(places)), progress)
        finally:
            await asyncio.to_thread(staged.remove)

    def drop(self, token: str) -> None:
        """Remove the files of an import that nobody wants."""
        if staged := self._staged.pop(token, None):
            staged.remove()

    def close(self) -> None:
        """Remove what is left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> Staged:
        token = secrets.token_urlsafe(16)
        staged = self._staged[token] = Staged(self._folder / token)
        with explained(staged.folder, 'made'):
            staged.folder.mkdir(mode=0o700, parents=True)
        return staged

    def _forget_old(self) -> None:
        idle = [token for token in self._staged if token not in self._reading]
        idle.sort(key=lambda token: self._used.get(token, 0))
        for place, token in enumerate(idle):
            too_many = len(idle) - place >= MOST_KEPT
            if too_many or time.monotonic() - self._used.get(token, 0) > KEPT_SECONDS:
                self.drop(token)


async def _receive(content: AsyncIterator[bytes], path: Path) -> None:
    """Write what comes to a file, off the event loop and never more than the limit."""
    size = 0
    pieces: list[bytes] = []
    waiting = 0
    with explained(path, 'saved'):
        file = await asyncio.to_thread(path.open, 'wb')
        try:
            async for piece in content:
                size += len(piece)
                if size > LARGEST_FILE:
                    continue  # many browsers read the answer only when they have sent all
                pieces.append(piece)
                waiting += len(piece)
                if waiting >= _BLOCK:
                    await asyncio.to_thread(file.writelines, pieces)
                    pieces, waiting = [], 0
            await asyncio.to_thread(file.writelines, pieces)
        finally:
            await asyncio.to_thread(file.close)
    if size > LARGEST_FILE:
        raise InvalidImport(
            f'The file is larger than {LARGEST_FILE >> 20} MB. Export fewer chats at once, or import it in parts.'
        )
