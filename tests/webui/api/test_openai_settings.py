"""What programs send, under OpenAI's names and llama.cpp's, and what the engine is asked for then."""

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from inference.chat import GenerationRequest, Message, Tool, ToolCall
from inference.settings import SamplingSettings
from tests.webui.api.serving import Running
from webui.api.openai_schema import ChatCompletionRequest

HELLO = [{'role': 'user', 'content': 'hello'}]
SCHEMA = {'type': 'object', 'properties': {'größe': {'type': 'number'}}}
TOOL = {'type': 'function', 'function': {'name': 'f', 'description': 'does it', 'parameters': SCHEMA, 'strict': True}}


def asked(**body: Any) -> GenerationRequest:
    """Return what the engine gets for a body."""
    return ChatCompletionRequest.model_validate({'messages': HELLO, **body}).generation('somebody')


@pytest.mark.parametrize(
    ('field', 'value', 'setting', 'meant'),
    [
        ('typical_p', 0.9, 'typical_p', 0.9),
        ('top_n_sigma', 1.5, 'top_n_sigma', 1.5),
        ('nsigma', 1.5, 'top_n_sigma', 1.5),
        ('xtc_probability', 0.5, 'xtc_probability', 0.5),
        ('xtc_threshold', 0.2, 'xtc_threshold', 0.2),
        ('dynatemp_range', 0.5, 'dynatemp_range', 0.5),
        ('dynatemp_exponent', 2, 'dynatemp_exponent', 2),
        ('mirostat', 0, 'mirostat', 'off'),
        ('mirostat', 1, 'mirostat', 'v1'),
        ('mirostat', 2, 'mirostat', 'v2'),
        ('mirostat', 'v2', 'mirostat', 'v2'),
        ('mirostat_tau', 3, 'mirostat_tau', 3),
        ('mirostat_eta', 0.2, 'mirostat_eta', 0.2),
        ('adaptive_target', 0.3, 'adaptive_target', 0.3),
        ('adaptive_decay', 0.5, 'adaptive_decay', 0.5),
        ('dry_multiplier', 0.8, 'dry_multiplier', 0.8),
        ('dry_base', 2, 'dry_base', 2),
        ('dry_allowed_length', 3, 'dry_allowed_length', 3),
        ('dry_penalty_last_n', 512, 'dry_penalty_last_n', 512),
        ('dry_sequence_breakers', ['\n', '#'], 'dry_sequence_breakers', ('\n', '#')),
        ('samplers', ['penalties', 'top_k', 'typ_p', 'temperature'], 'samplers', ('top_k', 'typical_p', 'temperature')),
        ('ignore_eos', True, 'ignore_eos', True),
        ('logit_bias', {'50256': -100, '7': 1.5}, 'logit_bias', {50256: -100, 7: 1.5}),
        ('logit_bias', [[50256, False], ['7', 1]], 'logit_bias', {50256: -1000, 7: 1}),
        ('n_probs', 4, 'n_probs', 4),
        ('logprobs', True, 'n_probs', 1),
        ('grammar', 'root ::= "yes"', 'grammar', 'root ::= "yes"'),
        ('json_schema', {'type': 'array'}, 'json_schema', '{"type": "array"}'),
        ('json_schema', '{"type": "array"}', 'json_schema', '{"type": "array"}'),
        ('response_format', {'type': 'json_object'}, 'json_schema', '{"type": "object"}'),
        ('response_format', {'type': 'json_object', 'schema': {'type': 'object'}}, 'json_schema', '{"type": "object"}'),
        ('response_format', {'type': 'text'}, 'json_schema', ''),
        ('reasoning_effort', 'none', 'reasoning', 'off'),
        ('reasoning_effort', 'high', 'reasoning', 'on'),
        ('enable_thinking', False, 'reasoning', 'off'),
        ('chat_template_kwargs', {'enable_thinking': True}, 'reasoning', 'on'),
        ('chat_template_kwargs', {'thinking': False}, 'reasoning', 'off'),
        ('chat_template_kwargs', {}, 'reasoning', 'auto'),
        ('reasoning_budget', 100, 'reasoning_budget', 100),
        ('reasoning_budget_tokens', 100, 'reasoning_budget', 100),
        ('thinking_budget_tokens', 100, 'reasoning_budget', 100),
        ('thinking_budget', 0, 'reasoning_budget', 0),
        ('n_predict', -1, 'max_tokens', 0),
        ('n_predict', 7, 'max_tokens', 7),
        ('max_completion_tokens', 7, 'max_tokens', 7),
        ('stop', 'END', 'stop', ('END',)),
        ('stop', ['a\ud800', 'b'], 'stop', ('a\ufffd', 'b')),
    ],
)
def test_a_field_becomes_a_setting(field: str, value: Any, setting: str, meant: Any) -> None:
    assert getattr(asked(**{field: value}).sampling, setting) == meant


