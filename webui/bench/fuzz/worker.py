"""A child process that does one thing after another and may die of it; the next thing gets a new child."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from inference.crash import diagnose
from inference.preflight import die_quietly

Argument = TypeVar('Argument')
Result = TypeVar('Result')
LAST_WORDS = 2000


class Died(Exception):
    """The child crashed, hung or met an error of its own; `how` tells which, `said` what it wrote at the end."""

    def __init__(self, how: str, said: str, code: int = 0) -> None:
        super().__init__(f'{how}: {said}')
        self.how, self.said, self.code = how, said, code


class Worker(Generic[Argument, Result]):
    """Calls a function of a module in a child process; the child is started when it is needed."""

    def __init__(self, function: Callable[[Argument], Result], log: Path) -> None:
        self._function, self._log = function, log
        self._process: Any = None
        self._connection: Any = None
        self.started = 0

    def __call__(self, argument: Argument, patience: float) -> Result:
        """Return what the function returns; raise Died if it takes longer than `patience` seconds or ends badly."""
        connection = self._connection or self._start()
        try:
            connection.send(argument)
            if not connection.poll(patience):
                raise Died('hang', self._end(kill=True)[0])
            went_well, result = connection.recv()
        except (EOFError, OSError):
            said, code = self._end()
            raise Died(diagnose(code, said).how, said, code) from None
        if not went_well:
            raise Died('error', result)
        value: Result = result
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._end(kill=True)

    def _start(self) -> Any:
        context = multiprocessing.get_context('spawn')
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._function, theirs, self._log), daemon=True)
        self._process.start()
        theirs.close()
        self._connection, self.started = ours, self.started + 1
        return ours

    def _end(self, *, kill: bool = False) -> tuple[str, int]:
        """Wait for the end of the child; return what it said last and its exit code."""
        if kill:
            self._process.kill()
        self._process.join()
        code: int = self._process.exitcode
        self._process.close()
        if self._connection:
            self._connection.close()
        self._process = self._connection = None
        said = self._log.read_text('utf-8', 'replace') if self._log.exists() else ''
        return said[-LAST_WORDS:].strip(), code


def _serve(function: Callable[[Any], Any], connection: Connection, log: Path) -> None:
    """The child: what it and its libraries write goes to `log`, from which the parent tells what it died of."""
    die_quietly()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    while True:
        try:
            argument = connection.recv()
        except EOFError:
            return
        os.truncate(log, 0)
        try:
            result = True, function(argument)
        except Exception:  # the child's outermost loop: the parent is told
            result = False, traceback.format_exc()
        connection.send(result)
