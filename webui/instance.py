"""One instance per data folder, so that two apps never write the same chats."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


class AlreadyRunning(Exception):
    """Another instance holds the data folder; the message says where it runs."""


@contextlib.contextmanager
def hold(lock_file: Path, instance_file: Path) -> Iterator[None]:
    """Keep others out of the data folder until the block or the process ends, however it ends."""
    try:
        lock = FileLock(lock_file, blocking=False).acquire()
    except Timeout:
        raise AlreadyRunning(_where(instance_file)) from None
    with lock:
        try:
            yield
        finally:
            instance_file.unlink(missing_ok=True)


def announce(instance_file: Path, url: str) -> None:
    """Note where this instance runs, for the message to a second one."""
    new = instance_file.with_suffix('.tmp')
    new.write_text(json.dumps({'pid': os.getpid(), 'url': url}), 'utf-8')
    new.replace(instance_file)


def _where(instance_file: Path) -> str:
    """Describe the holder; its note may be missing in the moment it starts."""
    try:
        note = json.loads(instance_file.read_text('utf-8'))
        where = f' at {note["url"]} (process {note["pid"]})'
    except (OSError, ValueError, KeyError, TypeError):
        where = ''
    return (
        f'Chatbot WebUI already runs{where} with the data folder {instance_file.parent}. '
        'Use that one, stop it first, or give this one another folder with --data-dir.'
    )
