"""The child process that reads one file: `python -m webui.documents.child`, a `Task` as JSON on its input.

It may be killed at any time, works below everything else, and may take only so much memory where the system can say so.
"""

import json
import os
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import assert_never

from webui.documents.kinds import Kind, kind_of, media_type_of
from webui.documents.plain import decode, decode_table
from webui.documents.refusal import LONGEST_TEXT, PATIENCE, Note, Reason, Refused

MEMORY_LIMIT = 2 << 30
"""Bytes of addresses; a file of the largest size needs a tenth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """The file to read; `name` is only what it is called."""

    path: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The text that was found, or why there is none."""

    text: str = ''
    media_type: str = 'text/plain'
    note: Note = ''
    refused: Reason | None = None


def read(task: Task) -> Outcome:
    """Return what is in the file; a file that cannot be read is an outcome, too."""
    try:
        content = Path(task.path).read_bytes()
        kind = kind_of(content, task.name)
        text, note = _read(kind, content)
        text = text.strip()
        if not text:
            raise Refused('empty')
        if len(text) > LONGEST_TEXT:
            raise Refused('too_long')
    except Refused as refused:
        return Outcome(refused=refused.why)
    except (MemoryError, RecursionError):
        return Outcome(refused='too_complex')
    return Outcome(text=text, media_type=media_type_of(kind, task.name), note=note)


def _read(kind: Kind, content: bytes) -> tuple[str, Note]:
    # The libraries take most of a child's time to import.
    match kind:
        case 'pdf':
            from webui.documents.pdf import read_pdf  # noqa: PLC0415

            return read_pdf(content)
        case 'word':
            from webui.documents.word import read_word  # noqa: PLC0415

            return read_word(content)
        case 'table':
            return decode_table(content)
        case 'text':
            return decode(content)
        case _:
            assert_never(kind)


def _step_back() -> None:
    """Leave the processor to the model, and the memory to everyone; end even if nobody is there to end this."""
    if sys.platform == 'win32':
        import psutil  # noqa: PLC0415

        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        import resource  # noqa: PLC0415 - not on Windows

        os.nice(5)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    watchdog = threading.Timer(2 * PATIENCE, os._exit, [1])
    watchdog.daemon = True
    watchdog.start()


if __name__ == '__main__':
    _step_back()
    outcome = read(Task(**json.load(sys.stdin)))
    sys.stdout.write(json.dumps(asdict(outcome)))
