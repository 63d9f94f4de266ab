"""Asking the library itself, in a process that may die of it."""

import asyncio
import json
from pathlib import Path

import psutil
import pytest

from inference.buffers import read_buffers
from inference.dry_run import Task, ask, dry_run, find_devices
from inference.errors import LoadFailed
from inference.footprint import estimate
from inference.free_memory import RAM
from inference.gguf import Header, read_header
from inference.settings import LoadSettings
from tests import tiny_models as tiny

MIB = 1 << 20


@pytest.fixture
def model(tmp_path: Path) -> Header:
    return read_header(tiny.write_tiny_model(tmp_path / 'модель.gguf', n_layer=8, n_ctx_train=1 << 17))


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if 'inference.memory_child' in child.cmdline()]


async def failure(header: Header, settings: LoadSettings) -> str:
    with pytest.raises(LoadFailed) as caught:
        await dry_run(header, settings, devices=await find_devices())
    assert children() == []
    return str(caught.value)


async def test_the_numbers_are_those_of_a_real_load(model: Header, quick: LoadSettings) -> None:
    settings = quick.model_copy(update={'n_ctx': 16_384})

    plan = await dry_run(model, settings, n_slots=2, devices=await find_devices())
    real = await ask(Task(path=model.path, settings=settings, n_slots=2, real=True))

    said = read_buffers(real.lines, [])
    assert plan.is_exact
    assert plan.kv_cache == said.kv_cache.total() == 16 * MIB
    assert plan.compute == said.compute.total()
    assert plan.weights == pytest.approx(said.weights.total(), abs=MIB // 10)


async def test_what_would_never_fit_takes_no_memory_to_find_out(model: Header, quick: LoadSettings) -> None:
    settings = quick.model_copy(update={'n_ctx': 1 << 17, 'n_batch': 8192, 'n_ubatch': 8192})

    plan = await dry_run(model, settings, devices=await find_devices())

    assert plan.total > 17 << 30
    assert plan.total == pytest.approx(estimate(model, settings).total, rel=0.05)


async def test_the_ram_is_among_the_devices() -> None:
    ram = (await find_devices())[0]

    assert ram.name == RAM
    assert 0 < ram.free <= ram.total


async def test_a_child_lists_the_devices_without_a_model() -> None:
    answer = await ask(Task())

    assert answer.devices[0].name == RAM
    assert answer.lines == ()


async def test_the_librarys_own_reason_is_passed_on(tmp_path: Path, quick: LoadSettings) -> None:
    header = read_header(tiny.write_unknown_architecture(tmp_path / 'dream.gguf'))

    assert "unknown model architecture: 'dreamformer'" in await failure(header, quick)


async def test_settings_the_library_would_die_of_are_refused(model: Header, quick: LoadSettings) -> None:
    settings = quick.model_copy(update={'flash_attn': 'off', 'type_v': 'q8_0'})

    assert 'needs flash attention' in await failure(model, settings)


async def test_a_crash_stays_in_the_child(tmp_path: Path, quick: LoadSettings) -> None:
    """More experts used than there are: llama.cpp takes that for a bug of its own and ends the process."""
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', llama__expert_count=4, llama__expert_used_count=9)

    assert 'm.gguf crashed llama.cpp' in await failure(read_header(path), quick)


async def test_a_file_that_went_bad_is_survived(model: Header, quick: LoadSettings) -> None:
    model.path.write_bytes(b'GGUF' + b'\xff' * 4096)

    assert model.path.name in await failure(model, quick)


async def test_cancelling_ends_the_child(model: Header, quick: LoadSettings) -> None:
    asking = asyncio.create_task(ask(Task(path=model.path, settings=quick)))
    async with asyncio.timeout(20):
        while not children():  # noqa: ASYNC110 (only the system knows)
            await asyncio.sleep(0.01)

    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert children() == []


def test_a_task_and_its_answer_are_plain_json(model: Header, quick: LoadSettings) -> None:
    task = Task(path=model.path, settings=quick)

    assert Task.model_validate(json.loads(task.model_dump_json())) == task
