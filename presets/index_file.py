"""Caches of what is known of many files: read whole at the start, written so that no other thread has to wait."""

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from presets.errors import StoreError
from presets.storage import encode, write_file

PART = 50
"""Entries that are written out before other threads have their turn."""

Entry = TypeVar('Entry')


class IndexFile(Generic[Entry]):
    """Entries by chat id. The chats are the truth: what cannot be read or written is as if it were not there."""

    def __init__(self, path: Path, kind: Any) -> None:
        self._path = path
        self._entry: TypeAdapter[Entry] = TypeAdapter(kind)
        self._entries: TypeAdapter[dict[str, Entry]] = TypeAdapter(dict[str, kind])

    def read(self) -> dict[str, Entry]:
        """Return the entries; none if the file is missing, damaged or of another version."""
        try:
            return self._entries.validate_json(self._path.read_bytes())
        except (OSError, ValueError):
            return {}

    def write(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """Replace the file. Entry by entry: one call for ten thousand would hold up every other thread meanwhile."""
        lines = []
        for number, (chat_id, entry) in enumerate(entries):
            lines.append(b'"%s": %s' % (chat_id.encode(), self._encoded(entry)))
            if number % PART == 0:
                time.sleep(0)  # whoever waits for the interpreter has it now instead of some milliseconds later
        with suppress(StoreError):
            write_file(self._path, b'{\n%s\n}\n' % b',\n'.join(lines))

    def _encoded(self, entry: Entry) -> bytes:
        return encode(self._entry.dump_python(entry, mode='json'))
