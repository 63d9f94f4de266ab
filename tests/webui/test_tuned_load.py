"""A model is loaded with what was measured to be fastest, and the person's own settings stay their own."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from loguru import logger

from inference.catalog import Catalog
from inference.settings import LoadSettings
from inference.tuner import subject
from inference.tuning import Tuning
from presets.models import ModelStore
from presets.storage import Writer
from presets.tunings import TuningStore
from tests import tiny_models as tiny
from webui.activity import Activity
from webui.model_host import ModelHost

TUNING = Tuning(n_threads=1, flash_attn='on', n_ubatch=64, use_extra_bufts=False, measured_at=datetime.now(UTC))


@pytest.fixture
async def tunings(tmp_path: Path, writer: Writer, problems: list[str]) -> TuningStore:
    return TuningStore.open(tmp_path / 'tunings.json', writer, problems.append)


@pytest.fixture
async def host(tmp_path: Path, catalog: Catalog, records: ModelStore, tunings: TuningStore) -> AsyncIterator[ModelHost]:
    """A model host with one model, `tiny`, that was measured."""
    tiny.write_tiny_model(tmp_path / 'models' / 'tiny.gguf')
    catalog.scan()
    await tunings.put(subject(catalog.find('tiny')), TUNING)
    host = ModelHost(catalog, records, Activity(tmp_path / 'activity.json'), tunings)
    yield host
    await host.close()


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format='{message}')
    yield lines
    logger.remove(sink)


async def loaded_with(host: ModelHost, log: list[str], settings: LoadSettings | None = None) -> str:
    host.load('tiny', settings)
    await host.ready()
    return next(line for line in reversed(log) if line.startswith('Loaded tiny with '))


async def test_what_was_measured_is_used_and_not_kept_as_the_persons_wish(host: ModelHost, log: list[str]) -> None:
    said = await loaded_with(host, log)

    for part in ("'n_threads': 1", "'flash_attn': 'on'", "'n_ubatch': 64", "'use_extra_bufts': False"):
        assert part in said
    assert host.load_settings('tiny') == LoadSettings()


async def test_what_the_person_set_wins(host: ModelHost, log: list[str]) -> None:
    said = await loaded_with(host, log, LoadSettings(flash_attn='off', n_ubatch=256))

    assert "'flash_attn': 'off'" in said and "'n_ubatch': 256" in said
    assert host.load_settings('tiny') == LoadSettings(flash_attn='off', n_ubatch=256)


async def test_measurements_that_cannot_be_read_do_not_stop_a_load(
    host: ModelHost, log: list[str], tmp_path: Path
) -> None:
    (tmp_path / 'tunings.json').unlink()
    (tmp_path / 'tunings.json').mkdir()

    assert "'n_threads'" not in await loaded_with(host, log)
