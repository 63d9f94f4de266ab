"""How the app starts: which model it loads, what it tells after a crash, and how it follows the models folder."""

import asyncio
import json
from pathlib import Path

import pytest

from inference.engine import Engine
from inference.errors import NoModelLoaded
from presets.chat import Chat, StoredMessage
from tests import tiny_models as tiny
from tests.tiny_encoders import write_encoder, write_reranker
from tests.webui.conftest import app_config, started
from webui.services import Services
from webui.supervisor import CrashReport, describe_exit

CRASHED = CrashReport(reason=describe_exit(0xC0000017), when='2026-01-01T12:00:00+00:00', restarts=1)


def put_models(folder: Path, *names: str) -> None:
    (folder / 'models').mkdir(exist_ok=True)
    for name in names:
        tiny.write_tiny_model(folder / 'models' / f'{name}.gguf')


def remove_model(folder: Path, name: str) -> None:
    (folder / 'models' / f'{name}.gguf').unlink()


def note(folder: Path, model: str, phase: str) -> None:
    """Leave behind what an app leaves that died with a model in memory."""
    (folder / 'activity.json').write_text(json.dumps({'model': model, 'phase': phase}))


async def load(services: Services, model_id: str) -> Engine:
    services.host.load(model_id)
    return await services.host.ready()


# The first model


async def test_the_model_that_was_asked_for_is_loaded(tmp_path: Path) -> None:
    async with started(app_config(tmp_path, 'echo@0')) as services:
        assert (await services.host.ready()).info.name == 'Echo'


async def test_the_app_starts_without_a_model_if_told_to(tmp_path: Path) -> None:
    async with started(app_config(tmp_path, 'none')) as services:
        assert services.host.state.phase == 'empty'
        with pytest.raises(NoModelLoaded):
            await services.host.ready()


async def test_a_model_that_is_not_there_does_not_keep_the_app_from_starting(tmp_path: Path) -> None:
    async with started(app_config(tmp_path, 'misspelled')) as services:
        with pytest.raises(Exception, match='There is no model "misspelled"'):
            await services.host.ready()
        assert services.host.state.phase == 'failed'


async def test_the_first_model_is_loaded_as_the_command_line_says_on_top_of_what_is_kept(tmp_path: Path) -> None:
    put_models(tmp_path, 'tiny')
    for given, expected in (({'n_ctx': 256, 'n_threads': 1}, (256, 1)), ({'n_ctx': 512}, (512, 1)), ({}, (512, 1))):
        config = app_config(tmp_path, 'tiny').model_copy(update={'load_settings': given})
        async with started(config) as services:
            engine = await services.host.ready()
            kept = services.host.load_settings('tiny')

        assert (engine.info.n_ctx, kept.n_threads) == expected
        assert kept.n_ctx == expected[0]


async def test_the_model_used_last_is_loaded_again(tmp_path: Path) -> None:
    put_models(tmp_path, 'aardvark', 'zebra')
    async with started(app_config(tmp_path)) as services:
        assert (await services.host.ready()).info.name == 'aardvark', 'the first there is'
        await load(services, 'zebra')

    async with started(app_config(tmp_path)) as services:
        assert (await services.host.ready()).info.name == 'zebra'

    remove_model(tmp_path, 'zebra')
    async with started(app_config(tmp_path)) as services:
        assert services.first_model() == 'aardvark'


async def test_a_model_that_cannot_write_is_never_the_first(tmp_path: Path) -> None:
    put_models(tmp_path, 'zebra')
    write_encoder(tmp_path / 'models' / 'aardvark.gguf')
    write_reranker(tmp_path / 'models' / 'badger.gguf')

    async with started(app_config(tmp_path)) as services:
        first = services.first_model()
        known = [model.id for model in services.catalog.models]

    assert {'aardvark', 'badger'} <= set(known)
    assert first not in ('aardvark', 'badger')


# After a crash


async def test_a_start_after_a_proper_end_has_nothing_to_tell(tmp_path: Path) -> None:
    put_models(tmp_path, 'tiny')
    for _ in range(2):
        async with started(app_config(tmp_path, 'tiny')) as services:
            await services.host.ready()
            assert (tmp_path / 'activity.json').exists()
            assert services.notices.take() == []
        assert not (tmp_path / 'activity.json').exists()


