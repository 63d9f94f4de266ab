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
TOOLS: Any = [{'type': 'function', 'function': {'name': 'weather', 'parameters': {'type': 'object'}}}]
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


def test_reasoning_is_told_apart_from_the_answer(server: Running) -> None:
    messages: list[ChatCompletionMessageParam] = [{'role': 'user', 'content': '<think>well now</think>the answer'}]
    create = server.openai.chat.completions.create
    completion = create(model='', messages=messages)

    message = completion.choices[0].message
    assert (message.content, message.model_extra) == ('the answer', {'reasoning_content': 'well now'})
    assert completion.usage and completion.usage.completion_tokens_details
    assert completion.usage.completion_tokens_details.reasoning_tokens == 2
    assert completion.usage.completion_tokens_details.accepted_prediction_tokens == 0

    deltas = [chunk.choices[0].delta for chunk in create(model='', messages=messages, stream=True)]
    assert ''.join((delta.model_extra or {}).get('reasoning_content', '') for delta in deltas) == 'well now'
    assert ''.join(delta.content or '' for delta in deltas) == 'the answer'

    assert create(model='', messages=messages, reasoning_effort='none').choices[0].message.model_extra == {}


def test_a_tool_is_called_at_once_or_in_parts(server: Running) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {'role': 'user', 'content': '/tool weather {"city": "Oslo", "days": 3}\n/tool weather {}'}
    ]
    create = server.openai.chat.completions.create
    completion = create(model='', messages=messages, tools=TOOLS)

    choice = completion.choices[0]
    assert (choice.finish_reason, choice.message.content) == ('tool_calls', None)
    assert choice.message.tool_calls
    calls = [call for call in choice.message.tool_calls if call.type == 'function']
    assert [(call.id, call.function.name) for call in calls] == [('call_1', 'weather'), ('call_2', 'weather')]
    assert json.loads(calls[0].function.arguments) == {'city': 'Oslo', 'days': 3}

    chunks = list(create(model='', messages=messages, tools=TOOLS, stream=True))
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
    first = [part for part in parts if part.index == 0 and part.function]
    assert (first[0].id, first[0].type, first[0].function and first[0].function.name) == (
        'call_1',
        'function',
        'weather',
    )
    assert all(part.id is None and part.function and part.function.name is None for part in first[1:])
    assert ''.join(part.function.arguments or '' for part in first if part.function) == calls[0].function.arguments
    assert {part.index for part in parts} == {0, 1}
    assert chunks[-1].choices[0].finish_reason == 'tool_calls'


def test_a_program_that_wants_one_call_is_told_one(server: Running) -> None:
    messages: list[ChatCompletionMessageParam] = [{'role': 'user', 'content': '/tool weather {}\n/tool weather {}'}]
    create = server.openai.chat.completions.create

    completion = create(model='', messages=messages, tools=TOOLS, parallel_tool_calls=False)
    assert len(completion.choices[0].message.tool_calls or []) == 1
    stream = create(model='', messages=messages, tools=TOOLS, parallel_tool_calls=False, stream=True)
    assert {part.index for chunk in stream for part in chunk.choices[0].delta.tool_calls or []} == {0}


def test_the_answer_of_a_tool_goes_back_to_the_model(server: Running) -> None:
    call: Any = {'id': 'call_1', 'type': 'function', 'function': {'name': 'weather', 'arguments': '{}'}}
    messages: list[ChatCompletionMessageParam] = [
        {'role': 'user', 'content': 'how is it outside?'},
        {'role': 'assistant', 'content': None, 'tool_calls': [call]},
        {'role': 'tool', 'content': 'rain until noon', 'tool_call_id': 'call_1'},
    ]
    completion = server.openai.chat.completions.create(model='', messages=messages, tools=TOOLS)

    assert completion.choices[0].message.content == 'rain until noon'


def test_how_likely_each_token_was(server: Running) -> None:
    create = server.openai.chat.completions.create
    asked: Any = {'model': '', 'messages': [{'role': 'user', 'content': 'grün und blau'}], 'logprobs': True}
    told = create(**asked, top_logprobs=2).choices[0].logprobs

    assert told and told.content
    assert [token.token for token in told.content] == ['grün', ' und', ' blau']
    assert bytes(told.content[0].bytes or []) == 'grün'.encode()
    assert [other.token for other in told.content[0].top_logprobs] == ['grün', 'grün?']
    assert told.content[0].logprob == told.content[0].top_logprobs[0].logprob > told.content[0].top_logprobs[1].logprob

    alone = create(**asked).choices[0].logprobs
    assert alone and alone.content and alone.content[0].top_logprobs == []
    assert create(model='', messages=HELLO).choices[0].logprobs is None

    chunks = list(create(**asked, top_logprobs=1, stream=True))
    streamed = [token.token for chunk in chunks if (told := chunk.choices[0].logprobs) for token in told.content or []]
    assert streamed == ['grün', ' und', ' blau']
    asked_as_llama_does = post(server, n_probs=1).json()['choices'][0]['logprobs']['content']
    assert [len(token['top_logprobs']) for token in asked_as_llama_does] == [1, 1, 1]


def test_a_reply_that_fills_the_context_says_so(server: Running) -> None:
    ends = post(server, messages=[{'role': 'user', 'content': 'a ' * 99_998}]).json()['choices'][0]

    assert (ends['finish_reason'], ends['finish_detail']) == ('length', 'the context is full')


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
        'repeat_penalty': 1.1, 'something_new': True, 'top_logprobs': 0, 'reasoning_format': 'auto',
        'cache_prompt': True,
    }  # fmt: skip

    assert post(server, **harmless).status_code == 200


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('n', 2),
        ('tool_choice', 'required'),
        ('tool_choice', {'type': 'function', 'function': {'name': 'nobody'}}),
        ('tool_choice', 'sometimes'),
        ('functions', [{'name': 'f'}]),
        ('response_format', {'type': 'xml'}),
        ('top_logprobs', 3),
        ('n_probs', 21),
        ('logit_bias', {'hello': -100}),
        ('lora', [{'id': 0, 'scale': 1}]),
        ('reasoning_format', 'none'),
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

    tool = post(server, messages=[*messages, {'role': 'function', 'content': '42', 'name': 'x'}])
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
