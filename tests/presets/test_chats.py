"""Chats as their owner sees them: saved, listed, deleted, restored, and unharmed by what happens to their files."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inference.chat import ToolCall
from inference.settings import SamplingSettings
from presets.chat import Chat, ChatSummary, StoredMessage
from presets.chats import ChatStore
from presets.errors import DamagedFile, NotFound, StoreError
from presets.folders import folder_path
from presets.storage import Writer

Open = Callable[[], Awaitable[ChatStore]]


@pytest.fixture
def start(tmp_path: Path, writer: Writer, problems: list[str]) -> Open:
    """Start the app: open the store as a new process would."""
    return lambda: ChatStore.open(tmp_path, writer, problems.append)


def question(text: str) -> StoredMessage:
    return StoredMessage(role='user', content=text)


def answer(text: str) -> StoredMessage:
    return StoredMessage(role='assistant', content=text, model='smol', finish_reason='stop')


def a_chat(*texts: str) -> Chat:
    chat = Chat.new()
    for number, text in enumerate(texts):
        chat.append(answer(text) if number % 2 else question(text))
    return chat


def files(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


# The tree of messages


def test_the_path_follows_the_branch_that_is_on_screen() -> None:
    chat = a_chat('Hi', 'Hello!')
    first = chat.leaf
    chat.leaf = chat.path()[0].id
    chat.append(answer('Good day!'))
    assert [message.content for message in chat.path()] == ['Hi', 'Good day!']

    chat.leaf = first
    assert [message.content for message in chat.path()] == ['Hi', 'Hello!']
    assert len(chat.messages) == 3


def test_a_circle_or_a_missing_parent_ends_the_path() -> None:
    chat = a_chat('Hi', 'Hello!')
    chat.path()[0].parent = chat.leaf
    assert [message.content for message in chat.path()] == ['Hi', 'Hello!']

    chat.path()[0].parent = 'nobody'
    assert [message.content for message in chat.path()] == ['Hi', 'Hello!']

    chat.leaf = 'nobody'
    assert chat.path() == []


@pytest.mark.parametrize(
    ('title', 'text', 'shown'),
    [
        ('Mine', 'Hi', 'Mine'),
        ('', '\n  Why is\nthe sky blue?', 'Why is'),
        ('', 'x' * 100, 'x' * 60),
        ('', ' \n ', 'New chat'),
        ('', '## What does `map` **really** do?', 'What does map really do?'),
        ('', '```python\nx = 2 * y ** 2', 'x = 2 * y ** 2'),
    ],
)
def test_a_chat_without_a_title_is_shown_by_its_first_question(title: str, text: str, shown: str) -> None:
    chat = a_chat(text)
    chat.title = title
    assert chat.display_title == shown
    assert Chat.new().display_title == 'New chat'


def test_what_was_left_out_belongs_to_the_last_reply_on_screen() -> None:
    chat = a_chat('Hi', 'Hello!', 'And now?', 'Well.')
    first, second = chat.path()[1], chat.path()[3]
    assert chat.left_out() == []

    second.left_out = [first.id]
    assert chat.left_out() == [first.id]

    chat.leaf = first.id
    assert chat.left_out() == []


# Saving and listing


async def test_a_chat_comes_back_after_a_restart_as_it_was(start: Open, problems: list[str]) -> None:
    chat = a_chat('Wie geht’s? 😀', 'Gut.\n\n```py\nprint()\n```')
    chat.system_prompt = 'Be kind.'
    chat.sampling = SamplingSettings(temperature=0.1, stop=('END',))
    chat.overflow = 'middle'
    reply = chat.path()[1]
    reply.completion_tokens, reply.decode = 12, 0.5
    reply.reasoning, reply.reasoning_seconds, reply.left_out = 'Hm.', 1.5, ['nobody']
    reply.tool_calls = [ToolCall(id='call_1', name='weather', arguments='{"city": "Ålesund"}')]
    await (await start()).save(chat)

    store = await start()
    assert await store.load(chat.id) == chat
    [summary] = store.summaries()
    assert (summary.title, summary.model, summary.message_count) == ('Wie geht’s? 😀', 'smol', 2)
    assert summary.updated == chat.updated
    assert not problems


async def test_the_list_is_newest_first_and_says_when_it_changed(start: Open) -> None:
    store = await start()
    older, newer = a_chat('older'), a_chat('newer')
    seen: list[list[str]] = []
    unsubscribe = store.subscribe(lambda: seen.append([summary.title for summary in store.summaries()]))
    await store.save(newer)
    await store.save(older)
    await store.save(older)
    older.append(answer('now the newest'))
    await store.save(older)
    await store.delete(newer.id)
    unsubscribe()
    await store.restore(newer.id)

    assert seen == [['newer'], ['newer', 'older'], ['older', 'newer'], ['older']]
    assert [summary.title for summary in store.summaries()] == ['older', 'newer']


async def test_saves_in_flight_keep_their_order_and_what_they_were_called_with(start: Open) -> None:
    store = await start()
    chat = a_chat('Count', '')
    saves = []
    for number in range(20):
        chat.path()[1].content = f'{number}'
        saves.append(asyncio.ensure_future(store.save(chat)))
        await asyncio.sleep(0)
    chat.path()[1].content = 'not saved'
    await asyncio.gather(*saves)

    assert (await store.load(chat.id)).path()[1].content == '19'


async def test_a_save_that_nobody_waits_for_any_more_still_happens(start: Open) -> None:
    store = await start()
    chat = a_chat('Hi')
    save = asyncio.ensure_future(store.save(chat))
    await asyncio.sleep(0)
    save.cancel()

    assert await store.load(chat.id) == chat
    assert [summary.id for summary in store.summaries()] == [chat.id]


async def test_text_that_no_file_takes_is_replaced(start: Open) -> None:
    store = await start()
    chat = a_chat('half of \ud83d')
    await store.save(chat)
    await store.close()

    [summary] = (await start()).summaries()
    assert summary.title.rstrip('\ufffd') == 'half of '


# Replies that were being written


async def test_a_reply_that_was_running_when_the_app_died_is_marked(start: Open) -> None:
    chat = a_chat('Hi', 'Hel')
    chat.path()[1].finish_reason = None
    await (await start()).save(chat)

    after_restart = await start()
    for _ in range(2):
        loaded = await after_restart.load(chat.id)
        assert [message.finish_reason for message in loaded.path()] == [None, 'interrupted']


async def test_a_reply_that_runs_now_is_not_marked(start: Open) -> None:
    store = await start()
    chat = a_chat('Hi', 'Hel')
    chat.path()[1].finish_reason = None
    await store.save(chat)

    assert await store.load(chat.id) == chat


# Trash


async def test_deleting_can_be_undone(start: Open, tmp_path: Path) -> None:
    chat = a_chat('Hi')
    await (await start()).save(chat)
    store = await start()
    await store.save(chat)
    await store.delete(chat.id)
    assert store.summaries() == []
    assert files(tmp_path, f'{chat.id}*') == [], 'not even a backup stays'
    with pytest.raises(NotFound):
        await store.load(chat.id)
    with pytest.raises(NotFound):
        await store.delete(chat.id)

    await store.restore(chat.id)
    assert await store.load(chat.id) == chat
    assert [summary.id for summary in store.summaries()] == [chat.id]


async def test_a_running_reply_cannot_bring_a_deleted_chat_back(start: Open, tmp_path: Path) -> None:
    store = await start()
    chat = a_chat('Hi', 'Hel')
    await store.save(chat)
    chat.path()[1].content = 'Hello'
    running = asyncio.ensure_future(store.save(chat))
    await asyncio.sleep(0)
    await store.delete(chat.id)
    await running
    with pytest.raises(NotFound, match='deleted'):
        await store.save(chat)
    assert store.summaries() == []
    assert not (tmp_path / f'{chat.id}.json').exists()

    await store.restore(chat.id)
    await store.save(chat)
    assert (await store.load(chat.id)).path()[1].content == 'Hello'


async def test_the_trash_keeps_what_it_has(start: Open, tmp_path: Path) -> None:
    store = await start()
    (tmp_path / 'trash' / 'same.json').write_text('an older one')
    await store.save(Chat(id='same'))
    await store.delete('same')

    [older] = files(tmp_path / 'trash', 'same.json.older-*')
    assert older.read_text() == 'an older one'


async def test_the_trash_tells_what_is_in_it(start: Open, tmp_path: Path) -> None:
    store = await start()
    first, second = a_chat('first'), a_chat('second')
    for chat in (first, second):
        await store.save(chat)
        await store.delete(chat.id)
    assert [entry.summary.title for entry in store.trashed()] == ['second', 'first']
    before = store.trashed()
    assert before[0].size == (tmp_path / 'trash' / f'{second.id}.json').stat().st_size
    await store.close()

    again = await start()
    assert again.trashed() == before
    await again.restore(first.id)
    assert [entry.summary.id for entry in again.trashed()] == [second.id]


async def test_what_is_removed_from_the_trash_leaves_nothing(start: Open, tmp_path: Path) -> None:
    chat, other = a_chat('Hi'), a_chat('Other')
    for each in (chat, other, chat):  # twice, so that there is a backup
        await (await start()).save(each)
    store = await start()
    await store.delete(chat.id)
    await store.delete(other.id)
    (tmp_path / 'trash' / f'{chat.id}.json.older-20260101T000000Z').write_text('an older one')
    await store.purge([chat.id, 'nobody', '../index'])

    assert [entry.summary.id for entry in store.trashed()] == [other.id]
    assert files(tmp_path, f'**/{chat.id}*') == []
    with pytest.raises(NotFound):
        await store.restore(chat.id)
    await store.restore(other.id)
    await store.purge([other.id])
    assert await store.load(other.id) == other


async def test_a_chat_leaves_the_trash_by_itself_after_its_time(start: Open, tmp_path: Path) -> None:
    store = await start()
    long_ago, lately = a_chat('long ago'), a_chat('lately')
    for chat in (long_ago, lately):
        await store.save(chat)
        await store.delete(chat.id)
    await store.close()
    index = tmp_path / 'trash' / 'index.json'
    dates = json.loads(index.read_text())
    dates[long_ago.id][2] = '2020-01-01T00:00:00Z'
    index.write_text(json.dumps(dates))

    assert [entry.summary.id for entry in (await start()).trashed()] == [lately.id]
    assert files(tmp_path / 'trash', f'{long_ago.id}*') == []


async def test_nothing_leaves_a_trash_that_knows_no_dates(start: Open, tmp_path: Path) -> None:
    store = await start()
    chat = a_chat('Hi')
    await store.save(chat)
    await store.delete(chat.id)
    await store.close()
    (tmp_path / 'trash' / 'index.json').unlink()
    os.utime(tmp_path / 'trash' / f'{chat.id}.json', (0, 0))
    (tmp_path / 'trash' / 'broken.json').write_text('not a chat')

    again = await start()
    assert {entry.summary.title for entry in again.trashed()} == {'Hi', 'broken'}
    assert all(datetime.now(UTC) - entry.deleted < timedelta(minutes=1) for entry in again.trashed())
    assert (tmp_path / 'trash' / 'broken.json').read_text() == 'not a chat'


# Pins, archive and folders


async def test_a_chat_is_pinned_archived_and_filed_without_being_opened(start: Open) -> None:
    store = await start()
    chat = a_chat('Hi', 'Hello!')
    await store.save(chat)
    seen: list[object] = []
    store.subscribe(lambda: seen.append(store.summary(chat.id)))
    await store.arrange(chat.id, pinned=True, folder='Work/Taxes')
    await store.arrange(chat.id, archived=True)
    await store.arrange(chat.id, archived=True)

    assert len(seen) == 2
    arranged = {'pinned': True, 'archived': True, 'folder': 'Work/Taxes'}
    for reader in (store, await start()):
        assert await reader.load(chat.id) == chat.model_copy(update=arranged)
        [summary] = reader.summaries()
        assert summary == ChatSummary.of(chat).model_copy(update=arranged)
    with pytest.raises(NotFound):
        await store.arrange('nobody', pinned=True)


async def test_a_folder_is_there_without_chats(start: Open, problems: list[str]) -> None:
    store = await start()
    await store.add_folder('Work/Taxes/2026')
    await store.add_folder('Work/Taxes/2026')
    await store.add_folder('art')
    filed = a_chat('Hi')
    filed.folder = 'Books'
    await store.save(filed)
    assert store.folders() == ['art', 'Books', 'Work', 'Work/Taxes', 'Work/Taxes/2026']

    await store.rename_folder('Work/Taxes', 'Home/Money')
    assert (await start()).folders() == ['art', 'Books', 'Home', 'Home/Money', 'Home/Money/2026']
    await store.remove_folder('Home/Money')
    assert (await start()).folders() == ['art', 'Books', 'Home', 'Home/2026']
    assert not problems


async def test_damaged_folders_cost_only_the_empty_ones(start: Open, tmp_path: Path, problems: list[str]) -> None:
    store = await start()
    filed = a_chat('Hi')
    filed.folder = 'Books'
    await store.save(filed)
    await store.add_folder('Empty')
    (tmp_path / 'folders.json').write_text('{')

    assert (await start()).folders() == ['Books']
    assert 'folders.json is damaged' in problems[0]


@pytest.mark.parametrize(
    ('typed', 'path'),
    [
        ('Work', 'Work'),
        ('  Work / My  taxes/ ', 'Work/My taxes'),
        ('/a//b/', 'a/b'),
        ('../..', ''),
        ('a/../b', 'a/b'),
        ('x' * 100, 'x' * 60),
        ('/'.join('abcdefghijkl'), 'a/b/c/d/e/f/g/h'),
        ('a\nb', 'a b'),
        ('', ''),
    ],
)
def test_a_folder_has_the_name_a_person_means(typed: str, path: str) -> None:
    assert folder_path(typed) == path


# Ids


@pytest.mark.parametrize(
    'chat_id', ['../secret', '..', '', 'a/b', 'a\\b', 'C:x', 'x\n', 'x' * 65, 'é', 'index', 'folders', 'NUL']
)
async def test_an_id_never_becomes_another_path(start: Open, tmp_path: Path, chat_id: str) -> None:
    store = await start()
    (tmp_path.parent / 'secret.json').write_text('{}')
    for call in (store.load, store.delete, store.restore):
        with pytest.raises(NotFound):
            await call(chat_id)
    with pytest.raises(NotFound):
        await store.save(Chat(id=chat_id))


# The index


async def test_the_index_is_not_written_with_each_save(start: Open, tmp_path: Path) -> None:
    store = await start()
    chat = a_chat('Hi')
    for _ in range(5):
        await store.save(chat)
    assert not (tmp_path / 'index.json').exists()

    await store.close()
    index = (tmp_path / 'index.json').stat().st_mtime_ns
    again = await start()
    assert again.summaries() == store.summaries()
    await again.close()
    assert (tmp_path / 'index.json').stat().st_mtime_ns == index, 'nothing changed, nothing is written'


async def test_only_changed_chats_are_read_at_the_start(start: Open, tmp_path: Path) -> None:
    store = await start()
    chat, other = a_chat('Hi'), a_chat('Other')
    await store.save(chat)
    await store.save(other)
    await store.close()
    index = tmp_path / 'index.json'
    index.write_text(index.read_text().replace('"Hi"', '"From the index"').replace('"Other"', '"From the index"'))
    other.title = 'Changed since'
    await store.save(other)

    assert {summary.title for summary in (await start()).summaries()} == {'From the index', 'Changed since'}


@pytest.mark.parametrize('content', [None, '', '{"x": [[1, 2], {}]}', '[]'])
async def test_a_missing_or_damaged_index_is_rebuilt_from_the_chats(
    start: Open, tmp_path: Path, problems: list[str], content: str | None
) -> None:
    store = await start()
    await store.save(a_chat('Hi'))
    await store.close()
    (tmp_path / 'index.json').unlink()
    if content is not None:
        (tmp_path / 'index.json').write_text(content)

    assert (await start()).summaries() == store.summaries()
    assert not problems


async def test_only_chat_files_count(start: Open, tmp_path: Path, problems: list[str]) -> None:
    (tmp_path / 'folder.json').mkdir()
    for name in ('notes.txt', 'a b.json', 'x.json.bak', 'x.json.tmp', '.json', 'x.json.damaged-20260101T000000Z'):
        (tmp_path / name).write_text('not a chat')

    assert (await start()).summaries() == []
    assert not problems


# What happens to files


@pytest.mark.parametrize('content', ['', '{"chat": {"1": {"id"', '{}', '{"chat": {"1": {"surprise": 1}}}'])
async def test_a_damaged_chat_is_set_aside_and_the_others_are_fine(
    start: Open, tmp_path: Path, problems: list[str], content: str
) -> None:
    chat = a_chat('Hi')
    await (await start()).save(chat)
    (tmp_path / 'broken.json').write_text(content)

    assert [summary.id for summary in (await start()).summaries()] == [chat.id]
    [aside] = files(tmp_path, 'broken.json.damaged-*')
    assert aside.read_text() == content
    [problem] = problems
    assert str(aside) in problem


async def test_a_chat_that_was_truncated_comes_back_from_its_backup(
    start: Open, tmp_path: Path, problems: list[str]
) -> None:
    chat = a_chat('Hi')
    await (await start()).save(chat)
    longer = chat.model_copy(deep=True)
    longer.append(answer('Hello!'))
    await (await start()).save(longer)
    file = tmp_path / f'{chat.id}.json'
    file.write_bytes(file.read_bytes()[:-100])

    store = await start()
    assert await store.load(chat.id) == chat
    assert [summary.message_count for summary in store.summaries()] == [1]
    assert len(problems) == 1


async def test_damage_while_the_app_runs_is_told_and_the_chat_leaves_the_list(start: Open, tmp_path: Path) -> None:
    store = await start()
    chat = a_chat('Hi')
    await store.save(chat)
    (tmp_path / f'{chat.id}.json').write_text('')
    with pytest.raises(DamagedFile):
        await store.load(chat.id)
    assert store.summaries() == []

    await store.save(chat)
    assert await store.load(chat.id) == chat
    assert [summary.id for summary in store.summaries()] == [chat.id]


async def test_an_open_chat_outlives_its_file(start: Open, tmp_path: Path, problems: list[str]) -> None:
    store = await start()
    chat = a_chat('Hi')
    file = tmp_path / f'{chat.id}.json'
    await store.save(chat)
    file.unlink()
    await store.save(chat)
    assert await store.load(chat.id) == chat
    assert not problems

    file.write_bytes(b'')
    await store.save(chat)
    assert await store.load(chat.id) == chat
    assert 'changed by something else' in problems[0]

    file.chmod(0o444)
    with pytest.raises(StoreError, match='Allow writing'):
        await store.save(chat)
    file.chmod(0o644)
    await store.save(chat)
    assert await store.load(chat.id) == chat


async def test_a_chat_with_a_setting_that_is_no_longer_allowed_is_still_readable(
    start: Open, tmp_path: Path, problems: list[str]
) -> None:
    chat = a_chat('Hi')
    chat.sampling = SamplingSettings(temperature=1.5, top_k=7)
    await (await start()).save(chat)
    file = tmp_path / f'{chat.id}.json'
    file.write_text(file.read_text().replace('"temperature": 1.5', '"temperature": 99'))

    loaded = await (await start()).load(chat.id)
    assert loaded.sampling == SamplingSettings(top_k=7)
    [problem] = problems
    assert 'temperature' in problem
