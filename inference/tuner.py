"""Has the settings of a model measured in a child process: one that crashes there is just not chosen."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from inference.catalog import ModelFile
from inference.errors import LoadFailed, PreflightFailed
from inference.preflight import ROOT
from inference.settings import LoadSettings
from inference.tuning import Candidate, Measurements, Run

GRACE = 30.0
"""Seconds that the last run may take beyond the time for all of them."""


class Subject(BaseModel):
    """What a tuning holds for: this file, this library, this machine."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    model: str
    size: int
    library: str
    machine: str


class Plan(BaseModel):
    """What the child is to measure, and in how many seconds; `size` is that of the model in bytes."""

    path: Path
    size: int
    settings: LoadSettings
    seconds: float


class Begun(BaseModel):
    """The model is loaded: what the others are compared with, and how far into the context."""

    default: Candidate
    cpus: int
    depth: int


class Note(BaseModel):
    """Something that was not measured, and why."""

    note: str


LINE = TypeAdapter[Begun | Note | Run](Begun | Note | Run)
"""What the child says, one JSON object a line."""


def subject(model: ModelFile) -> Subject:
    """Return what a tuning of this model, measured here and now, holds for."""
    from inference.library import library_version, machine, usable_cores  # noqa: PLC0415 (loads the library)

    here = f'{machine()}; {usable_cores()} cores, {os.cpu_count()} threads'
    return Subject(model=model.path.name, size=model.header.size, library=library_version(), machine=here)


async def measure(
    model: ModelFile, settings: LoadSettings, *, seconds: float, on_run: Callable[[Run], None] = lambda run: None
) -> Measurements:
    """Measure a model for about so many seconds after it is loaded; what the time cuts off is left out.

    Nothing else should be in memory or at work. Cancelling the call ends the child. Raises LoadFailed if there is
    nothing that was measured.
    """
    plan = Plan(path=model.path, size=model.header.size, settings=settings, seconds=seconds)
    try:
        return await _measure(plan, on_run)
    except PreflightFailed:
        if not settings.use_extra_bufts:
            raise
        plan.settings = settings.model_copy(update={'use_extra_bufts': False})
        return await _measure(plan, on_run)


async def _measure(plan: Plan, on_run: Callable[[Run], None]) -> Measurements:
    child = await asyncio.create_subprocess_exec(
        sys.executable, '-m', 'inference.tuner_child', cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin and child.stdout
    heard = _Heard(on_run)
    try:
        child.stdin.write(plan.model_dump_json().encode())
        child.stdin.close()
        async with asyncio.timeout(None) as limit:
            await heard.listen(child.stdout, limit, plan.seconds + GRACE)
            if code := await child.wait():
                heard.notes.append(f'The process that measured crashed (exit code {code}); the rest was not measured.')
    except TimeoutError:
        heard.notes.append('A run took so long that it was given up.')
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return heard.measurements(plan.path.name, crashed=child.returncode != 0)


class _Heard:
    """What the child has said so far."""

    def __init__(self, on_run: Callable[[Run], None]) -> None:
        self._on_run = on_run
        self._begun: Begun | None = None
        self._runs: list[Run] = []
        self.notes: list[str] = []

    async def listen(self, lines: asyncio.StreamReader, limit: asyncio.Timeout, seconds: float) -> None:
        """Follow the child to its end; the time is limited once the model is loaded."""
        async for line in lines:
            match _parsed(line):
                case Begun() as begun:
                    self._begun = begun
                    limit.reschedule(asyncio.get_running_loop().time() + seconds)
                case Note(note=note):
                    self.notes.append(note)
                case Run() as run:
                    self._runs.append(run)
                    self._on_run(run)

    def measurements(self, name: str, *, crashed: bool) -> Measurements:
        """Return what there is. Raises PreflightFailed if that is nothing because of a crash, else LoadFailed."""
        if self._begun and self._runs:
            default, cpus, depth = self._begun.default, self._begun.cpus, self._begun.depth
            return Measurements(
                default=default, cpus=cpus, depth=depth, runs=tuple(self._runs), notes=tuple(self.notes)
            )
        if crashed:
            raise PreflightFailed(f'Measuring {name} in a separate process: {" ".join(self.notes)}')
        raise LoadFailed(self.notes[-1] if self.notes else f'{name} is too slow to measure anything in this time.')


def _parsed(line: bytes) -> Begun | Note | Run | None:
    try:
        return LINE.validate_json(line)
    except ValidationError:  # a graphics driver that talks
        return None
