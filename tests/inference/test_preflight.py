"""A trial in a child process: what crashes there does not crash here."""

import asyncio
import signal
import sys
from pathlib import Path

import psutil
import pytest

from inference.errors import LoadFailed, NotEnoughMemory, PreflightFailed
from inference.preflight import preflight, verdict_scope
from inference.settings import LoadSettings
from tests import tiny_encoders as encoders
from tests import tiny_models as tiny


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if 'inference.preflight' in child.cmdline()]


async def failure(path: Path, settings: LoadSettings) -> PreflightFailed:
    with pytest.raises(PreflightFailed) as caught:
        await preflight(path, settings, lambda share: None)
    assert children() == []
    return caught.value


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

    assert 'GGML_ASSERT' in str(await failure(path, quick.for_reading()))


async def test_the_librarys_own_reason_is_passed_on(tmp_path: Path, quick: LoadSettings) -> None:
    path = tiny.write_unknown_architecture(tmp_path / 'dream.gguf')

    with pytest.raises(LoadFailed, match=r"dream\.gguf: .*unknown model architecture: 'dreamformer'") as caught:
        await preflight(path, quick, lambda share: None)
    assert not isinstance(caught.value, PreflightFailed), 'another trial would say the same'


async def test_a_crash_stays_in_the_child_and_is_explained(tmp_path: Path, quick: LoadSettings) -> None:
    """More experts used than there are: llama.cpp takes that for a bug of its own and ends the process."""
    path = tiny.write_tiny_model(tmp_path / 'expert.gguf', llama__expert_count=4, llama__expert_used_count=9)

    crashed = await failure(path, quick)

    said = str(crashed)
    assert 'expert.gguf in a separate process was ended by llama.cpp itself (' in said
    assert ('exit code' if sys.platform == 'win32' else 'signal SIGABRT') in said
    assert 'It last said: GGML_ASSERT(n_expert_used_max <= hparams.n_expert) failed (llama-model.cpp:' in said
    assert not crashed.may_be_repacking
    assert crashed.lasts


async def test_a_setting_that_makes_it_crash_is_named(tmp_path: Path, quick: LoadSettings) -> None:
    odd = quick.model_copy(update={'kv_overrides': ('llama.block_count=int:0',)})

    said = str(await failure(tiny.write_tiny_model(tmp_path / 'm.gguf'), odd))

    assert 'Take "Metadata overrides" back first.' in said
    assert 'GGML_ASSERT(hparams.n_layer_all > 0' in said


async def test_a_tokenizer_that_crashes_is_found(tmp_path: Path, quick: LoadSettings) -> None:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', tokenizer__ggml__model='bert')

    assert 'ended by llama.cpp itself' in str(await failure(path, quick))


@pytest.mark.parametrize('repacks', [True, False])
async def test_nonsense_is_found(tmp_path: Path, quick: LoadSettings, repacks: bool) -> None:
    """With this frequency all positions are infinite, and so are the scores."""
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', llama__rope__freq_base=0.0)

    crashed = await failure(path, quick.model_copy(update={'use_extra_bufts': repacks}))

    assert 'm.gguf in a separate process computed nonsense, so it' in str(crashed)
    assert crashed.may_be_repacking is repacks


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no signals')
@pytest.mark.parametrize(
    ('number', 'said', 'lasts'),
    [
        ('SIGILL', 'met an instruction that this processor does not have (signal SIGILL)', True),
        ('SIGSEGV', 'crashed (signal SIGSEGV)', True),
        ('SIGBUS', 'could not go on reading the file (signal SIGBUS)', True),
        ('SIGKILL', 'was killed from outside (signal SIGKILL)', False),
    ],
)
async def test_a_signal_is_explained(tmp_path: Path, quick: LoadSettings, number: str, said: str, lasts: bool) -> None:
    trial = asyncio.create_task(failure(tiny.write_tiny_model(tmp_path / 'm.gguf'), quick))
    (child,) = await started()
    child.send_signal(signal.Signals[number])

    crashed = await trial

    assert said in str(crashed)
    assert crashed.lasts is lasts


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux limits the memory of a process that runs')
async def test_memory_that_runs_out_is_told_with_the_setting_that_saves_some(
    tmp_path: Path, quick: LoadSettings
) -> None:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', n_ctx_train=1 << 20, n_layer=40)
    trial = asyncio.create_task(preflight(path, quick.model_copy(update={'n_ctx': 1 << 20}), lambda share: None))
    (child,) = await started()
    child.rlimit(psutil.RLIMIT_AS, (4 << 30, 4 << 30))

    with pytest.raises(NotEnoughMemory) as caught:
        await trial

    assert 'a context of 1,048,576 tokens for m.gguf: insufficient memory (attempted to allocate' in str(caught.value)
    assert 'A shorter context length or a K and V cache of type q8_0 needs less memory.' in str(caught.value)


@pytest.mark.skipif(sys.platform == 'win32', reason='stops the child with a signal')
async def test_a_child_that_hangs_is_ended(tmp_path: Path, quick: LoadSettings) -> None:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf')
    trial = asyncio.create_task(preflight(path, quick, lambda share: None, patience=2))
    (child,) = await started()
    child.suspend()

    with pytest.raises(PreflightFailed, match='gave no sign of life any more and was ended, so') as caught:
        await trial

    assert 'Set "CPU threads" to fewer' in str(caught.value)
    assert children() == []


def test_a_verdict_holds_for_all_settings_that_cannot_crash_a_load() -> None:
    settings = LoadSettings()
    same = {'n_threads': 3, 'n_threads_batch': 2, 'cache_ram': 5, 'slots_per_user': 1, 'draft': 'on', 'loras': ('a',)}
    for name, value in {**same, 'pooling': 'cls', 'n_slots': 3}.items():
        assert verdict_scope(settings.model_copy(update={name: value})) == verdict_scope(settings), name
    for name, value in {'n_ctx': 512, 'n_slots': 5, 'use_extra_bufts': False, 'kv_overrides': ('a=int:1',)}.items():
        assert verdict_scope(settings.model_copy(update={name: value})) != verdict_scope(settings), name


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
