"""The one door to TinyDB: files that are whole at every moment, and the one thread that touches them."""

import asyncio
import errno
import itertools
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import orjson
from tinydb import TinyDB
from tinydb.storages import Storage

from inference.chat import clean_text
from presets.errors import DamagedFile, NewerSchema, StoreError
from presets.migrations import CURRENT, Tables, migrate, version_of

T = TypeVar('T')
Ts = TypeVarTuple('Ts')
Report = Callable[[str], object]
Stamp = tuple[int, int]

_UNREAD: Stamp = (-1, -1)
UNSOUND = (ValueError, LookupError, TypeError)
"""What reading and understanding a file's content may raise."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Writer:
    """The thread on which every TinyDB call runs, one after the other in the order they were asked for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix='writer')

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Wait for the function's turn and result; a caller that is cancelled does not take the work with it."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, function, *args))

    def close(self) -> None:
        """Finish what is pending, then end the thread."""
        self._thread.shutdown()


def on_loop(report: Report) -> Report:
    """Let the writer's thread report to the event loop that is running now."""
    loop = asyncio.get_running_loop()
    return lambda problem: loop.call_soon_threadsafe(report, problem)


class Database(TinyDB):
    """A TinyDB in one atomic, migrated file, which can also be read and replaced as a whole."""

    def __init__(self, path: Path, on_problem: Report) -> None:
        self.file = AtomicJSONStorage(path, on_problem)
        super().__init__(storage=lambda: self.file)


class AtomicJSONStorage(Storage):
    """JSON that is replaced in one step, backed up once per process, and never taken for empty when it is damaged."""

    def __init__(self, path: Path, on_problem: Report) -> None:
        self._path = path
        self._backup = path.with_name(f'{path.name}.bak')
        self._backed_up = False
        self._on_problem = on_problem
        self.seen: Stamp | None = _UNREAD
        """The file as it was last read or written here; None if there was none."""

    def read(self) -> Tables | None:
        """The current tables; None if there is no file."""
        return self.load(lambda tables: tables)

    def load(self, parse: Callable[[Tables], T]) -> T | None:
        """What `parse` makes of the tables; where it raises a ValueError, the file counts as damaged."""
        with explained(self._path, 'read'):
            seen = stamp_of(self._path)  # before reading: a change in between is noticed at the next write
            content = self._path.read_bytes() if seen else b''
        if not seen:
            self.seen = None
            return None
        try:
            tables = decode(content)
            version = self._supported(version_of(tables))
            migrate(tables)
            parsed = parse(tables)
        except UNSOUND as error:
            return self._recover(parse, error)
        if version < CURRENT:
            write_file(_unused(self._path.with_name(f'{self._path.name}.v{version}')), content)
        self.seen = seen
        if version < CURRENT:
            self.write(tables)
        return parsed

    def write(self, data: Tables) -> None:
        """Replace the file in one step, or raise StoreError and leave it as it was."""
        if self.seen == _UNREAD:
            with suppress(DamagedFile):
                self.read()
        with _staged(self._path, encode({'meta': {'1': {'version': CURRENT}}, **data})) as temp:
            self._make_way()
            replace(temp, self._path)
            self.seen = stamp_of(self._path)

    def _make_way(self) -> None:
        """Keep what is there: a protected file stays, our own is backed up once, someone else's is set aside."""
        now = stamp_of(self._path)
        if now and not self._path.stat().st_mode & stat.S_IWUSR:
            raise StoreError(f'{self._path} is read-only. Allow writing to it, then try again.')
        if now and now != self.seen:
            aside = set_aside(self._path, 'changed')
            self._on_problem(
                f'{self._path.name} was changed by something else while the app had it open. '
                f'That version was kept as {aside}; close the app before you edit its files.'
            )
        elif now and not self._backed_up:
            write_file(self._backup, self._path.read_bytes())
        self._backed_up = True

    def _recover(self, parse: Callable[[Tables], T], reason: Exception) -> T | None:
        """Set the damaged file aside and go on with the backup; DamagedFile if there is none."""
        with explained(self._path, 'set aside'):
            aside = set_aside(self._path, 'damaged')
            self.seen = None
            what = f'{self._path.name} is damaged ({_first_line(reason)}) and was set aside as {aside}.'
            if not self._backup.exists():
                error = DamagedFile(f'{what} There is no backup of it; repair that file by hand or go on without it.')
                self._on_problem(str(error))
                raise error from reason
            replace(self._backup, self._path)  # moved, not copied: a damaged backup cannot come round again
        self._backed_up = False
        self._on_problem(f'{what} Its backup took its place; what was written since is only in the file set aside.')
        return self.load(parse)

    def _supported(self, version: int) -> int:
        if version > CURRENT:
            raise NewerSchema(
                f'{self._path.name} was written by a newer version of this app (schema {version}, '
                f'known here: {CURRENT}). Update the app to open it; the file was left as it is.'
            )
        return version


