"""Files that come in by HTTP, wait to be sent, and go."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.webui.api.serving import Running, config, serving
from tests.webui.api.test_manage import new_chat, stored
from webui.api.attachments import LONGEST_NAME, display_name
from webui.documents.refusal import LARGEST_FILE


def attach(server: Running, content: bytes, name: str = 'a.txt') -> httpx.Response:
    return server.http.post('/api/attachments', params={'name': name}, content=content)


def kept(server: Running) -> list[Path]:
    return list(server.services.config.uploads_dir.iterdir())


def test_a_file_is_taken_and_told_of(server: Running) -> None:
    response = attach(server, b'one two three\n', 'notes.md')

    assert response.status_code == 201
    facts = response.json()
    assert len(facts.pop('id')) == 16
    assert facts == {
        'name': 'notes.md', 'media_type': 'text/markdown', 'size': 14, 'characters': 13, 'tokens': 3, 'note': '',
    }  # fmt: skip


def test_a_file_waits_over_a_restart_until_it_is_removed(tmp_path: Path) -> None:
    with serving(config(tmp_path)) as server:
        facts = attach(server, b'one two three').json()
    with serving(config(tmp_path)) as server:
        path = f'/api/attachments/{facts["id"]}'
        assert server.http.get(path).json() == facts
        assert server.http.delete(path).status_code == 204
        assert server.http.delete(path).status_code == 204

        gone = server.http.get(path)
    assert gone.status_code == 404
    assert 'Attach it again' in gone.json()['error']['message']


def test_without_a_model_there_are_no_tokens(idle_server: Running) -> None:
    assert attach(idle_server, b'one two three').json()['tokens'] is None


def test_a_guessed_encoding_is_told_of(server: Running) -> None:
    assert attach(server, 'Größe'.encode('cp1252')).json()['note'] == 'windows_1252'


@pytest.mark.parametrize(
    ('content', 'name', 'code'),
    [
        (b'', 'a.txt', 'file_empty'),
        (b'\x89PNG\r\n\x1a\n\0\0', 'a.png', 'file_image'),
        (b'%PDF-1.7', 'a.pdf', 'file_damaged'),
        (bytes(range(256)) * 8, 'a.bin', 'file_binary'),
    ],
)
def test_what_cannot_be_read_is_refused_and_not_kept(server: Running, content: bytes, name: str, code: str) -> None:
    response = attach(server, content, name)

    assert response.status_code == 422
    assert response.json()['error']['code'] == code
    assert kept(server) == []


def test_too_large_a_file_is_refused_with_the_limit(server: Running) -> None:
    response = attach(server, b'x' * (LARGEST_FILE + 1))

    assert response.status_code == 413
    assert response.json()['error']['code'] == 'file_too_large'
    assert 'more than 20 MB' in response.json()['error']['message']
    assert kept(server) == []


def test_an_upload_that_breaks_off_leaves_nothing(server: Running) -> None:
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80)) as connection:
        head = f'POST /api/attachments?name=a.txt HTTP/1.1\r\nHost: {address.host}\r\nContent-Length: 1000\r\n\r\n'
        connection.sendall(head.encode() + b'half of it')
        until(lambda: kept(server) != [])

    until(lambda: kept(server) == [])


@pytest.mark.parametrize(
    ('name', 'shown'),
    [
        ('report.pdf', 'report.pdf'),
        ('../../etc/passwd', 'passwd'),
        (r'C:\Users\me\notes.txt', 'notes.txt'),
        ('..', '..'),
        ('', 'file'),
        ('///', 'file'),
        ('a\x1bb\r\nc.txt', 'abc.txt'),
        ('invoice\u202efdp.exe', 'invoicefdp.exe'),
        ('<img src=x onerror=alert(1)>.txt', '<img src=x onerror=alert(1)>.txt'),
        ('\ud800.txt', '\ufffd.txt'),
    ],
)
def test_a_name_is_only_shown(name: str, shown: str) -> None:
    assert display_name(name) == shown


def test_a_very_long_name_keeps_its_ends() -> None:
    shown = display_name('a' * 5000 + '.txt')

    assert len(shown) == LONGEST_NAME
    assert shown.endswith('a.txt')


def test_names_with_tricks_are_taken_and_only_shown(server: Running, tmp_path: Path) -> None:
    facts = attach(server, b'words', '../../../evil.json').json()

    assert facts['name'] == 'evil.json'
    assert [path.name for path in kept(server)] == [f'{facts["id"]}.json']


def test_an_upload_goes_with_a_message_by_its_id_and_is_not_kept_any_longer(server: Running) -> None:
    upload = attach(server, b'the text of a file', 'notes.txt').json()
    chat_id = new_chat(server)

    sent = server.http.post(
        f'/api/chats/{chat_id}/messages', json={'text': 'what is it?', 'attachments': [upload['id']]}
    )

    assert sent.status_code == 202
    message = stored(server, chat_id).messages[sent.json()['id']]
    assert [(it.id, it.name, it.text) for it in message.attachments] == [
        (upload['id'], 'notes.txt', 'the text of a file')
    ]
    assert kept(server) == []


def test_a_message_with_a_file_that_is_gone_is_refused(server: Running) -> None:
    upload = attach(server, b'the text of a file').json()
    chat_id = new_chat(server)

    body = {'text': 'what is it?', 'attachments': [upload['id'], '0' * 16]}
    refused = server.http.post(f'/api/chats/{chat_id}/messages', json=body)

    assert refused.status_code == 404
    assert stored(server, chat_id).messages == {}
    assert server.http.get(f'/api/attachments/{upload["id"]}').status_code == 200


def test_a_message_may_wait_with_its_files(slow_server: Running) -> None:
    server, chat_id = slow_server, new_chat(slow_server)
    server.http.post(f'/api/chats/{chat_id}/messages', json={'text': 'word ' * 4000})
    upload = attach(server, b'the text of a file').json()

    queued = server.http.post(f'/api/chats/{chat_id}/queue', json={'text': '', 'attachments': [upload['id']]})

    assert queued.status_code == 202
    (waiting,) = stored(server, chat_id).queue
    assert waiting.attachments[0].text == 'the text of a file'
    assert kept(server) == []


def until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError('it did not come true')
