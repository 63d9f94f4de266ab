"""The app's own paths: messages for saved chats, and replies as server-sent events."""

import asyncio
import json
from typing import Any

import httpx

from inference.chat import clean_text
from presets.chat import Chat
from tests.webui.api.serving import Running

Event = tuple[str, dict[str, Any]]
JSON = {'content-type': 'application/json'}


def read(response: httpx.Response) -> list[Event]:
    """Return name and data of each event."""
    response.read()
    blocks = [block.split('\n') for block in response.text.split('\n\n') if block.startswith('event:')]
    return [(name.removeprefix('event: '), json.loads(data.removeprefix('data: '))) for name, data in blocks]


def ask(text: str, **more: Any) -> dict[str, Any]:
    """Return the body of a request with one message."""
    return {'messages': [{'role': 'user', 'content': text}], **more}


def new_chat(server: Running) -> str:
    """Save an empty chat on the server's loop and return its id."""
    chat = Chat.new()
    loop = server.services.chats._loop
    asyncio.run_coroutine_threadsafe(server.services.chats.save(chat), loop).result()
    return chat.id


def stored(server: Running, chat_id: str) -> Chat:
    """Return the chat as the app has it now."""
    loop = server.services.chats._loop
    return asyncio.run_coroutine_threadsafe(server.services.chats.load(chat_id), loop).result()


def test_a_reply_comes_as_events_with_numbers_at_the_end(server: Running) -> None:
    with server.http.stream('POST', '/api/chat/stream', json=ask('one two three')) as response:
        events = read(response)

    assert response.status_code == 200
    assert response.headers['content-type'] == 'text/event-stream; charset=utf-8'
    assert response.headers['cache-control'] == 'no-store'
    assert response.headers['x-accel-buffering'] == 'no'
    assert events[0] == ('progress', {'done': 0, 'total': 3, 'cached': 0})
    assert ''.join(data['text'] for name, data in events if name == 'delta') == 'one two three'
    name, data = events[-1]
    assert (name, data['finish_reason']) == ('done', 'stop')
    assert data['usage'] == {
        'prompt_tokens': 3, 'cached_tokens': 0, 'completion_tokens': 3,
        'reasoning_tokens': 0, 'drafted_tokens': 0, 'accepted_tokens': 0,
    }  # fmt: skip
    assert set(data['timings']) == {'queued', 'prefill', 'decode', 'ttft', 'prefill_rate', 'decode_rate'}


def test_reasoning_calls_and_likelihoods_have_events_of_their_own(server: Running) -> None:
    body = ask(
        '<think>hm</think>see\n/tool weather {}', tools=[{'name': 'weather'}], sampling={'n_probs': 1}, user='ada'
    )
    with server.http.stream('POST', '/api/chat/stream', json=body) as response:
        events = [(name, data) for name, data in read(response) if name != 'progress']

    assert events[0] == ('reasoning', {'text': 'hm', 'tokens': 1})
    assert events[1][0] == 'delta'
    assert events[1][1]['logprobs'][0]['token'] == 'see\n'
    assert events[2:4] == [
        ('tool_call', {'index': 0, 'id': 'call_1', 'name': 'weather', 'arguments': '', 'tokens': 1}),
        ('tool_call', {'index': 0, 'id': '', 'name': '', 'arguments': '{}', 'tokens': 1}),
    ]
    assert events[-1][1]['finish_reason'] == 'tool_calls'

    wrong = server.http.post('/api/chat/stream', json=ask('hello', tool_choice='weather'))
    assert (wrong.status_code, wrong.json()['error']['param']) == (422, 'tool_choice')


def test_messages_are_left_out_where_that_is_wanted(server: Running) -> None:
    long = 'word ' * 60_000
    turns = [{'role': role, 'content': text} for role, text in (('user', long), ('assistant', 'fine'), ('user', long))]
    body = {'messages': turns, 'overflow': 'roll', 'sampling': {'max_tokens': 1}}
    with server.http.stream('POST', '/api/chat/stream', json=body) as response:
        events = read(response)
    assert events[0] == ('left_out', {'messages': [0]})

    full = server.http.post('/api/chat/stream', json={**body, 'overflow': 'stop'})
    assert (full.status_code, full.json()['error']['code']) == (400, 'context_length_exceeded')

    with server.http.stream('POST', '/api/chat/stream', json=ask('word ' * 99_999)) as response:
        assert read(response)[-1][1]['detail'] == 'the context is full'


def test_a_reply_that_was_begun_goes_on(server: Running) -> None:
    turns = [{'role': 'user', 'content': 'one two three'}, {'role': 'assistant', 'content': 'one'}]
    with server.http.stream('POST', '/api/chat/stream', json={'messages': turns, 'continues': True}) as response:
        assert ''.join(data['text'] for name, data in read(response) if name == 'delta') == ' two three'

    wrong = server.http.post('/api/chat/stream', json=ask('hello', continues=True))
    assert (wrong.status_code, wrong.json()['error']['param']) == (422, 'continues')


