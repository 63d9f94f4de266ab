"""Old files, recorded when they were today's, are read by this version."""

import shutil
from pathlib import Path

import orjson

from inference.settings import LoadSettings
from presets.chats import ChatStore
from presets.migrations import CURRENT
from presets.models import ModelStore
from presets.storage import Writer

RECORDED = Path(__file__).parent / 'recorded'


async def test_a_chat_from_before_there_were_versions(tmp_path: Path, writer: Writer, problems: list[str]) -> None:
    shutil.copy(RECORDED / 'chat.v0.json', tmp_path / 'trip.json')
    store = await ChatStore.open(tmp_path, writer, problems.append)
    chat = await store.load('trip')

    assert [message.content for message in chat.path()][1] == 'On the west coast of Norway.'
    assert (chat.sampling.temperature, chat.sampling.stop) == (0.2, ('###',))
    assert [summary.title for summary in store.summaries()] == ['Where is Ålesund?']
    assert orjson.loads((tmp_path / 'trip.json').read_bytes())['meta'] == {'1': {'version': CURRENT}}
    assert (tmp_path / 'trip.json.v0').read_bytes() == (RECORDED / 'chat.v0.json').read_bytes()
    assert not problems


async def test_a_chat_from_before_replies_had_reasoning(tmp_path: Path, writer: Writer, problems: list[str]) -> None:
    shutil.copy(RECORDED / 'chat.v2.json', tmp_path / 'sums.json')
    store = await ChatStore.open(tmp_path, writer, problems.append)
    chat = await store.load('sums')

    reply = chat.path()[1]
    assert (reply.content, reply.reasoning, reply.tool_calls) == ('4', '', [])
    assert (chat.overflow, chat.left_out(), chat.sampling.mirostat) == ('stop', [], 'v2')
    assert not problems


async def test_a_chat_from_before_chats_had_folders(tmp_path: Path, writer: Writer, problems: list[str]) -> None:
    shutil.copy(RECORDED / 'chat.v3.json', tmp_path / 'steps.json')
    store = await ChatStore.open(tmp_path, writer, problems.append)
    chat = await store.load('steps')

    reply = chat.path()[1]
    assert (reply.reasoning, reply.left_out, reply.tool_calls[0].name) == ('Pisa, I think.', ['a1'], 'look_up')
    assert (chat.folder, chat.pinned, chat.archived, chat.queue, reply.attachments) == ('', False, False, [], [])
    assert not problems


async def test_models_from_before_there_were_versions(tmp_path: Path, writer: Writer, problems: list[str]) -> None:
    path = tmp_path / 'models.json'
    shutil.copy(RECORDED / 'models.v0.json', path)
    store = await ModelStore.open(path, writer, problems.append)

    assert store.get('smol').load == LoadSettings(n_ctx=4096, flash_attn='on')
    assert store.last_used() == 'smol'
    assert (tmp_path / 'models.json.v0').exists()
    assert not problems


async def test_models_whose_file_was_mapped_or_locked_by_two_switches(
    tmp_path: Path, writer: Writer, problems: list[str]
) -> None:
    path = tmp_path / 'models.json'
    shutil.copy(RECORDED / 'models.v1.json', path)
    store = await ModelStore.open(path, writer, problems.append)

    assert store.get('smol').load == LoadSettings(n_ctx=4096, load_mode='mlock')
    assert not problems


async def test_a_newer_chat_is_left_alone_and_the_others_are_fine(
    tmp_path: Path, writer: Writer, problems: list[str]
) -> None:
    newer = b'{"meta": {"1": {"version": 99}}, "chat": {}, "messages": {}}'
    (tmp_path / 'future.json').write_bytes(newer)
    shutil.copy(RECORDED / 'chat.v0.json', tmp_path / 'trip.json')
    store = await ChatStore.open(tmp_path, writer, problems.append)

    assert [summary.id for summary in store.summaries()] == ['trip']
    assert (tmp_path / 'future.json').read_bytes() == newer
    [problem] = problems
    assert 'Update the app' in problem
