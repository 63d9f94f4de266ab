"""Files that wait to be sent with a message: the text that was found in each, kept for a week."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from presets.chat import Attachment
from presets.errors import NotFound
from presets.storage import explained, write_file

KEPT_SECONDS = 7 * 24 * 60 * 60.0
_ID = re.compile(r'[0-9a-f]{16}')


class Upload(BaseModel):
    """An attachment without a message; `note` says what the person should know of its text."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    attachment: Attachment
    note: str = ''


class UploadStore:
    """A folder with a file for each upload, named by its id. What was forgotten in it goes by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Use the folder, and clear it of what is old or was left by a crash."""
        store = cls(folder)
        await asyncio.to_thread(store._sweep, 0.0)
        return store

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[Path]:
        """Return where a file may be written while it comes in; it is gone at the end."""
        path = self._folder / f'{secrets.token_hex(8)}.part'
        try:
            yield path
        finally:
            await asyncio.to_thread(_remove, path)

    async def keep(self, upload: Upload) -> None:
        """Put the upload on disk. Raises StoreError."""
        await asyncio.to_thread(self._keep, upload)

    async def get(self, upload_id: str) -> Upload:
        """Read an upload back. Raises NotFound if it was sent or removed, or is too old."""
        upload = await asyncio.to_thread(self._read, upload_id)
        if upload is None:
            raise NotFound('This file is not kept here (any more). Attach it again.')
        return upload

    async def remove(self, upload_id: str) -> None:
        """Forget an upload; it is no error if there is none."""
        if _ID.fullmatch(upload_id):
            await asyncio.to_thread(_remove, self._path(upload_id))

    def _keep(self, upload: Upload) -> None:
        self._sweep(KEPT_SECONDS)
        write_file(self._path(upload.attachment.id), upload.model_dump_json().encode())

    def _read(self, upload_id: str) -> Upload | None:
        if not _ID.fullmatch(upload_id):
            return None
        try:
            return Upload.model_validate_json(self._path(upload_id).read_bytes())
        except (OSError, ValidationError):
            return None

    def _sweep(self, part_seconds: float) -> None:
        """Remove uploads that are too old, and beginnings of files after `part_seconds`."""
        now = time.time()
        with explained(self._folder, 'read'):
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.iterdir():
                with suppress(OSError):  # another request may be quicker
                    age = now - path.stat().st_mtime
                    if age > (KEPT_SECONDS if path.suffix == '.json' else part_seconds):
                        _remove(path)

    def _path(self, upload_id: str) -> Path:
        return self._folder / f'{upload_id}.json'


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