def test_sampling_settings_apply_and_are_checked(server: Running) -> None:
    body = ask('one two three four', sampling={'max_tokens': 2, 'stop': ['nothing']})
    with server.http.stream('POST', '/api/chat/stream', json=body) as response:
        assert read(response)[-1][1]['finish_reason'] == 'length'

    wrong = server.http.post('/api/chat/stream', json=ask('hello', sampling={'temperature': 9}))
    assert (wrong.status_code, wrong.json()['error']['param']) == (422, 'sampling.temperature')
    assert 'less than or equal to 5' in wrong.json()['error']['message']


def test_who_has_to_wait_learns_the_place(slow_server: Running) -> None:
    first = slow_server.http.stream('POST', '/api/chat/stream', json=ask('so ' * 1000))
    second = slow_server.http.stream('POST', '/api/chat/stream', json=ask('me too'))
    with first as before:
        next(before.iter_text())
        with second as after:
            assert next(after.iter_text()).startswith('event: queued\ndata: {"place": 1}')


def test_a_client_that_leaves_frees_its_slot_at_once(slow_server: Running) -> None:
    with slow_server.http.stream('POST', '/api/chat/stream', json=ask('word ' * 1000)) as response:
        assert 'event: ' in next(response.iter_text())
        assert slow_server.busy() == 1

    slow_server.until(lambda: slow_server.busy() == 0, seconds=2)


def test_an_error_before_the_first_event_is_a_status(server: Running) -> None:
    empty = server.http.post('/api/chat/stream', json=ask('  '))

    assert (empty.status_code, empty.json()['error']['code']) == (400, 'invalid_request')


def test_without_a_model_there_is_no_reply(idle_server: Running) -> None:
    nothing = idle_server.http.post('/api/chat/stream', json=ask('hello'))

    assert (nothing.status_code, nothing.json()['error']['code']) == (503, 'no_model_loaded')


def test_text_that_no_tokenizer_takes_is_mended(server: Running) -> None:
    body = b'{"messages": [{"role": "user", "content": "a\\ud800b\\u0000c"}], "sampling": {"stop": ["\\udfff"]}}'
    with server.http.stream('POST', '/api/chat/stream', content=body, headers=JSON) as response:
        events = read(response)

    assert ''.join(data['text'] for name, data in events if name == 'delta') == 'a'

    body = body.replace(b'"\\udfff"', b'')
    with server.http.stream('POST', '/api/chat/stream', content=body, headers=JSON) as response:
        assert ''.join(data['text'] for name, data in read(response) if name == 'delta') == clean_text('a\ud800b\0c')


def test_a_message_is_added_to_a_saved_chat_and_answered(server: Running) -> None:
    chat_id = new_chat(server)

    response = server.http.post(
        f'/api/chats/{chat_id}/messages', content=b'{"text": "hello \\ud83d world"}', headers=JSON
    )

    assert response.status_code == 202
    server.until(lambda: all(message.finish_reason for message in stored(server, chat_id).path()[1:]))
    question, reply = stored(server, chat_id).path()
    assert response.json() == {'id': question.id}
    assert (question.content, reply.content) == (clean_text('hello \ud83d world'),) * 2


def test_a_message_of_several_megabytes_is_fine_and_an_endless_one_is_not(server: Running) -> None:
    chat_id = new_chat(server)

    assert server.http.post(f'/api/chats/{chat_id}/messages', json={'text': 'x' * 5_000_000}).status_code == 202

    huge = server.http.post(f'/api/chats/{chat_id}/messages', json={'text': 'x' * (32 << 20)})
    assert huge.status_code == 413
    assert huge.json()['error']['message'] == 'The body is larger than 32 MB. Send less text at once.'


def test_messages_that_cannot_be_sent_say_why(server: Running) -> None:
    path = f'/api/chats/{new_chat(server)}/messages'

    missing = server.http.post('/api/chats/nobody/messages', json={'text': 'hello'})
    empty = server.http.post(path, json={'text': ' '})
    nameless = server.http.post(path, json={})
    broken = server.http.post(path, content='{"text": ', headers=JSON)
    plain = server.http.post(path, content='hello')

    assert (missing.status_code, missing.json()['error']['code']) == (404, 'not_found')
    assert (empty.status_code, empty.json()['error']['code']) == (400, 'invalid_request')
    assert (nameless.status_code, nameless.json()['error']['message']) == (422, "The field 'text' is missing.")
    assert (broken.status_code, plain.status_code) == (422, 422)
    assert 'not valid JSON' in broken.json()['error']['message']
    assert 'must be a JSON object' in plain.json()['error']['message']
