"""Reads attached files in child processes, a few at a time, each with an end."""

import asyncio
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

from inference.chat import clean_text
from inference.errors import InvalidRequest
from webui.documents.child import Outcome, Task
from webui.documents.refusal import LARGEST_FILE, LONGEST_TEXT, PATIENCE, Reason
from webui.words import say

ROOT = Path(__file__).parents[2]
AT_ONCE = 2
REASONS: tuple[Reason, ...] = get_args(Reason)


class Unreadable(InvalidRequest):
    """A file that cannot be attached; its `code` begins with `file_` and says why."""

    def __init__(self, why: Reason) -> None:
        super().__init__(refusal(why))
        self.code = f'file_{why}'


class TooLarge(Unreadable):
    """A file beyond the limit, of which no more is read."""

    def __init__(self) -> None:
        super().__init__('too_large')


def refusal(why: Reason) -> str:
    """Return in words why a file is refused, and the way out."""
    return say(
        f'attachment.refused_{why}',
        megabytes=LARGEST_FILE // 10**6, characters=f'{LONGEST_TEXT:,}', seconds=f'{PATIENCE:.0f}',
    )  # fmt: skip


class DocumentReader:
    """Turns files into text. Belongs to the event loop."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._seats = asyncio.Semaphore(AT_ONCE)

    async def read(self, path: Path, name: str) -> Outcome:
        """Return the text of the file, which was called `name`; cancelling the call ends it. Raises Unreadable."""
        async with self._seats:
            said = await self._ask(Task(path=str(path), name=name))
        outcome = await asyncio.to_thread(_outcome, said)
        if outcome.refused:
            raise Unreadable(outcome.refused)
        return outcome

    async def _ask(self, task: Task) -> bytes:
        child = await asyncio.create_subprocess_exec(
            sys.executable, '-m', 'webui.documents.child', cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._patience):
                said, _ = await child.communicate(json.dumps(asdict(task)).encode())
        except TimeoutError:
            raise Unreadable('too_slow') from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return said


def _outcome(said: bytes) -> Outcome:
    try:
        outcome = Outcome(**json.loads(said))
    except ValueError:  # it died: out of memory, or in a library
        raise Unreadable('too_complex') from None
    return replace(outcome, text=clean_text(outcome.text))