async def test_after_a_crash_the_app_says_what_happened(tmp_path: Path) -> None:
    async with started(app_config(tmp_path, 'none'), CRASHED) as services:
        assert services.notices.take() == [
            'The app ran out of memory (0xC0000017). It was started again; your chats are as they were.'
        ]
        assert services.notices.take() == [], 'once'


@pytest.mark.parametrize(
    ('crash', 'phase', 'said'),
    [
        (CRASHED, 'loaded', 'The app ran out of memory (0xC0000017). That was with culprit loaded. '),
        (CRASHED, 'loading', 'The app ran out of memory (0xC0000017). That was while it loaded culprit. '),
        (None, 'loaded', 'The app ended without warning. That was with culprit loaded. '),
    ],
)
async def test_the_model_it_crashed_with_is_named_and_not_loaded_again(
    tmp_path: Path, crash: CrashReport | None, phase: str, said: str
) -> None:
    put_models(tmp_path, 'culprit')
    note(tmp_path, 'culprit', phase)
    async with started(app_config(tmp_path, 'culprit'), crash) as services:
        assert services.host.state.phase == 'empty'
        [notice] = services.notices.take()
        assert said in notice
        assert 'the model was not loaded again. Load it from the model menu' in notice

    async with started(app_config(tmp_path, 'culprit')) as services:
        assert services.notices.take() == []
        assert (await services.host.ready()).info.name == 'culprit', 'the next start tries it again'


async def test_another_model_than_the_culprit_is_loaded(tmp_path: Path) -> None:
    note(tmp_path, 'culprit', 'loaded')
    async with started(app_config(tmp_path, 'echo'), CRASHED) as services:
        assert (await services.host.ready()).info.name == 'Echo'


@pytest.mark.parametrize('content', ['', 'null', '[]', '{}'])
async def test_a_damaged_note_of_a_crash_does_not_matter(tmp_path: Path, content: str) -> None:
    (tmp_path / 'activity.json').write_text(content)
    async with started(app_config(tmp_path, 'echo')) as services:
        assert services.notices.take() == []
        assert (await services.host.ready()).info.name == 'Echo'


# Files


async def test_a_damaged_file_becomes_a_notice_and_the_rest_stays(tmp_path: Path) -> None:
    async with started(app_config(tmp_path, 'none')) as services:
        chat = Chat(id='sound', title='Still there')
        chat.append(StoredMessage(role='user', content='hello'))
        await services.chats.save(chat)
    (tmp_path / 'chats' / 'local' / 'broken.json').write_text('{"chat": {"1": ')
    (tmp_path / 'models.json').write_text('no JSON')

    async with started(app_config(tmp_path, 'none')) as services:
        notices = sorted(services.notices.take())
        assert [summary.title for summary in services.chats.summaries()] == ['Still there']
    assert [notice.split(' is damaged')[0] for notice in notices] == ['broken.json', 'models.json']
    assert all('was set aside as' in notice for notice in notices)


async def test_who_looks_is_told_of_a_notice_at_once(tmp_path: Path) -> None:
    async with started(app_config(tmp_path, 'none')) as services:
        seen: list[str] = []
        services.notices.added.subscribe(seen.append)
        services.notices.add('Something happened.')
        assert seen == ['Something happened.']


async def test_a_model_that_is_copied_into_the_folder_appears(tmp_path: Path) -> None:
    async with started(app_config(tmp_path, 'none')) as services:
        await _until_watched(services, tmp_path / 'models')
        put_models(tmp_path, 'new')
        await _until(services, 'new')
        await load(services, 'new')
        await load(services, 'echo')

        remove_model(tmp_path, 'new')
        while 'new' in [model.id for model in services.catalog.models]:
            await services.catalog_changed.emitted(timeout=20)


async def _until_watched(services: Services, folder: Path) -> None:
    """Change a file until that is noticed, because it takes a moment until the system watches a folder."""
    noticed = asyncio.ensure_future(services.catalog_changed.emitted(timeout=20))
    content = ''
    while not noticed.done():
        content += 'x'
        (folder / 'probe.gguf').write_text(content)
        await asyncio.wait([noticed], timeout=0.3)


async def _until(services: Services, model_id: str) -> None:
    while model_id not in [model.id for model in services.catalog.models]:
        await services.catalog_changed.emitted(timeout=20)
