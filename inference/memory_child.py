"""The child process that asks llama.cpp how much memory a model takes: `python -m inference.memory_child`.

It reads a `Task` as JSON and ends with an `Answer` as its last line.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)
from loguru import logger

from inference.buffers import is_about_buffers
from inference.dry_run import Answer, Task
from inference.errors import LoadFailed
from inference.free_memory import DeviceMemory, ram
from inference.library import (
    LOAD_MODES,
    check_settings,
    context_failure,
    context_params,
    devices,
    load_failure,
    model_params,
)
from inference.settings import LoadSettings


def main() -> None:
    """Do the task the parent gives."""
    with suppress(OSError):  # Linux shall end this process, not the app, when memory runs out
        Path('/proc/self/oom_score_adj').write_text('1000')
    answer = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)  # a graphics driver that talks
    task = Task.model_validate_json(sys.stdin.read())
    answer.write(_answer(task).model_dump_json() + '\n')
    answer.flush()


def _answer(task: Task) -> Answer:
    lines: list[str] = []
    logger.remove()
    logger.add(lambda message: lines.append(message.removeprefix('llama.cpp: ').strip()), format='{message}')
    there = (ram(), *_gpus())
    if not task.path:
        return Answer(devices=there)
    try:
        grown = _load(task, task.path)
    except LoadFailed as failure:
        return Answer(error=str(failure))
    return Answer(devices=there, lines=tuple(filter(is_about_buffers, lines)), grown=grown)


def _gpus() -> list[DeviceMemory]:
    """Return the GPUs as they are before anything is loaded; those that use the RAM are marked."""
    return [
        DeviceMemory(
            name=device.name,
            free=device.free,
            total=device.total,
            description=device.description,
            shares_ram=device.kind == 'igpu' or device.name.startswith('MTL'),
        )
        for device in devices()
        if device.is_gpu
    ]


def _load(task: Task, path: Path) -> int:
    """Load, without memory unless the task says otherwise; return how much the process grew. Raises LoadFailed."""
    before = psutil.Process().memory_info().rss
    check_settings(task.settings)
    params = model_params(task.settings)
    if not task.real:
        params.no_alloc, params.load_mode = True, LOAD_MODES['read']
    model = C.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise load_failure(path.name)
    wanted = context_params(model, task.settings, task.n_slots, n_outputs_max=task.n_outputs)
    context = C.llama_init_from_model(model, wanted)
    if not context:
        raise context_failure(path.name, wanted.n_ctx)
    if task.real:
        _compute(context, task.settings)
    return int(psutil.Process().memory_info().rss) - before


def _compute(context: object, settings: LoadSettings) -> None:
    """Compute a batch, so that the memory to compute in is really taken."""
    count = min(settings.n_ubatch, settings.n_batch, C.llama_n_ctx(context))
    C.llama_decode(context, C.llama_batch_get_one((C.llama_token * count)(*[1] * count), count))


if __name__ == '__main__':
    main()
