"""The check of memory before a load, with the memory this machine has."""

from pathlib import Path

import pytest

from inference.errors import NotEnoughMemory
from inference.fitting import fit
from inference.gguf import Header, read_header
from inference.settings import LoadSettings
from tests.tiny_models import write_tiny_model

HUGE_BATCH = {'n_batch': 8192, 'n_ubatch': 8192, 'flash_attn': 'off'}
"""Makes a long context take more to compute than any machine has."""


@pytest.fixture
def long(tmp_path: Path) -> Header:
    """A small model with a very long context."""
    return read_header(write_tiny_model(tmp_path / 'long.gguf', n_layer=4, n_ctx_train=1 << 20, name='Long'))


def greedy(quick: LoadSettings, n_ctx: int) -> LoadSettings:
    return quick.model_copy(update={**HUGE_BATCH, 'n_ctx': n_ctx})


async def test_what_clearly_fits_is_not_asked_about(long: Header, quick: LoadSettings) -> None:
    fitted = await fit(long, quick, reclaimed={})

    assert fitted.settings == quick
    assert not fitted.plan.is_exact


async def test_what_may_not_fit_is_asked_about_and_refused(long: Header, quick: LoadSettings) -> None:
    with pytest.raises(NotEnoughMemory, match=r'^Long needs about 1[67]\d\.\d GiB .* It fits with a context length of'):
        await fit(long, greedy(quick, 1 << 20), reclaimed={})


async def test_who_insists_is_let_through(long: Header, quick: LoadSettings) -> None:
    settings = greedy(quick, 1 << 20)

    assert (await fit(long, settings, reclaimed={}, insist=True)).settings == settings


async def test_as_much_as_fits_is_what_the_library_says_fits(long: Header, quick: LoadSettings) -> None:
    fitted = await fit(long, greedy(quick, -1), reclaimed={})

    assert 256 <= fitted.settings.n_ctx < 1 << 20
    assert fitted.plan.is_exact
    assert fitted.plan.n_ctx == fitted.settings.n_ctx


async def test_a_file_the_library_dies_of_is_left_to_the_trial_load(tmp_path: Path, quick: LoadSettings) -> None:
    path = write_tiny_model(tmp_path / 'm.gguf', n_ctx_train=1 << 20, llama__expert_count=4, llama__expert_used_count=9)

    with pytest.raises(NotEnoughMemory, match='GiB'):
        await fit(read_header(path), greedy(quick, 1 << 20), reclaimed={})