def stamp_of(path: Path) -> Stamp | None:
    """What tells one state of a file from another; None if there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def encode(data: Any) -> bytes:
    """Readable JSON; text that UTF-8 cannot hold is replaced instead of failing the save."""
    try:
        return orjson.dumps(data, option=orjson.OPT_INDENT_2)
    except TypeError:
        return clean_text(json.dumps(data, ensure_ascii=False, indent=2)).encode()


def write_file(path: Path, content: bytes) -> None:
    """Put the content in place in one step, or raise StoreError and change nothing."""
    with _staged(path, content) as temp:
        replace(temp, path)


def move(source: Path, target: Path) -> None:
    """Rename a file; one that has the new name already is set aside."""
    with explained(source, f'moved to {target.parent}'):
        if target.exists():
            set_aside(target, 'older')
        replace(source, target)


def set_aside(path: Path, why: str) -> Path:
    """Rename the file to a name that says why and when, and that nothing else has."""
    when = datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')
    aside = _unused(path.with_name(f'{path.name}.{why}-{when}'))
    replace(path, aside)
    return aside


def replace(source: Path, target: Path) -> None:
    """`os.replace` that lasts: on Windows past a virus scanner's short hold, elsewhere past a power cut."""
    for pause in (0.02, 0.05, 0.1, 0.2, 0.4, None):
        try:
            source.replace(target)
            break
        except PermissionError:
            if os.name != 'nt' or pause is None:
                raise
            time.sleep(pause)
    if os.name != 'nt':
        with suppress(OSError):  # some network file systems cannot do it; the file itself is synced
            _sync(target.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explained(path: Path, done: str) -> Iterator[None]:
    """Turn the system's refusals into words with a way out."""
    try:
        yield
    except OSError as error:
        failed = f'{path} could not be {done} ({error.strerror or error})'
        if error.errno in _NO_SPACE:
            text = f'The disk is full: {failed}. Free some space, then try again; what was saved before is untouched.'
        elif error.errno in _NOT_ALLOWED:
            text = f'{failed}. Give this account the right to write to {path.parent}, then try again.'
        else:
            text = f'{failed}. Check that the drive is connected and sound, then try again.'
        raise StoreError(text) from error


@contextmanager
def _staged(path: Path, content: bytes) -> Iterator[Path]:
    """A synced file beside `path` that is ready to take its place, and gone afterwards in any case."""
    temp = path.with_name(f'{path.name}.tmp')
    with explained(path, 'saved'):
        try:
            with open(temp, 'wb', opener=_private) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield temp
        finally:
            with suppress(OSError):
                temp.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def decode(content: bytes) -> Tables:
    """Return the tables in a file's content, of whatever version; ValueError if there are none."""
    tables = orjson.loads(content)
    if not isinstance(tables, dict) or not all(_is_table(table) for table in tables.values()):
        raise ValueError('not a set of tables')
    return tables


def _is_table(table: object) -> bool:
    return isinstance(table, dict) and all(isinstance(document, dict) for document in table.values())


def _unused(path: Path) -> Path:
    names = (path.with_name(f'{path.name}-{number}') for number in itertools.count(2))
    return next(name for name in itertools.chain([path], names) if not name.exists())


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
