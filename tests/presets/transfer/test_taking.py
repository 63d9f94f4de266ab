"""Imports into a folder of chats: nothing twice, nothing over something else, nothing out of the trash."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from presets.chat import Chat, StoredMessage
from presets.chats import ChatStore
from presets.storage import Writer
from presets.transfer import own
from presets.transfer.staged import Staged
from presets.transfer.taking import Summary, take

RECORDED = Path(__file__).parents[1] / 'recorded'

Import = Callable[..., Any]


@pytest.fixture
async def store(tmp_path: Path, writer: Writer, problems: list[str]) -> ChatStore:
    (tmp_path / 'chats').mkdir()
    return await ChatStore.open(tmp_path / 'chats', writer, problems.append)


@pytest.fixture
def take_in(tmp_path: Path, store: ChatStore) -> Import:
    """Import a file and return how it ended."""

    async def run(file: Path, places: list[int] | None = None) -> Summary:
        folder = tmp_path / 'staged'
        folder.mkdir()
        staged = Staged(folder)
        shutil.copy(file, folder / 'file')
        staged.add(folder / 'file', file.name)
        done: list[int] = []
        chosen = list(range(len(staged.entries))) if places is None else places
        summary = await take(store, staged, chosen, done.append)
        assert done[-1:] == [len(chosen)]
        staged.remove()
        return summary

    return run


def exported(folder: Path, *chats: Chat) -> Path:
    path = folder / 'export.json'
    path.write_bytes(b''.join(own.joined(map(own.line_of, chats))))
    return path


def a_chat(text: str = 'Hi') -> Chat:
    chat = Chat.new()
    chat.append(StoredMessage(role='user', content=text))
    return chat


async def texts(store: ChatStore) -> list[str]:
    return sorted([(await store.load(it.id)).path()[-1].content for it in store.summaries()])


async def test_chats_are_saved_as_they_were_found(store: ChatStore, take_in: Import) -> None:
    summary = await take_in(RECORDED / 'chatgpt.json')

    assert [chat.id for chat in store.summaries()] == summary.taken[::-1]
    assert [chat.title for chat in store.summaries()] == ['Green or black tea?', 'Sourdough in winter']
    assert len((await store.load(summary.taken[0])).messages) == 5


async def test_the_same_file_again_adds_nothing(store: ChatStore, take_in: Import) -> None:
    for name in ('chatgpt.json', 'open-webui.json', 'lm-studio.conversation.json'):
        first, again = await take_in(RECORDED / name), await take_in(RECORDED / name)
        assert (len(again.taken), again.there) == (0, len(first.taken))


async def test_only_what_was_chosen_is_taken(store: ChatStore, take_in: Import) -> None:
    await take_in(RECORDED / 'chatgpt.json', [1])

    assert [chat.title for chat in store.summaries()] == ['Green or black tea?']


async def test_another_chat_with_the_same_id_is_kept_beside_the_one_that_is_there(
    tmp_path: Path, store: ChatStore, take_in: Import
) -> None:
    mine, other = a_chat('mine'), a_chat('other')
    other.id = mine.id
    await store.save(mine)
    first = await take_in(exported(tmp_path, other))

    assert first.taken not in ([], [mine.id])
    assert await texts(store) == ['mine', 'other']
    again = await take_in(exported(tmp_path, other))
    assert (again.taken, again.there) == ([], 1)


async def test_two_chats_with_one_id_in_one_file_are_both_taken(
    tmp_path: Path, store: ChatStore, take_in: Import
) -> None:
    first, second = a_chat('first'), a_chat('second')
    second.id = first.id

    assert len((await take_in(exported(tmp_path, first, second, first))).taken) == 2
    assert await texts(store) == ['first', 'second']
    assert (await take_in(exported(tmp_path, first, second))).there == 2


async def test_a_chat_that_was_renamed_or_moved_here_is_still_the_same(
    tmp_path: Path, store: ChatStore, take_in: Import
) -> None:
    chat = a_chat()
    file = exported(tmp_path, chat)
    chat.title, chat.pinned, chat.folder = 'Another', True, 'Work'
    await store.save(chat)

    assert (await take_in(file)).there == 1


async def test_a_chat_in_the_trash_stays_there_and_is_taken_anew(
    tmp_path: Path, store: ChatStore, take_in: Import
) -> None:
    chat = a_chat()
    await store.save(chat)
    await store.delete(chat.id)
    summary = await take_in(exported(tmp_path, chat))

    assert await texts(store) == ['Hi']
    assert summary.taken != [chat.id]
    await store.restore(chat.id)
    assert await texts(store) == ['Hi', 'Hi']


async def test_a_chat_that_cannot_be_saved_is_told_of_and_the_rest_is_taken(
    tmp_path: Path, store: ChatStore, take_in: Import
) -> None:
    first, second = a_chat('first'), a_chat('second')
    (tmp_path / 'chats' / f'{first.id}.json.tmp').mkdir()
    summary = await take_in(exported(tmp_path, first, second))

    assert summary.taken == [second.id]
    ((name, reason),) = summary.skipped
    assert name == 'first'
    assert 'could not be saved' in reason


async def test_what_was_damaged_in_the_file_is_in_the_summary(
    tmp_path: Path, store: ChatStore, take_in: Import
) -> None:
    content = json.loads((RECORDED / 'chatgpt.json').read_text('utf-8'))
    content[0]['mapping'] = None
    path = tmp_path / 'conversations.json'
    path.write_text(json.dumps(content), 'utf-8')
    summary = await take_in(path)

    assert len(summary.taken) == 1
    assert summary.skipped == [('Sourdough in winter', 'it is no chat of a known kind')]
