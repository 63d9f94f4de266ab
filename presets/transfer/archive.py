"""A zip with chats in it, unpacked into numbered files: no name in it becomes a path, no size in it is believed."""

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from presets.errors import InvalidImport
from presets.transfer.fields import line

MOST_FILES = 20_000
LARGEST_SUM = 2**30
"""Bytes that all the JSON in a zip may have together."""
HIGHEST_RATIO = 250
"""How far text can be packed; what claims more is made to fill the disk."""
_BLOCK = 2**20
_BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, ValueError, RuntimeError,
)  # fmt: skip


class Unpacked(NamedTuple):
    """A JSON file of the zip, or why it was left where it was; `folder` is where it lay."""

    path: Path | None
    name: str
    folder: str
    problem: str = ''


def is_zip(path: Path) -> bool:
    """Whether the file begins as a zip does."""
    with path.open('rb') as file:
        return file.read(4) in {b'PK\x03\x04', b'PK\x05\x06'}


def unpack(path: Path, into: Path) -> Iterator[Unpacked]:
    """Yield the JSON files one by one. Raises InvalidImport if the zip as a whole is damaged or hostile."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _unpack(archive, into)
    except _BROKEN as error:
        raise InvalidImport(f'The zip file is damaged ({line(str(error))}). Download it again.') from None


def _unpack(archive: zipfile.ZipFile, into: Path) -> Iterator[Unpacked]:
    entries = [entry for entry in archive.infolist() if entry.filename.lower().endswith('.json')]
    if len(entries) > MOST_FILES:
        raise InvalidImport(f'The zip file has more than {MOST_FILES:,} files with chats. Import it in parts.')
    if sum(entry.file_size for entry in entries) > LARGEST_SUM:
        raise InvalidImport(_too_large())
    left = LARGEST_SUM
    for number, entry in enumerate(entries):
        name, folder = _places(entry.filename)
        target = into / f'{number}.json'
        try:
            _check(entry)
            with archive.open(entry) as packed:
                left -= _copy(packed, target, left)
        except InvalidImport:
            raise
        except _BROKEN as error:
            target.unlink(missing_ok=True)
            yield Unpacked(None, name, folder, line(str(error)) or type(error).__name__)
        else:
            yield Unpacked(target, name, folder)


def _check(entry: zipfile.ZipInfo) -> None:
    if entry.file_size > _BLOCK and entry.file_size > HIGHEST_RATIO * max(1, entry.compress_size):
        raise InvalidImport('The zip file unpacks to far more than text can be packed from; it was refused.')
    if entry.flag_bits & 1:
        raise ValueError('it is encrypted')
    parts = re.split(r'[/\\]', entry.filename)
    if '..' in parts or not parts[0] or re.match('[A-Za-z]:', parts[0]):
        raise ValueError('its name leads out of the zip file')


def _copy(packed: IO[bytes], target: Path, most: int) -> int:
    size = 0
    with target.open('wb') as file:
        while block := packed.read(_BLOCK):
            size += len(block)
            if size > most:
                raise InvalidImport(_too_large())
            file.write(block)
    return size


def _places(filename: str) -> tuple[str, str]:
    """Return the name for messages and the folder, both only ever shown; LM Studio's own folders do not count."""
    parts = [line(part, 100) for part in re.split(r'[/\\]', filename)]
    folders = [part for part in parts[:-1] if part not in {'', '.', '..', '.lmstudio', '.cache', 'lm-studio'}]
    if 'conversations' in folders:
        folders = folders[folders.index('conversations') + 1 :]
    return '/'.join(parts)[-200:], '/'.join(folders)[:200]


def _too_large() -> str:
    return f'The chats in the zip file are larger than {LARGEST_SUM >> 20:,} MB. Import them in parts.'
