"""Chats in and out over HTTP: files that stream, imports in two steps, and no way around the limits."""

import asyncio
import io
import json
import zipfile
from pathlib import Path

import pytest

from presets.chat import Chat, StoredMessage
from tests.webui.api.serving import Running
from webui import imports

RECORDED = Path(__file__).parents[2] / 'presets' / 'recorded'


def save(server: Running, *chats: Chat) -> None:
    store = server.services.chats
    for chat in chats:
        asyncio.run_coroutine_threadsafe(store.save(chat), store._loop).result()
    server.until(lambda: {chat.id for chat in chats} <= {it.id for it in store.summaries()})


def a_chat(title: str, text: str = 'Hi') -> Chat:
    chat = Chat(title=title)
    chat.append(StoredMessage(role='user', content=text))
    chat.append(StoredMessage(role='assistant', content=f'{text}!', finish_reason='stop'))
    return chat


def left_files(server: Running) -> list[Path]:
    return [path for path in server.services.config.imports_dir.rglob('*') if path.is_file()]


def test_one_chat_goes_out_in_each_format(server: Running) -> None:
    chat = a_chat('Über "Steps"')
    save(server, chat)
    path = f'/api/chats/{chat.id}/export'

    json_file = server.http.get(path)
    markdown = server.http.get(path, params={'format': 'markdown', 'language': 'de'})
    html = server.http.get(path, params={'format': 'html'})

    assert json_file.json()['chats'][0]['id'] == chat.id
    assert json_file.headers['content-disposition'] == "attachment; filename*=UTF-8''%C3%9Cber%20-Steps.json"
    assert '## Du\n\nHi' in markdown.text
    assert (markdown.headers['content-type'], html.headers['content-type']) == (
        'text/markdown; charset=utf-8',
        'text/html; charset=utf-8',
    )
    assert 'sandbox' in html.headers['content-security-policy'], 'even if a browser shows it, it is no page of the app'


def test_all_chats_go_out_in_one_file(server: Running) -> None:
    chats = [a_chat('Tea'), a_chat('tea'), a_chat('con')]
    save(server, *chats)

    everything = server.http.get('/api/chats/export').json()
    some = server.http.get('/api/chats/export', params={'ids': f'{chats[0].id},{chats[2].id}'}).json()
    packed = zipfile.ZipFile(io.BytesIO(server.http.get('/api/chats/export', params={'format': 'html'}).content))

    assert [it['title'] for it in everything['chats']] == ['con', 'tea', 'Tea']
    assert [it['title'] for it in some['chats']] == ['con', 'Tea']
    assert sorted(packed.namelist()) == ['Tea (2).html', '_con.html', 'tea.html']
    assert packed.testzip() is None


def test_a_chat_that_cannot_be_read_is_named_in_the_export(server: Running) -> None:
    good, bad = a_chat('Good'), a_chat('Bad')
    save(server, good, bad)
    (server.services.config.chats_dir / f'{bad.id}.json').write_text('{', 'utf-8')

    content = server.http.get('/api/chats/export').json()

    assert [it['title'] for it in content['chats']] == ['Good']
    assert [it['title'] for it in content['left_out']] == ['Bad']


def test_no_chats_make_a_whole_file_too(server: Running) -> None:
    assert server.http.get('/api/chats/export').json()['chats'] == []
    assert zipfile.ZipFile(io.BytesIO(server.http.get('/api/chats/export?format=markdown').content)).namelist() == []


def test_a_chat_that_is_not_there_is_not_found(server: Running) -> None:
    for path in ('/api/chats/nobody/export', '/api/chats/export?ids=nobody', '/api/chats/..%2f..%2fx/export'):
        assert server.http.get(path).status_code == 404
    assert server.http.get('/api/chats/export?format=exe').status_code == 422


def test_a_file_is_looked_at_first_and_then_taken(server: Running) -> None:
    found = server.http.post(
        '/api/chats/import?name=conversations.json', content=(RECORDED / 'chatgpt.json').read_bytes()
    )

    assert server.services.chats.summaries() == []
    preview = found.json()
    assert [(it['index'], it['title'], it['source'], it['messages'], it['left_out']) for it in preview['chats']] == [
        (0, 'Sourdough in winter', 'chatgpt', 5, 1),
        (1, 'Green or black tea?', 'chatgpt', 2, 0),
    ]
    taken = server.http.post(f'/api/chats/import/{preview["id"]}', json={'take': [1]}).json()
    assert (len(taken['taken']), taken['already_there'], taken['skipped']) == (1, 0, [])
    assert [it.title for it in server.services.chats.summaries()] == ['Green or black tea?']
    assert left_files(server) == []


