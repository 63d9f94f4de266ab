"""The paths for messages: everything a person does with them, done by a program."""

from collections.abc import Iterator
from typing import Any

import pytest

from presets.chat import Chat
from tests.webui.api.serving import Running
from tests.webui.api.test_manage import new_chat, stored

WORDS = ' '.join(f'word{number}' for number in range(60))
NOTES = {'name': 'notes.txt', 'text': 'milk and bread'}


class Client:
    """A program that talks about one chat."""

    def __init__(self, server: Running) -> None:
        self.server, self.id = server, new_chat(server)

    def call(self, path: str, method: str = 'POST', status: int | None = None, **body: Any) -> dict[str, Any]:
        """Return the answer, which must have this status, or tell of success."""
        response = self.server.http.request(method, f'/api/chats/{self.id}/{path}', json=body or None)
        assert response.status_code == status if status else response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def chat(self) -> Chat:
        return stored(self.server, self.id)

    def said(self) -> list[str]:
        return [message.content for message in self.chat().path()]

    def finish(self) -> None:
        """Return when all replies are complete and saved."""
        self.server.until(lambda: all(m.role == 'user' or m.finish_reason for m in self.chat().messages.values()))

    def ask(self, text: str, **more: Any) -> str:
        """Send a message and wait for its reply; returns the id of the message."""
        message_id: str = self.call('messages', text=text, **more)['id']
        self.server.until(lambda: len(self.chat().path()) > 0 and self.chat().path()[-1].role == 'assistant')
        self.finish()
        return message_id


@pytest.fixture
def client(server: Running) -> Client:
    return Client(server)


@pytest.fixture
def slow(slow_server: Running) -> Iterator[Client]:
    """A chat in which a reply is being written."""
    client = Client(slow_server)
    client.call('messages', text=WORDS)
    slow_server.until(lambda: len(client.said()) == 2 and bool(client.said()[1]))
    yield client
    client.call('stop')


def test_variants_are_made_and_shown(client: Client) -> None:
    question = client.ask('one')
    first = client.chat().path()[-1].id
    client.call('regenerate')
    client.server.until(lambda: len(client.chat().messages) == 3)
    client.call(f'messages/{first}/regenerate')
    client.server.until(lambda: len(client.chat().messages) == 4)
    client.finish()
    assert client.chat().path()[-1].id == client.chat().variants(first)[-1]

    client.call(f'messages/{first}/show')
    assert client.chat().path()[-1].id == first
    edited = client.call(f'messages/{first}', 'PUT', text='uno')['id']
    assert client.said() == ['one', 'uno']
    assert client.chat().messages[edited].edited
    branch = client.call(f'messages/{question}', 'PUT', text='two')['id']
    client.server.until(lambda: client.said() == ['two', 'two'])
    client.call(f'messages/{edited}/reveal')
    assert client.said() == ['one', 'uno']
    assert branch in client.chat().messages


def test_what_is_deleted_is_restored(client: Client) -> None:
    client.ask('one')
    client.ask('two')
    first = client.chat().path()[0].id
    before = client.chat()

    client.call(f'messages/{first}', 'DELETE')
    assert client.said() == ['one', 'two', 'two']
    client.call(f'messages/{first}/restore')
    assert client.chat().messages == before.messages
    client.call(f'messages/{first}?below=true', 'DELETE')
    assert client.said() == []
    client.call(f'messages/{first}/restore')
    assert client.said() == ['one', 'one', 'two', 'two']
    assert client.call(f'messages/{first}/restore', status=404)['error']['code'] == 'not_found'
    assert 'not there any more' in client.call('messages/nobody', 'DELETE', status=404)['error']['message']


def test_a_conversation_is_built_without_a_model(client: Client) -> None:
    client.call('insert', role='user', text='2+2')
    example = client.call('insert', role='assistant', text='4')['id']
    client.call('insert', role='user', text='3+3')
    client.call('insert', role='user', text='next', after=example)
    assert client.said() == ['2+2', '4', 'next', '3+3']
    client.call('answer')
    client.server.until(lambda: client.said()[4:] == ['next\n\n3+3'])
    client.call('insert', status=422, role='system', text='x')
    client.call('answer', status=400)

    fork = client.call(f'messages/{example}/fork')['id']
    assert [message.content for message in stored(client.server, fork).path()] == ['2+2', '4']


def test_a_reply_is_stopped_and_goes_on(slow: Client) -> None:
    assert slow.call('messages', status=409, text='me too')['error']['code'] == 'reply_running'
    slow.call('stop')
    slow.finish()
    cut = slow.chat().path()[-1]
    assert cut.finish_reason == 'cancelled'
    slow.call('continue')
    slow.server.until(lambda: len(slow.said()[1]) > len(cut.content))
    assert slow.chat().path()[-1].id == cut.id


def test_messages_wait_and_are_changed_before_they_go(slow: Client) -> None:
    first, second, third = [slow.call('queue', text=text)['id'] for text in ('one', 'two', 'three')]
    slow.call(f'queue/{second}', 'PATCH', text='zwei', place=0)
    slow.call(f'queue/{third}', 'DELETE')
    assert [message.content for message in slow.chat().queue] == ['zwei', 'one']
    assert slow.call(f'queue/{third}', 'DELETE', status=404)['error']['code'] == 'not_found'

    slow.call(f'queue/{first}/send')
    slow.server.until(lambda: 'one' in slow.said())
    slow.server.until(lambda: slow.said()[-1] == 'zwei' and not slow.chat().queue)


def test_a_chat_is_measured_with_what_is_typed(client: Client) -> None:
    client.ask('one two', attachments=[NOTES])
    use = client.call('measure', text='and three', attachments=[NOTES])
    assert {name: use[name] for name in ('draft', 'n_ctx', 'left_out', 'fits')} == {
        'draft': 2, 'n_ctx': 100_000, 'left_out': [], 'fits': True,
    }  # fmt: skip
    assert use['total'] == use['system'] + use['history'] + use['attachments'] + use['draft']
    assert use['attachments'] == 2 * len(['File:', 'notes.txt', '```', 'milk', 'and', 'bread', '```'])

    client.id = 'new'
    assert client.call('measure', text='and three')['total'] == 2
    client.id = 'nobody'
    client.call('measure', status=404, text='x')


def test_without_a_model_there_is_nothing_to_measure_with(idle_server: Running) -> None:
    answer = Client(idle_server).call('measure', status=503, text='x')
    assert answer['error']['code'] == 'no_model_loaded'


def test_a_message_may_be_a_file_alone(client: Client) -> None:
    client.ask('', attachments=[NOTES])
    assert 'milk and bread' in client.said()[1]
    assert 'empty' in client.call('messages', status=400, text='')['error']['message']
    assert client.call('messages', status=422, text='x', file='y')['error']['param'] == 'file'