def test_every_setting_is_taken_under_its_own_name() -> None:
    for name, value in SamplingSettings().model_dump(mode='json').items():
        assert asked(**{name: value}).sampling == SamplingSettings(), name
        assert asked(**{name: None}).sampling == SamplingSettings(), name


def test_a_json_schema_is_handed_on_as_it_is() -> None:
    wanted = {'type': 'json_schema', 'json_schema': {'name': 'size', 'strict': True, 'schema': SCHEMA}}

    text = asked(response_format=wanted).sampling.json_schema
    assert SamplingSettings(json_schema=text) and 'größe' in text


def test_of_two_likely_tokens_and_the_chosen_one_two_are_told() -> None:
    request = ChatCompletionRequest.model_validate({'messages': HELLO, 'logprobs': True, 'top_logprobs': 2})

    assert (request.generation('').sampling.n_probs, request.n_top) == (2, 2)


def test_tools_and_past_calls_reach_the_engine() -> None:
    call = {'id': 'c1', 'type': 'function', 'function': {'name': 'f', 'arguments': '{"x": 1}'}}
    messages = [
        {'role': 'user', 'content': 'go', 'name': 'ada'},
        {'role': 'assistant', 'content': None, 'reasoning_content': 'hm', 'tool_calls': [call]},
        {'role': 'tool', 'content': [{'type': 'text', 'text': '42'}], 'tool_call_id': 'c1'},
    ]
    request = asked(messages=messages, tools=[TOOL], tool_choice='required')

    assert request.tools == (Tool(name='f', description='does it', parameters=SCHEMA),)
    assert request.tool_choice == 'required'
    assert request.messages == (
        Message(role='user', content='go', name='ada'),
        Message(
            role='assistant',
            content='',
            reasoning='hm',
            tool_calls=(ToolCall(id='c1', name='f', arguments='{"x": 1}'),),
        ),
        Message(role='tool', content='42', tool_call_id='c1'),
    )
    forced = asked(tools=[TOOL], tool_choice={'type': 'function', 'function': {'name': 'f'}})
    assert forced.tool_choice == 'f'


def test_a_reply_can_be_begun_for_the_model() -> None:
    begun = [*HELLO, {'role': 'assistant', 'content': 'Once upon'}]

    assert asked(messages=begun, continue_final_message=True).continues
    assert not asked(messages=begun).continues
    with pytest.raises(ValidationError, match='must be the beginning of a reply'):
        asked(continue_final_message=True)


def test_whose_request_it_is_can_be_said() -> None:
    assert (asked().user, asked(user='ada').user, asked(user=None).user) == ('somebody', 'ada', 'somebody')


@pytest.mark.parametrize(
    ('field', 'value', 'reason'),
    [
        ('logit_bias', {' hello': 1}, 'is no token id; a bias on text is not supported'),
        ('logit_bias', [1, 2], 'token ids with their biases are needed'),
        ('logit_bias', {'-1': 1}, 'token ids are 0 or more'),
        ('samplers', 'kmt', 'a list of names is needed'),
        ('samplers', ['top_z'], "Input should be 'dry'"),
        ('mirostat', 3, "Input should be 'off'"),
        ('response_format', {'type': 'xml'}, 'its type must be text, json_object or json_schema'),
        ('response_format', {'type': 'json_schema'}, 'needs a json_schema with a schema in it'),
        ('chat_template_kwargs', {'tone': 'kind'}, "'tone' is not supported, only enable_thinking"),
        ('chat_template_kwargs', 'kind', 'an object is needed'),
        ('enable_thinking', 'maybe', 'true or false is needed'),
        ('thinking_budget', -7, 'greater than or equal to -1'),
        ('nsigma', 99, 'less than or equal to 10'),
        ('json_schema', {'a': [[]] * 3}, ''),
    ],
)
def test_what_makes_no_sense_is_explained_under_the_name_that_was_used(field: str, value: Any, reason: str) -> None:
    if not reason:
        value = nested(value)
        reason = 'nested more than 64 levels deep'
    with pytest.raises(RequestValidationError) as refused:
        asked(**{field: value})

    [problem] = refused.value.errors()
    assert problem['loc'][:2] == ('body', field)
    assert reason in problem['msg']


def nested(value: Any) -> Any:
    for _ in range(100):
        value = [value]
    return value


def test_the_description_of_the_api_names_every_setting(server: Running) -> None:
    schemas = server.http.get('/openapi.json').json()['components']['schemas']
    fields = schemas['ChatCompletionRequest']['properties']

    assert set(SamplingSettings.model_fields) | {'nsigma', 'response_format', 'thinking_budget'} <= set(fields)
    assert fields['min_p']['description'].startswith('Drops tokens less likely')
    assert fields['nsigma']['description'] == 'Another name of top_n_sigma.'
