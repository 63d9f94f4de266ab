"""What is remembered about models outlives the app, bad settings and bad files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from inference.settings import LoadSettings
from presets.models import MOST_VERDICTS, ModelRecord, ModelStore
from presets.storage import Writer

NOW = datetime.now(UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'models.json'


def read_models(path: Path) -> Any:
    return orjson.loads(path.read_bytes())['models']


def write_models(path: Path, models: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps({'meta': {'1': {'version': 1}}, 'models': models}))


async def test_a_record_comes_back_after_a_restart(path: Path, writer: Writer, problems: list[str]) -> None:
    record = ModelRecord(id='smol', load=LoadSettings(n_ctx=2048), last_used=NOW, verdicts={'cpu': 'ok'})
    store = await ModelStore.open(path, writer, problems.append)
    assert store.get('smol') == ModelRecord(id='smol')
    assert store.last_used() is None
    await store.put(record)
    await store.put(ModelRecord(id='large', last_used=NOW - timedelta(days=1), verdicts={'gpu': 'out of memory'}))

    again = await ModelStore.open(path, writer, problems.append)
    assert again.get('smol') == record
    assert again.get('large').verdicts == {'gpu': 'out of memory'}
    assert again.last_used() == 'smol'
    assert not problems


async def test_settings_that_are_no_longer_allowed_take_their_default(
    path: Path, writer: Writer, problems: list[str]
) -> None:
    models = {
        '1': {'id': 'odd', 'load': {'n_ctx': -5, 'n_batch': 256, 'warp': 9}, 'verdicts': {'cpu': 'ok', 'gpu': 1}},
        '2': {'id': 'odder', 'load': None, 'last_used': 'yesterday'},
        '3': {'id': 'fine', 'load': {'n_ctx': 1024}},
    }
    write_models(path, models)
    store = await ModelStore.open(path, writer, problems.append)

    assert store.get('odd') == ModelRecord(id='odd', load=LoadSettings(n_batch=256), verdicts={'cpu': 'ok'})
    assert store.get('odder') == ModelRecord(id='odder')
    assert store.get('fine').load.n_ctx == 1024
    assert [problem.split(':')[0] for problem in problems] == [
        'The model odd has settings that this version does not allow',
        'The model odder has settings that this version does not allow',
    ]
    assert 'load.n_ctx, load.warp, verdicts.gpu' in problems[0]

    await store.put(store.get('fine'))
    assert read_models(path) == models | {'3': store.get('fine').model_dump(mode='json')}, (
        'saving one record leaves the others as they are'
    )


async def test_a_damaged_file_is_set_aside_and_the_app_goes_on(
    tmp_path: Path, path: Path, writer: Writer, problems: list[str]
) -> None:
    (tmp_path / 'models.json').write_text('{"models": {"1":')
    store = await ModelStore.open(path, writer, problems.append)
    await store.put(ModelRecord(id='smol', last_used=NOW))

    assert store.last_used() == 'smol'
    assert len(problems) == 1
    assert len(list(path.parent.glob('*.damaged-*'))) == 1


async def test_a_record_can_be_changed_without_changing_the_store(
    path: Path, writer: Writer, problems: list[str]
) -> None:
    store = await ModelStore.open(path, writer, problems.append)
    await store.put(ModelRecord(id='smol'))
    store.get('smol').verdicts['gpu'] = 'ok'

    assert store.get('smol').verdicts == {}


def test_of_very_many_verdicts_the_latest_are_kept() -> None:
    record = ModelRecord(id='smol', verdicts={'first': 'ok'})
    for number in range(MOST_VERDICTS):
        record = record.model_copy(update={'verdicts': record.with_verdict(f'{number}', 'ok')})
    record = record.model_copy(update={'verdicts': record.with_verdict('0', 'it crashed')})

    assert len(record.verdicts) == MOST_VERDICTS
    assert 'first' not in record.verdicts
    assert list(record.verdicts.items())[-1] == ('0', 'it crashed')
