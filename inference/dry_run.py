"""What the library itself says a model takes: exact, from a load without memory in a child process.

The formula of `inference.footprint` answers at once and suits a slider that moves; this is asked before a load. The
library does not check all it reads, so a damaged or hostile file must not meet it here: the child may die or hang.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from inference.buffers import read_buffers
from inference.errors import LoadFailed
from inference.footprint import DeviceNeed, MemoryPlan, estimate, rows_of_scores
from inference.free_memory import DeviceMemory, may_have_gpus, ram
from inference.gguf import Header
from inference.settings import LoadSettings

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds; a large vocabulary on a slow disk takes a few."""


class Task(BaseModel):
    """What the child is to do: without a path only tell of the devices; `real` loads with memory and computes."""

    path: Path | None = None
    settings: LoadSettings = LoadSettings()
    n_slots: int = 1
    n_outputs: int = 0
    real: bool = False


class Answer(BaseModel):
    """What the child says: its devices, lines of the library's log, and how much it grew; `error` if it failed."""

    devices: tuple[DeviceMemory, ...] = ()
    lines: tuple[str, ...] = ()
    grown: int = 0
    error: str = ''


async def find_devices() -> tuple[DeviceMemory, ...]:
    """Return the RAM and the GPUs with what is free of them now; asks a child only if there may be GPUs."""
    if not may_have_gpus():
        return (ram(),)
    with suppress(LoadFailed):
        return (await ask(Task())).devices
    return (ram(),)


async def dry_run(
    header: Header, settings: LoadSettings, *, n_slots: int = 1, n_outputs: int = 0, devices: Sequence[DeviceMemory]
) -> MemoryPlan:
    """Return the exact plan of a model: cells, states and scratch memory are the library's numbers.

    Weights are counted from the header, since the library does not say them in a dry run. Raises LoadFailed.
    """
    n_outputs = n_outputs or rows_of_scores(settings, n_slots)
    answer = await ask(Task(path=header.path, settings=settings, n_slots=n_slots, n_outputs=n_outputs))
    plan = estimate(header, settings, n_slots=n_slots, n_outputs=n_outputs, devices=devices)
    said = read_buffers(answer.lines, [device.name for device in devices if device.is_gpu])
    if not said.compute:
        raise LoadFailed(f'llama.cpp did not tell how much memory {header.path.name} takes.')
    needs = (
        DeviceNeed(
            device=need.device,
            weights=need.weights,
            kv_cache=said.cache * need.kv_cache // max(1, plan.kv_cache),
            compute=said.compute[need.device],
            mapped=need.mapped,
        )
        for need in plan.devices
    )
    return MemoryPlan(devices=tuple(needs), n_ctx=plan.n_ctx, is_exact=True)


async def ask(task: Task) -> Answer:
    """Let a child do a task; cancelling the call ends it. Raises LoadFailed, if possible with the library's reason."""
    name = task.path.name if task.path else 'This build of llama.cpp'
    child = await asyncio.create_subprocess_exec(
        sys.executable, '-m', 'inference.memory_child', cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await child.communicate(task.model_dump_json().encode())
    except TimeoutError:
        raise LoadFailed(f'{name} did not tell how much memory it takes within {PATIENCE:.0f} seconds.') from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    try:
        answer = Answer.model_validate_json(said.splitlines()[-1] if said else b'')
    except ValidationError:
        raise LoadFailed(f'{name} crashed llama.cpp when it was asked how much memory it takes.') from None
    if answer.error:
        raise LoadFailed(answer.error)
    return answer