def test_several_files_make_one_import(server: Running) -> None:
    first = server.http.post('/api/chats/import', content=(RECORDED / 'chatgpt.json').read_bytes()).json()
    conversation = (RECORDED / 'lm-studio.conversation.json').read_bytes()
    both = server.http.post(f'/api/chats/import?to={first["id"]}', content=conversation).json()
    wrong = server.http.post(f'/api/chats/import?to={first["id"]}&name=notes.txt', content=b'hello')

    assert (both['id'], len(both['chats'])) == (first['id'], 3)
    assert (wrong.status_code, wrong.json()['error']['code']) == (422, 'invalid_import')
    assert wrong.json()['error']['message'] == 'notes.txt cannot be imported: it is no JSON file.'
    taken = server.http.post(f'/api/chats/import/{first["id"]}').json()
    assert len(taken['taken']) == 3


def test_what_goes_out_of_one_app_comes_into_another_as_it_was(server: Running) -> None:
    save(server, a_chat('Tea'), a_chat('Bread'))
    exported = server.http.get('/api/chats/export').content
    before = json.loads(exported)['chats']
    for chat in before:
        store = server.services.chats
        asyncio.run_coroutine_threadsafe(store.delete(chat['id']), store._loop).result()
        (server.services.config.chats_dir / 'trash' / f'{chat["id"]}.json').unlink()
        asyncio.run_coroutine_threadsafe(_forget(server, chat['id']), store._loop).result()

    token = server.http.post('/api/chats/import', content=exported).json()['id']
    server.http.post(f'/api/chats/import/{token}')

    assert server.http.get('/api/chats/export').json()['chats'] == before


async def _forget(server: Running, chat_id: str) -> None:
    server.services.chats._deleted.discard(chat_id)


def test_an_import_that_nobody_wants_leaves_nothing(server: Running) -> None:
    token = server.http.post('/api/chats/import', content=(RECORDED / 'chatgpt.json').read_bytes()).json()['id']
    assert left_files(server)

    assert server.http.delete(f'/api/chats/import/{token}').status_code == 204
    assert left_files(server) == []
    gone = server.http.post(f'/api/chats/import/{token}')
    assert (gone.status_code, gone.json()['error']['message']) == (
        404,
        'This import is over or was left for too long. Choose the file again.',
    )


def test_a_choice_that_cannot_be_is_refused(server: Running) -> None:
    token = server.http.post('/api/chats/import', content=(RECORDED / 'chatgpt.json').read_bytes()).json()['id']

    for places in ([2], [-1], [0, 99]):
        assert server.http.post(f'/api/chats/import/{token}', json={'take': places}).status_code == 422
    assert server.http.post(f'/api/chats/import/{token}', json={'take': [0, 0]}).json()['taken'] != []


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, 'LARGEST_FILE', 2**20)
    refused = server.http.post('/api/chats/import', content=b' ' * (2**20 + 1))

    assert refused.status_code == 422
    assert refused.json()['error']['message'].startswith('The file is larger than 1 MB.')
    assert left_files(server) == []


def test_a_file_may_be_larger_than_any_other_body(server: Running) -> None:
    chats = [a_chat(f'Chat {number}', 'word ' * 200_000).model_dump(mode='json') for number in range(36)]
    for chat in chats:
        chat['messages'] = list(chat['messages'].values())
    content = json.dumps({'format': 'chatbot-webui', 'version': 4, 'chats': chats}).encode()
    assert len(content) > 32 * 2**20

    preview = server.http.post('/api/chats/import', content=content).json()
    assert len(preview['chats']) == 36
    assert server.http.get('/api/health').status_code == 200


def test_more_imports_than_anybody_needs_push_out_the_oldest(server: Running) -> None:
    content = (RECORDED / 'lm-studio.conversation.json').read_bytes()
    tokens = [server.http.post('/api/chats/import', content=content).json()['id'] for _ in range(imports.MOST_KEPT + 1)]

    assert server.http.post(f'/api/chats/import/{tokens[0]}').status_code == 404
    assert server.http.post(f'/api/chats/import/{tokens[-1]}').status_code == 200
