"""Chats put away and taken back, one or many at once, open or not."""

import pytest

from presets.chat import Chat, StoredMessage
from presets.chats import ChatStore
from presets.errors import NotFound
from webui.cabinet import Cabinet
from webui.conversations import Conversations


@pytest.fixture
def cabinet(store: ChatStore, conversations: Conversations) -> Cabinet:
    return Cabinet(store, conversations)


async def add(store: ChatStore, title: str, folder: str = '') -> str:
    chat = Chat(title=title, folder=folder)
    chat.append(StoredMessage(role='user', content='Hi'))
    await store.save(chat)
    return chat.id


async def places(store: ChatStore) -> dict[str, str]:
    """The folder of each chat by its title, on disk and in the list alike."""
    chats = {chat.title: chat.folder for chat in store.summaries()}
    for chat in store.summaries():
        assert (await store.load(chat.id)).folder == chat.folder
    return chats


async def test_moving_many_chats_can_be_taken_back(
    cabinet: Cabinet, store: ChatStore, conversations: Conversations
) -> None:
    ids = [await add(store, 'first'), await add(store, 'second', 'Old')]
    opened = await conversations.open(ids[0])
    undo = await cabinet.move(ids, 'New/Place')
    assert await places(store) == {'first': 'New/Place', 'second': 'New/Place'}
    assert opened.chat.folder == 'New/Place'

    await undo()
    assert await places(store) == {'first': '', 'second': 'Old'}
    assert 'New/Place' in store.folders()


async def test_removing_a_folder_can_be_taken_back(cabinet: Cabinet, store: ChatStore) -> None:
    await add(store, 'in', 'Work')
    await add(store, 'below', 'Work/Taxes')
    await add(store, 'beside', 'Workshop')
    undo = await cabinet.remove_folder('Work')
    assert await places(store) == {'in': '', 'below': 'Taxes', 'beside': 'Workshop'}

    await undo()
    assert await places(store) == {'in': 'Work', 'below': 'Work/Taxes', 'beside': 'Workshop'}


async def test_one_chat_that_is_gone_does_not_keep_the_others(cabinet: Cabinet, store: ChatStore) -> None:
    ids = [await add(store, 'first'), 'nobody', await add(store, 'last')]
    with pytest.raises(NotFound):
        await cabinet.pin(ids)
    assert all(chat.pinned for chat in store.summaries())

    with pytest.raises(NotFound):
        await cabinet.delete(ids)
    assert store.summaries() == []
    await cabinet.restore([ids[0], ids[2]])
    assert len(store.summaries()) == 2


async def test_a_chat_in_the_archive_stays_one_while_it_goes_on(
    cabinet: Cabinet, store: ChatStore, conversations: Conversations
) -> None:
    chat_id = await add(store, 'first')
    await cabinet.archive([chat_id])
    conversation = await conversations.open(chat_id)
    await conversation.send('more')
    await conversation.wait()
    assert [chat.archived for chat in store.summaries()] == [True]

    await cabinet.archive([chat_id], archived=False)
    assert not (await store.load(chat_id)).archived


async def test_a_chat_that_is_not_open_stays_so(
    cabinet: Cabinet, store: ChatStore, conversations: Conversations
) -> None:
    await cabinet.pin([await add(store, 'first')])

    assert not conversations._open
