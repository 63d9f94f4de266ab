"""What was measured outlives the app, and two programs can write to it."""

from datetime import UTC, datetime
from pathlib import Path

import orjson

from inference.tuner import Subject
from inference.tuning import Tuning
from presets.storage import Writer
from presets.tunings import TuningStore

SMALL = Subject(model='small.gguf', size=1000, library='1.0 AVX2', machine='a laptop')
TUNING = Tuning(n_threads=3, flash_attn='on', measured_at=datetime(2026, 1, 2, tzinfo=UTC))


async def test_a_tuning_comes_back_for_the_same_model_library_and_machine(
    tmp_path: Path, writer: Writer, problems: list[str]
) -> None:
    store = TuningStore.open(tmp_path / 'tunings.json', writer, problems.append)
    assert await store.get(SMALL) is None
    await store.put(SMALL, TUNING)

    again = TuningStore.open(tmp_path / 'tunings.json', writer, problems.append)
    assert await again.get(SMALL) == TUNING
    for other in ({'model': 'large.gguf'}, {'size': 999}, {'library': '1.1 AVX2'}, {'machine': 'a server'}):
        assert await again.get(SMALL.model_copy(update=other)) is None
    assert not problems


async def test_a_new_tuning_takes_the_place_of_the_old_one(tmp_path: Path, writer: Writer, problems: list[str]) -> None:
    store = TuningStore.open(tmp_path / 'tunings.json', writer, problems.append)
    large = SMALL.model_copy(update={'model': 'large.gguf'})
    await store.put(SMALL, TUNING)
    await store.put(large, TUNING)
    newer = TUNING.model_copy(update={'n_threads': 2})
    await store.put(SMALL, newer)

    assert (await store.get(SMALL), await store.get(large)) == (newer, TUNING)


async def test_what_another_program_measured_is_seen_at_once(
    tmp_path: Path, writer: Writer, problems: list[str]
) -> None:
    """The benchmark is a program of its own; it measures while the app runs."""
    ours, theirs = (TuningStore.open(tmp_path / 'tunings.json', writer, problems.append) for _ in range(2))
    large = SMALL.model_copy(update={'model': 'large.gguf'})
    await ours.put(large, TUNING)
    await theirs.put(SMALL, TUNING)

    assert await ours.get(SMALL) == TUNING
    await ours.put(SMALL, TUNING)
    assert await theirs.get(large) == TUNING
    assert not problems


async def test_a_record_that_makes_no_sense_any_more_is_measured_again(
    tmp_path: Path, writer: Writer, problems: list[str]
) -> None:
    path = tmp_path / 'tunings.json'
    record = {'subject': SMALL.model_dump(), 'tuning': {'n_threads': 'many'}}
    path.write_bytes(orjson.dumps({'meta': {'1': {'version': 2}}, 'tunings': {'1': record, '2': {}}}))
    store = TuningStore.open(path, writer, problems.append)

    assert await store.get(SMALL) is None
    await store.put(SMALL, TUNING)
    assert await store.get(SMALL) == TUNING


async def test_a_damaged_file_costs_the_measurements_only(tmp_path: Path, writer: Writer, problems: list[str]) -> None:
    path = tmp_path / 'tunings.json'
    path.write_text('{"tunings": ')
    store = TuningStore.open(path, writer, problems.append)

    assert await store.get(SMALL) is None
    await store.put(SMALL, TUNING)
    assert await store.get(SMALL) == TUNING
