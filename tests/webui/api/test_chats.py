"""The list of chats, folders, the trash and the search, as a program uses them."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from presets.chat import Chat, StoredMessage
from tests.webui.api.serving import Running


def run(server: Running, work: Coroutine[Any, Any, Any]) -> Any:
    """Run something on the server's loop."""
    return asyncio.run_coroutine_threadsafe(work, server.services.chats._loop).result()


def add(server: Running, text: str, **facts: Any) -> str:
    """Save a chat with one message and return its id."""
    chat = Chat(**facts)
    chat.append(StoredMessage(role='user', content=text))
    run(server, server.services.chats.save(chat))
    return chat.id


def titles(server: Running, **params: Any) -> list[str]:
    return [chat['title'] for chat in server.http.get('/api/chats', params=params).json()['chats']]


def test_chats_are_listed_newest_first(server: Running) -> None:
    for number in range(3):
        add(server, f'chat {number}')
    add(server, 'put away', archived=True)

    assert titles(server) == ['chat 2', 'chat 1', 'chat 0']
    assert titles(server, limit=1, offset=1) == ['chat 1']
    assert titles(server, archived=True) == ['put away']
    assert server.http.get('/api/chats', params={'limit': 1}).json()['total'] == 3
    assert server.http.get('/api/chats', params={'limit': 0}).status_code == 422


def test_a_chat_is_changed_whether_it_is_open_or_not(server: Running) -> None:
    closed, opened = add(server, 'closed'), add(server, 'opened')
    conversation = run(server, server.services.conversations.open(opened))
    for chat_id in (closed, opened):
        change = {'title': 'Named', 'pinned': True, 'folder': ' Work / Taxes '}
        assert server.http.patch(f'/api/chats/{chat_id}', json=change).status_code == 204

    assert conversation.chat.folder == 'Work/Taxes'
    for chat in server.http.get('/api/chats').json()['chats']:
        assert (chat['title'], chat['pinned'], chat['folder']) == ('Named', True, 'Work/Taxes')
    run(server, conversation.save())
    assert run(server, server.services.chats.load(opened)).pinned
    assert server.http.patch('/api/chats/nobody', json={'pinned': True}).status_code == 404
    assert server.http.patch(f'/api/chats/{closed}', json={'colour': 'red'}).status_code == 422


def test_folders_are_made_renamed_and_removed(server: Running) -> None:
    chat_id = add(server, 'tax', folder='Work/Taxes')
    assert server.http.post('/api/folders', json={'path': 'Work/Empty'}).json() == {'path': 'Work/Empty'}
    assert server.http.get('/api/folders').json() == {'folders': ['Work', 'Work/Empty', 'Work/Taxes']}

    server.http.patch('/api/folders', json={'path': 'Work', 'new': 'Home'})
    assert server.http.get('/api/folders').json() == {'folders': ['Home', 'Home/Empty', 'Home/Taxes']}
    assert run(server, server.services.chats.load(chat_id)).folder == 'Home/Taxes'

    server.http.delete('/api/folders', params={'path': 'Home/Taxes'})
    assert run(server, server.services.chats.load(chat_id)).folder == 'Home'
    server.http.delete('/api/folders', params={'path': 'Home'})
    assert run(server, server.services.chats.load(chat_id)).folder == ''
    assert server.http.get('/api/folders').json() == {'folders': ['Empty']}


def test_the_trash_gives_back_or_forgets(server: Running) -> None:
    first, second, third = add(server, 'first'), add(server, 'second'), add(server, 'third')
    for chat_id in (first, second, third):
        assert server.http.delete(f'/api/chats/{chat_id}').status_code == 204
    trash = server.http.get('/api/trash').json()
    assert [entry['chat']['title'] for entry in trash['chats']] == ['third', 'second', 'first']
    assert trash['days'] == 30
    assert all(entry['size'] > 100 for entry in trash['chats'])

    assert server.http.post(f'/api/trash/{first}/restore').status_code == 204
    assert titles(server) == ['first']
    server.http.delete(f'/api/trash/{second}')
    assert [entry['chat']['id'] for entry in server.http.get('/api/trash').json()['chats']] == [third]
    server.http.delete('/api/trash')
    assert server.http.get('/api/trash').json()['chats'] == []
    assert server.http.post(f'/api/trash/{third}/restore').status_code == 404


def test_a_search_tells_chats_and_places(server: Running) -> None:
    chat_id = add(server, 'Where do badgers <b>sleep</b>?', title='Animals')
    run(server, server.services.search.up_to_date())

    found = server.http.get('/api/search', params={'q': 'badger'}).json()
    [hit] = found['chats']
    assert (found['total'], hit['chat']['id'], hit['count']) == (1, chat_id, 1)
    assert hit['messages'][0]['snippet'] == [
        {'text': 'Where do ', 'hit': False},
        {'text': 'badgers', 'hit': True},
        {'text': ' <b>sleep</b>?', 'hit': False},
    ]
    assert server.http.get('/api/search', params={'q': '"(:* \x00'}).json()['chats'] == []
