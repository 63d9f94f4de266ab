"""A trial in a child process: what crashes there does not crash here."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from inference.errors import LoadFailed, PreflightFailed
from inference.preflight import preflight
from inference.settings import LoadSettings
from tests import tiny_encoders as encoders
from tests import tiny_models as tiny


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if 'inference.preflight' in child.cmdline()]


async def failure(path: Path, settings: LoadSettings) -> str:
    with pytest.raises(PreflightFailed) as caught:
        await preflight(path, settings, lambda share: None)
    assert children() == []
    return str(caught.value)


async def test_a_sound_model_passes(tmp_path: Path, quick: LoadSettings) -> None:
    shares: list[float] = []

    await preflight(tiny.write_tiny_model(tmp_path / 'модель.gguf'), quick, shares.append)

    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert children() == []


async def test_models_that_only_read_are_tried_by_reading(tmp_path: Path, quick: LoadSettings) -> None:
    for write in (encoders.write_encoder, encoders.write_reranker):
        await preflight(write(tmp_path / 'model.gguf'), quick.for_reading(), lambda share: None)


async def test_an_encoder_that_crashes_only_when_it_reads_is_found(tmp_path: Path, quick: LoadSettings) -> None:
    path = encoders.write_encoder(tmp_path / 'model.gguf', bert__embedding_length_out=4096)

    assert 'GGML_ASSERT' in await failure(path, quick.for_reading())


async def test_the_librarys_own_reason_is_passed_on(tmp_path: Path, quick: LoadSettings) -> None:
    path = tiny.write_unknown_architecture(tmp_path / 'dream.gguf')

    with pytest.raises(LoadFailed, match=r"dream\.gguf: .*unknown model architecture: 'dreamformer'") as caught:
        await preflight(path, quick, lambda share: None)
    assert not isinstance(caught.value, PreflightFailed), 'another trial would say the same'


async def test_a_crash_stays_in_the_child_and_is_named(tmp_path: Path, quick: LoadSettings) -> None:
    """More experts used than there are: llama.cpp takes that for a bug of its own and ends the process."""
    path = tiny.write_tiny_model(tmp_path / 'expert.gguf', llama__expert_count=4, llama__expert_used_count=9)

    said = await failure(path, quick)

    assert 'expert.gguf in a separate process crashed (' in said
    assert ('exit code' if sys.platform == 'win32' else 'signal SIGABRT') in said
    assert 'GGML_ASSERT' in said


async def test_a_tokenizer_that_crashes_is_found(tmp_path: Path, quick: LoadSettings) -> None:
    said = await failure(tiny.write_tiny_model(tmp_path / 'm.gguf', tokenizer__ggml__model='bert'), quick)

    assert 'crashed' in said


async def test_nonsense_is_found(tmp_path: Path, quick: LoadSettings) -> None:
    """With this frequency all positions are infinite, and so are the scores."""
    said = await failure(tiny.write_tiny_model(tmp_path / 'm.gguf', llama__rope__freq_base=0.0), quick)

    assert 'computes nonsense' in said


async def test_a_signal_from_outside_is_named(tmp_path: Path, quick: LoadSettings) -> None:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf')
    trial = asyncio.create_task(preflight(path, quick, lambda share: None))
    (child,) = await started()
    child.kill()

    with pytest.raises(PreflightFailed, match=r'exit code' if sys.platform == 'win32' else r'signal SIGKILL'):
        await trial


async def test_cancelling_ends_the_child_before_it_speaks(tmp_path: Path, quick: LoadSettings) -> None:
    trial = asyncio.create_task(preflight(tiny.write_tiny_model(tmp_path / 'm.gguf'), quick, lambda share: None))
    await started()

    trial.cancel()

    with pytest.raises(asyncio.CancelledError):
        await trial
    assert children() == []


async def test_cancelling_ends_the_child_while_it_loads(tmp_path: Path, quick: LoadSettings) -> None:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf')

    def cancel(share: float) -> None:
        trial.cancel()

    trial = asyncio.create_task(preflight(path, quick, cancel))
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert children() == []


async def started() -> list[psutil.Process]:
    async with asyncio.timeout(20):
        while not children():  # noqa: ASYNC110 (only the system knows)
            await asyncio.sleep(0.01)
    return children()
