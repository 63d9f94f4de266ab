"""The official client talks to the app."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from inference.chat import clean_text
from tests.tiny_models import write_tiny_model
from tests.webui.api.serving import Running, config, serving

HELLO: list[ChatCompletionMessageParam] = [{'role': 'user', 'content': 'hello there world'}]
JSON = {'content-type': 'application/json'}


def post(server: Running, **body: Any) -> httpx.Response:
    """Send a request as it is, without a client that knows better."""
    return server.http.post('/v1/chat/completions', json={'messages': HELLO, **body})


def test_a_reply_with_usage(server: Running) -> None:
    completion = server.openai.chat.completions.create(model='echo@0', messages=HELLO)

    assert completion.id.startswith('chatcmpl-')
    assert (completion.object, completion.model) == ('chat.completion', 'echo@0')
    assert completion.choices[0].message.role == 'assistant'
    assert completion.choices[0].message.content == 'hello there world'
    assert completion.choices[0].finish_reason == 'stop'
    assert completion.usage and completion.usage.prompt_tokens_details
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 3)
    assert completion.usage.total_tokens == 6

    again = server.openai.chat.completions.create(model='echo@0', messages=HELLO)
    assert again.usage and again.usage.prompt_tokens_details
    assert again.usage.prompt_tokens_details.cached_tokens == 2
    assert post(server).json()['timings']['cache_n'] == 2


def test_a_stream(server: Running) -> None:
    stream = server.openai.chat.completions.create(
        model='', messages=HELLO, stream=True, stream_options={'include_usage': True}
    )
    chunks = list(stream)

    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == 'assistant'
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-2]] == ['hello', ' there', ' world']
    assert chunks[-2].choices[0].finish_reason == 'stop'
    assert chunks[-1].choices == []
    assert chunks[-1].usage and chunks[-1].usage.total_tokens == 6


def test_the_stream_ends_with_done_and_has_no_usage_unasked(server: Running) -> None:
    lines = post(server, stream=True).text.split('\n\n')

    assert lines[-2:] == ['data: [DONE]', '']
    assert all('usage' not in json.loads(line.removeprefix('data: ')) for line in lines[:-2])


def test_a_client_that_leaves_ends_its_reply(slow_server: Running) -> None:
    messages: list[ChatCompletionMessageParam] = [{'role': 'user', 'content': 'word ' * 1000}]
    with slow_server.openai.chat.completions.create(model='', messages=messages, stream=True) as stream:
        next(iter(stream))
        assert slow_server.busy() == 1
    slow_server.until(lambda: slow_server.busy() == 0, seconds=2)

    with pytest.raises(openai.APITimeoutError):
        slow_server.openai.chat.completions.create(model='', messages=messages, timeout=0.5)
    slow_server.until(lambda: slow_server.busy() == 0, seconds=2)


def test_limits_and_stops(server: Running) -> None:
    create = server.openai.chat.completions.create

    assert create(model='', messages=HELLO, max_completion_tokens=2).choices[0].finish_reason == 'length'
    assert create(model='', messages=HELLO, max_tokens=1).choices[0].message.content == 'hello'
    assert create(model='', messages=HELLO, stop='there').choices[0].message.content == 'hello '
    assert create(model='', messages=HELLO, stop=['x', ' world']).choices[0].message.content == 'hello there'
    unlimited = create(model='', messages=HELLO, max_tokens=-1, seed=7, temperature=0, top_p=0.5, presence_penalty=1)
    assert unlimited.choices[0].finish_reason == 'stop'


def test_fields_that_change_nothing_are_let_through(server: Running) -> None:
    harmless = {
        'user': 'me', 'store': False, 'metadata': {'a': 'b'}, 'service_tier': 'auto', 'parallel_tool_calls': True,
        'n': 1, 'tools': [], 'tool_choice': 'none', 'response_format': {'type': 'text'}, 'logprobs': False,
        'stop': None, 'temperature': None, 'logit_bias': {}, 'modalities': ['text'], 'top_k': 5, 'min_p': 0.1,
        'repeat_penalty': 1.1, 'something_new': True,
    }  # fmt: skip

    assert post(server, **harmless).status_code == 200


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('n', 2),
        ('tools', [{'type': 'function', 'function': {'name': 'f'}}]),
        ('tool_choice', 'required'),
        ('response_format', {'type': 'json_object'}),
        ('logprobs', True),
        ('top_logprobs', 3),
        ('logit_bias', {'50256': -100}),
        ('audio', {'voice': 'alloy', 'format': 'wav'}),
        ('modalities', ['text', 'audio']),
        ('temperature', 9),
        ('temperature', 'hot'),
        ('top_p', 1.5),
        ('max_tokens', -5),
        ('max_completion_tokens', -5),
        ('stop', 5),
        ('messages', []),
        ('messages', None),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(server: Running, field: str, value: Any) -> None:
    response = post(server, **{field: value})

    assert response.status_code == 400
    error = response.json()['error']
    assert (error['type'], error['code'], error['param']) == ('invalid_request_error', 'invalid_request', field)
    assert error['message'].startswith(f"The field '{field}'")


def test_messages_may_come_in_parts_and_roles_that_are_known(server: Running) -> None:
    messages: list[Any] = [
        {'role': 'developer', 'content': 'be brief'},
        {'role': 'user', 'content': 'hello'},
        {'role': 'assistant', 'content': 'hi', 'refusal': None, 'tool_calls': None, 'audio': None},
        {'role': 'user', 'content': [{'type': 'text', 'text': 'what is'}, {'type': 'text', 'text': 'this'}]},
    ]
    assert post(server, messages=messages).json()['choices'][0]['message']['content'] == 'what is\nthis'

    image = {'type': 'image_url', 'image_url': {'url': 'data:'}}
    seen = post(server, messages=[{'role': 'user', 'content': [image]}])
    assert (seen.status_code, seen.json()['error']['param']) == (400, 'messages[0].content')
    assert 'part 0 is no text' in seen.json()['error']['message']

    tool = post(server, messages=[*messages, {'role': 'tool', 'content': '42', 'tool_call_id': 'x'}])
    assert (tool.status_code, tool.json()['error']['param']) == (400, 'messages[4].role')


def test_text_that_no_tokenizer_takes_is_mended(server: Running) -> None:
    body = b'{"model": "", "messages": [{"role": "user", "content": [{"type": "text", "text": "a\\ud800b\\u0000c"}]}]}'
    response = server.http.post('/v1/chat/completions', content=body, headers=JSON)

    assert response.json()['choices'][0]['message']['content'] == clean_text('a\ud800b\0c')


def test_a_body_that_cannot_be_read_says_what_is_expected(server: Running) -> None:
    for body in (b'{"messages": "\xff"}', b'[' * 100_000):
        response = server.http.post('/v1/chat/completions', content=body, headers=JSON)
        assert response.status_code == 400
        assert response.json()['error']['message'].startswith('The body cannot be read. Send JSON')


def test_errors_are_raised_by_the_client_as_what_they_are(server: Running) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        server.openai.chat.completions.create(model='gpt-5', messages=HELLO)
    assert unknown.value.code == 'model_not_found'

    with pytest.raises(openai.BadRequestError) as long:
        server.openai.chat.completions.create(model='', messages=[{'role': 'user', 'content': 'a ' * 100_001}])
    assert long.value.code == 'context_length_exceeded'

    with pytest.raises(openai.BadRequestError):
        server.openai.chat.completions.create(model='', messages=[{'role': 'user', 'content': ''}], stream=True)


def test_without_a_model_the_client_learns_that(idle_server: Running) -> None:
    with pytest.raises(openai.InternalServerError) as nothing:
        idle_server.openai.chat.completions.create(model='', messages=HELLO)
    assert (nothing.value.status_code, nothing.value.code) == (503, 'no_model_loaded')


def test_a_model_of_the_catalogue_is_loaded_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / 'models').mkdir()
    path = write_tiny_model(tmp_path / 'models' / 'tiny.gguf')

    with serving(config(tmp_path)) as server:
        [tiny] = [model for model in server.services.catalog.models if model.path == path]
        listed = {model.id: model for model in server.openai.models.list()}
        assert {'echo@0', tiny.id} <= set(listed)
        assert listed[tiny.id].created == int(path.stat().st_mtime)
        assert server.openai.models.retrieve(tiny.id).owned_by == 'local'
        assert server.openai.models.retrieve('echo@0').id == 'echo@0'
        with pytest.raises(openai.NotFoundError):
            server.openai.models.retrieve('nobody/nothing')

        completion = server.openai.chat.completions.create(model=tiny.id, messages=HELLO, max_tokens=3, temperature=0)

        assert completion.model == tiny.id == server.http.get('/api/health').json()['engine']['model']
        assert completion.choices[0].message.content
        named = server.openai.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=1)
        assert named.model == tiny.id


def test_requests_for_different_models_at_once_are_all_answered_by_the_one_they_name(tmp_path: Path) -> None:
    (tmp_path / 'models').mkdir()
    write_tiny_model(tmp_path / 'models' / 'one.gguf', name='One')
    write_tiny_model(tmp_path / 'models' / 'two.gguf', name='Two', seed=1)

    def ask(server: Running, model: str) -> str:
        return server.openai.chat.completions.create(model=model, messages=HELLO, max_tokens=1).model

    with serving(config(tmp_path, 'none')) as server, ThreadPoolExecutor() as threads:
        ids = [model.id for model in server.services.catalog.models if tmp_path in model.path.parents]
        asked = [*ids, ids[0], *ids]
        assert list(threads.map(ask, [server] * len(asked), asked)) == asked
