"""The one model in memory: how it gets there and away again, and what is said when it cannot be loaded."""

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from inference.catalog import Catalog
from inference.chat import GenerationEvent, GenerationRequest, Message, TextDelta
from inference.engine import Engine
from inference.errors import (
    InferenceError,
    InvalidModelFile,
    LoadFailed,
    ModelNotFound,
    ModelUnloaded,
    NoModelLoaded,
    NotEnoughMemory,
    PreflightFailed,
)
from inference.settings import LoadSettings, SamplingSettings
from presets.models import ModelStore
from presets.storage import Writer
from tests import tiny_models as tiny
from webui.activity import Activity
from webui.model_host import ModelHost

T = TypeVar('T')
SMALL = LoadSettings(n_ctx=512, n_threads=1, use_extra_bufts=False)
"""With repacked weights, what fails would be tried a second time without them."""
HUGE = SMALL.model_copy(update={'n_ctx': 1 << 20})


@pytest.fixture
def model(tmp_path: Path, catalog: Catalog) -> Path:
    """The file of a small real model with the id `tiny`."""
    path = tiny.write_tiny_model(tmp_path / 'models' / 'tiny.gguf', endless=True)
    catalog.scan()
    return path


@pytest.fixture
def phases(host: ModelHost) -> list[str]:
    """The phases of the host's state, each as often as it was entered."""
    phases: list[str] = []

    def note() -> None:
        if phases[-1:] != [host.state.phase]:
            phases.append(host.state.phase)

    host.changed.subscribe(note)
    return phases


@pytest.fixture
def trials(host: ModelHost) -> Iterator[set[int]]:
    """The trial processes that were there while the host worked; in the end none of them is left."""
    seen: set[int] = set()
    host.changed.subscribe(lambda: seen.update(trials_now()))
    yield seen
    assert not trials_now()


async def load(host: ModelHost, model_id: str, settings: LoadSettings | None = SMALL) -> Engine:
    host.load(model_id, settings)
    return await host.ready()


async def failure(
    host: ModelHost, model_id: str, settings: LoadSettings = SMALL, *, retry: bool = False
) -> InferenceError:
    """Load what cannot be loaded; return why."""
    host.load(model_id, settings, retry=retry)
    with pytest.raises(InferenceError) as caught:
        await host.ready()
    assert (host.state.phase, host.state.model_id) == ('failed', model_id)
    assert host.state.error == str(caught.value)
    assert host.engine is None
    with pytest.raises(type(caught.value)):  # not only once
        await host.ready()
    return caught.value


def write_huge(path: Path) -> None:
    """Write a model whose header promises heads so large that no machine could keep a long context of them."""
    tiny.write_tiny_model(path, n_ctx_train=1 << 20, llama__attention__key_length=1 << 17)


def replace(model: Path, bad: str) -> None:
    model.unlink()
    if bad == 'a folder':
        model.mkdir()
    else:
        BAD[bad](model)


async def answer(engine: Engine) -> str:
    messages = (Message(role='user', content='hello there'),)
    async with engine.generate(GenerationRequest(messages=messages, sampling=SamplingSettings(max_tokens=4))) as reply:
        return ''.join([event.text async for event in reply if isinstance(event, TextDelta)])


async def rest(events: AsyncIterator[GenerationEvent]) -> list[GenerationEvent]:
    return [event async for event in events]


def trials_now() -> set[int]:
    return {child.pid for child in psutil.Process().children() if is_trial(child)}


