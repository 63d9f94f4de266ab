"""Measuring a real model in a child process, in seconds: that it works, not what it finds."""

import asyncio
from pathlib import Path

import psutil
import pytest

from inference.catalog import Catalog, ModelFile
from inference.errors import LoadFailed, PreflightFailed
from inference.settings import LoadSettings
from inference.tuner import measure, subject
from inference.tuning import Run
from tests import tiny_models as tiny


def found(path: Path) -> ModelFile:
    catalog = Catalog([], [path])
    catalog.scan()
    return catalog.models[0]


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return found(tiny.write_tiny_model(tmp_path / 'tiny.gguf', endless=True))


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if 'inference.tuner_child' in child.cmdline()]


async def test_every_stage_is_measured_in_turns_with_the_default(model: ModelFile) -> None:
    seen: list[Run] = []

    measured = await measure(model, LoadSettings(), seconds=20, on_run=seen.append)

    assert measured.runs == tuple(seen)
    assert [*dict.fromkeys(run.stage for run in seen)][:3:2] == ['flash attention', 'repacked weights']
    for stage, candidate in measured.pairs():
        assert len(measured.of(stage, candidate)) == len(measured.of(stage, measured.default)) == 3
    assert all(run.prefill > 0 and run.decode > 0 and run.check > 0 for run in seen)
    assert children() == []


async def test_in_no_time_nothing_is_measured(model: ModelFile) -> None:
    with pytest.raises(LoadFailed, match='too slow to measure'):
        await measure(model, LoadSettings(n_threads=1), seconds=1e-9)


async def test_what_the_library_refuses_is_noted(model: ModelFile) -> None:
    """A head of 16 numbers does not fill a block of the smaller cache."""
    measured = await measure(model, LoadSettings(n_threads=1), seconds=20)

    assert [note.split(':')[0] for note in measured.notes] == ['KV cache']


async def test_a_crash_leaves_what_was_measured_before(model: ModelFile) -> None:
    def crash(run: Run) -> None:
        if run.stage == 'physical batch':
            for child in children():
                child.kill()

    measured = await measure(model, LoadSettings(n_threads=1), seconds=20, on_run=crash)

    assert measured.runs[0].stage == 'flash attention'
    assert measured.notes[-1].startswith('The process that measured crashed')


async def test_a_crash_before_that_is_an_error(tmp_path: Path) -> None:
    """More experts used than there are: llama.cpp takes that for a bug of its own and ends the process."""
    path = tiny.write_tiny_model(tmp_path / 'expert.gguf')
    model = found(path)
    tiny.write_tiny_model(path, llama__expert_count=4, llama__expert_used_count=9)

    with pytest.raises(PreflightFailed, match=r'expert\.gguf in a separate process: .* crashed'):
        await measure(model, LoadSettings(), seconds=5)


async def test_a_model_that_the_library_refuses(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(tmp_path / 'dream.gguf')
    model = found(path)
    tiny.write_unknown_architecture(path)

    with pytest.raises(LoadFailed, match=r'could not load dream\.gguf'):
        await measure(model, LoadSettings(), seconds=5)


async def test_cancelling_ends_the_child(model: ModelFile) -> None:
    def cancel(run: Run) -> None:
        measuring.cancel()

    measuring = asyncio.create_task(measure(model, LoadSettings(), seconds=20, on_run=cancel))
    with pytest.raises(asyncio.CancelledError):
        await measuring

    assert children() == []


def test_a_tuning_holds_for_a_file_a_library_and_a_machine(model: ModelFile) -> None:
    here = subject(model)

    assert (here.model, here.size) == ('tiny.gguf', model.header.size)
    assert 'CPU' in here.library
    assert 'cores' in here.machine
    assert subject(model) == here