def is_trial(child: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it may end meanwhile
        return 'inference.preflight' in child.cmdline()
    return False


async def counted(work: Coroutine[Any, Any, T]) -> tuple[T, int]:
    """Return what `work` returns, and how many trials were made meanwhile."""
    task, seen = asyncio.create_task(work), trials_now()
    while not task.done():
        seen |= trials_now()
        await asyncio.sleep(0.01)
    return await task, len(seen)


def engine_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count('engine')


# Loading and unloading


async def test_a_model_is_checked_then_loaded_then_ready(host: ModelHost, model: Path, phases: list[str]) -> None:
    engine = await load(host, 'tiny')
    assert phases == ['checking', 'loading', 'ready']
    assert host.engine is engine
    assert (engine.info.name, engine.info.n_ctx) == ('tiny', 512)
    assert await answer(engine)


async def test_the_echo_engine_needs_no_file(host: ModelHost, phases: list[str]) -> None:
    engine = await load(host, 'echo@0', None)
    assert phases == ['checking', 'ready']
    assert await answer(engine) == 'hello there'


async def test_another_load_replaces_the_model_and_ends_the_old_one(host: ModelHost, model: Path) -> None:
    first = await load(host, 'tiny')
    assert engine_threads() == 1
    second = await load(host, 'tiny')
    assert engine_threads() == 1
    assert host.engine is second is not first
    assert await answer(second)

    await load(host, 'echo')
    assert engine_threads() == 0


async def test_a_reply_under_way_is_told_that_its_model_went_away(host: ModelHost, model: Path) -> None:
    engine = await load(host, 'tiny')
    request = GenerationRequest(messages=(Message(role='user', content='go on'),))
    async with engine.generate(request) as reply:
        events = aiter(reply)
        while not isinstance(await anext(events), TextDelta):
            pass
        host.unload()
        with pytest.raises(ModelUnloaded):
            await rest(events)


async def test_unload_gives_the_model_back(host: ModelHost, model: Path, phases: list[str]) -> None:
    await load(host, 'tiny')
    host.unload()
    with pytest.raises(NoModelLoaded, match='Pick one in the model menu'):
        await host.ready()
    assert phases[-1] == 'empty'
    assert engine_threads() == 0
    assert await answer(await load(host, 'tiny'))


@pytest.mark.parametrize('phase', ['checking', 'loading'])
async def test_a_load_is_cancelled_wherever_it_is(
    host: ModelHost, model: Path, phases: list[str], trials: set[int], phase: str
) -> None:
    def cancel() -> None:
        if host.state.phase == phase and (phase == 'loading' or trials_now()):
            host.unload()

    host.changed.subscribe(cancel)
    with pytest.raises(NoModelLoaded):
        await load(host, 'tiny')
    assert phases[-2:] == [phase, 'empty']
    assert engine_threads() == 0

    host.changed.unsubscribe(cancel)
    assert await answer(await load(host, 'tiny'))


async def test_of_many_loads_the_last_one_counts(host: ModelHost, model: Path, trials: set[int]) -> None:
    for model_id in ('tiny', 'echo', 'nothing', 'tiny'):
        host.load(model_id, SMALL)
    engine = await host.ready()
    assert engine.info.name == 'tiny'
    assert engine_threads() == 1


async def test_who_waits_for_a_replaced_load_gets_the_model_that_came(host: ModelHost, model: Path) -> None:
    host.load('nothing')
    waiting = host.ready()
    host.load('echo')
    assert (await waiting).info.name == 'Echo'


# What is remembered


async def test_only_what_is_new_is_tried(host: ModelHost, model: Path, trials: set[int], phases: list[str]) -> None:
    await load(host, 'tiny')
    assert len(trials) == 1

    await load(host, 'tiny')
    assert len(trials) == 1
    assert phases[-3:] == ['checking', 'loading', 'ready']

    await load(host, 'tiny', SMALL.model_copy(update={'n_batch': 64}))
    assert len(trials) == 2, 'other settings'

    os.utime(model, (1, 1))
    await load(host, 'tiny')
    assert len(trials) == 3, 'another file'


async def test_settings_and_trials_last_past_the_end_of_the_app(
    host: ModelHost, model: Path, catalog: Catalog, tmp_path: Path, writer: Writer
) -> None:
    settings = LoadSettings(n_ctx=256, n_threads=1)
    await load(host, 'tiny', settings)
    await host.close()

    records = await ModelStore.open(tmp_path / 'models.json', writer, print)
    assert records.last_used() == 'tiny'
    later = ModelHost(catalog, records, Activity(tmp_path / 'activity.json'))
    seen: set[int] = set()
    later.changed.subscribe(lambda: seen.update(trials_now()))
    assert later.load_settings('tiny') == settings
    assert (await load(later, 'tiny', None)).info.n_ctx == 256
    assert not seen
    await later.close()


async def test_a_model_is_loaded_even_if_nothing_can_be_noted_about_it(
    host: ModelHost, model: Path, tmp_path: Path
) -> None:
    (tmp_path / 'models.json').mkdir()
    assert await answer(await load(host, 'tiny'))


async def test_live_settings_need_no_new_trial(host: ModelHost, model: Path, trials: set[int]) -> None:
    await load(host, 'tiny')
    await load(host, 'tiny', SMALL.model_copy(update={'n_threads': 2, 'n_slots': 3, 'cache_ram': 64, 'draft': 'on'}))
    assert len(trials) == 1


async def test_what_crashed_is_tried_again_only_if_asked_for(host: ModelHost, catalog: Catalog, tmp_path: Path) -> None:
    """More experts used than there are: llama.cpp ends the process."""
    tiny.write_tiny_model(tmp_path / 'models' / 'bad.gguf')
    catalog.scan()
    too_many = ('llama.expert_count=int:4', 'llama.expert_used_count=int:9')
    repacked = SMALL.model_copy(update={'use_extra_bufts': True, 'kv_overrides': too_many})
    crashed, tried = await counted(failure(host, 'bad', repacked))
    assert isinstance(crashed, PreflightFailed)
    assert tried == 1, 'an assertion outside of the code for the CPU has nothing to do with repacked weights'

    again, tried = await counted(failure(host, 'bad', repacked))
    assert str(again).startswith(str(crashed))
    assert str(again).endswith('This is from an earlier trial, which was not repeated; "Try again" repeats it.')
    assert tried == 0

    retried, tried = await counted(failure(host, 'bad', repacked, retry=True))
    assert str(retried) == str(crashed)
    assert tried == 1

    _, tried = await counted(failure(host, 'bad', repacked.model_copy(update={'n_ctx': 256})))
    assert tried == 1, 'other settings'


@pytest.mark.skipif(sys.platform == 'win32', reason='lets the trial crash with a signal')
async def test_a_model_that_crashes_with_repacked_weights_is_loaded_without(
    host: ModelHost, model: Path, trials: set[int]
) -> None:
    repacked = SMALL.model_copy(update={'use_extra_bufts': True})
    host.load('tiny', repacked)
    while not trials_now():  # noqa: ASYNC110 (only the system knows)
        await asyncio.sleep(0.01)
    for trial in trials_now():
        os.kill(trial, signal.SIGILL)
    assert await answer(await host.ready())
    assert not host.load_settings('tiny').use_extra_bufts

    tried = len(trials)
    assert await answer(await load(host, 'tiny', repacked))
    assert not host.load_settings('tiny').use_extra_bufts
    assert len(trials) == tried, 'both are known'


async def test_a_trial_that_was_killed_from_outside_says_nothing_about_the_model(
    host: ModelHost, model: Path, trials: set[int]
) -> None:
    host.load('tiny', SMALL)
    while not trials_now():  # noqa: ASYNC110 (only the system knows)
        await asyncio.sleep(0.01)
    for trial in trials_now():
        psutil.Process(trial).kill()
    with pytest.raises(InferenceError):
        await host.ready()

    assert await answer(await load(host, 'tiny'))


# What cannot be loaded


async def test_a_model_that_is_not_there(host: ModelHost, model: Path) -> None:
    error = await failure(host, 'nothing')
    assert type(error) is ModelNotFound
    assert str(error) == 'There is no model "nothing". These are there: tiny.'


BAD: dict[str, Callable[[Path], object]] = {
    'truncated': tiny.write_truncated,
    'not gguf': tiny.write_not_gguf,
    'vocabulary only': tiny.write_vocabulary_only,
    'empty': Path.touch,
}


@pytest.mark.parametrize('bad', BAD)
async def test_a_bad_file_is_no_model(host: ModelHost, catalog: Catalog, tmp_path: Path, bad: str) -> None:
    path = tmp_path / 'models' / 'bad.gguf'
    BAD[bad](path)
    catalog.scan()
    assert type(await failure(host, 'bad')) is ModelNotFound
    assert 'bad.gguf' in catalog.problems[path]


@pytest.mark.parametrize('bad', [*BAD, 'a folder'])
async def test_a_file_that_went_bad_since_it_was_found(
    host: ModelHost, model: Path, trials: set[int], bad: str
) -> None:
    replace(model, bad)
    error = await failure(host, 'tiny')
    assert isinstance(error, InvalidModelFile | LoadFailed)
    assert 'tiny.gguf' in str(error)
    assert 'Traceback' not in str(error)


async def test_a_file_that_was_moved_away_and_comes_back(
    host: ModelHost, model: Path, tmp_path: Path, trials: set[int]
) -> None:
    shutil.move(model, tmp_path / 'elsewhere')
    error = await failure(host, 'tiny')
    assert type(error) is InvalidModelFile
    assert 'tiny.gguf cannot be read' in str(error)
    assert not trials

    shutil.move(tmp_path / 'elsewhere', model)
    assert await answer(await load(host, 'tiny'))
    assert host.state.error == ''


async def test_a_context_that_does_not_fit_is_refused_with_one_that_does(
    host: ModelHost, catalog: Catalog, tmp_path: Path, trials: set[int]
) -> None:
    write_huge(tmp_path / 'models' / 'huge.gguf')
    catalog.scan()
    error = await failure(host, 'huge', HUGE)
    assert type(error) is NotEnoughMemory
    assert 'for a context of 1,048,576 tokens' in str(error)
    assert 'It fits with a context length of ' in str(error)
    assert not trials


async def test_a_model_that_does_not_fit_leaves_the_present_one_loaded(
    host: ModelHost, model: Path, catalog: Catalog, tmp_path: Path
) -> None:
    write_huge(tmp_path / 'models' / 'huge.gguf')
    catalog.scan()
    engine = await load(host, 'tiny')

    assert await load(host, 'huge', HUGE) is engine

    assert (host.state.phase, host.state.model_id) == ('ready', 'tiny')
    assert host.state.error == str(host.failure)
    assert type(host.failure) is NotEnoughMemory
    assert await answer(engine)
    await load(host, 'tiny')
    assert not host.state.error


async def test_who_insists_gets_a_trial_of_what_does_not_fit(
    host: ModelHost, catalog: Catalog, tmp_path: Path, phases: list[str]
) -> None:
    write_huge(tmp_path / 'models' / 'huge.gguf')
    catalog.scan()

    host.load('huge', HUGE, insist=True)

    with pytest.raises(LoadFailed, match=r'^llama\.cpp could not load huge\.gguf'):
        await host.ready()
    assert phases == ['checking', 'failed'], 'it came no further than the trial'


async def test_as_much_as_fits_is_worked_out_for_the_load_and_kept_as_it_was_chosen(
    host: ModelHost, model: Path
) -> None:
    chosen = SMALL.model_copy(update={'n_ctx': -1, 'n_gpu_layers': -2})

    engine = await load(host, 'tiny', chosen)

    assert engine.info.n_ctx == engine.info.n_ctx_train == 512
    assert host.load_settings('tiny') == chosen


async def test_the_host_tells_what_unloading_gives_back(host: ModelHost, model: Path) -> None:
    assert host.reclaimable == {}
    await load(host, 'tiny')
    assert 0 < host.reclaimable['CPU'] < 1 << 26
    await load(host, 'echo')
    assert host.reclaimable == {}


async def test_settings_that_do_not_go_together_are_explained_and_not_kept(host: ModelHost, model: Path) -> None:
    await load(host, 'tiny')
    error = await failure(host, 'tiny', SMALL.model_copy(update={'type_v': 'q8_0', 'flash_attn': 'off'}))
    assert isinstance(error, LoadFailed)
    assert str(error).startswith('A V cache of type q8_0 needs flash attention. Set "Flash attention" to auto')

    assert host.load_settings('tiny') == SMALL
    assert await answer(await load(host, 'tiny', None))


# The note for the next start, should this one crash


async def test_a_note_tells_what_is_in_memory(host: ModelHost, model: Path, tmp_path: Path) -> None:
    note = tmp_path / 'activity.json'
    notes: list[str] = []
    host.changed.subscribe(lambda: notes.append(note.read_text() if note.exists() else ''))

    await load(host, 'tiny')
    assert json.dumps({'model': 'tiny', 'phase': 'loading'}) in notes
    assert json.loads(note.read_text()) == {'model': 'tiny', 'phase': 'loaded'}
    assert Activity(note).take() == ('tiny', 'loaded')


async def test_the_note_goes_with_the_model(host: ModelHost, model: Path, tmp_path: Path) -> None:
    note = tmp_path / 'activity.json'

    async def noted() -> None:
        await load(host, 'tiny')
        assert note.exists()

    await noted()
    host.unload()
    with pytest.raises(NoModelLoaded):
        await host.ready()
    assert not note.exists()

    await noted()
    await load(host, 'echo')
    assert not note.exists()

    await noted()
    await failure(host, 'nothing')
    assert not note.exists()

    await noted()
    await host.close()
    assert not note.exists()


@pytest.mark.parametrize('content', ['', 'null', '[]', '{"model": 1}', '"text"', '{"model": "a", "phase": "loaded"'])
def test_a_damaged_note_is_no_note(tmp_path: Path, content: str) -> None:
    (tmp_path / 'activity.json').write_text(content)
    assert Activity(tmp_path / 'activity.json').take() is None
