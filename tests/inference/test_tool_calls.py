"""What a reply has to be that must call a tool, and that each format reads what it writes."""

import json

import pytest

from inference.call_formats import FORMATS, HARMONY, HERMES, LLAMA, CallFormat
from inference.chat import TextDelta, Tool, ToolCall, ToolCallDelta
from inference.errors import InvalidRequest
from inference.reasoning import CHANNELS, ReplyStyle
from inference.reply import ReplyReader
from inference.tool_calls import CallSchema, tool_call_schema

WEATHER = Tool(
    name='get_weather',
    parameters={
        'type': 'object',
        'properties': {'place': {'$ref': '#/$defs/place'}},
        '$defs': {'place': {'type': 'object', 'properties': {'city': {'type': 'string'}}}},
    },
)
CLOCK = Tool(name='get_time')
NO_ARGUMENTS = {'type': 'object', 'properties': {}}
IN_JSON = [calls for calls in FORMATS if calls.json]


def called(style: ReplyStyle, reply: str, prompt: str = '') -> tuple[str, list[tuple[str, str]]]:
    reader = ReplyReader(style, tools=(WEATHER, CLOCK), prompt=prompt)
    deltas = reader.feed(reply.encode()) + reader.finish()
    names = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    text = ''.join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    return text, [(delta.name, delta.arguments) for delta in names]


@pytest.mark.parametrize('calls', [*IN_JSON, HARMONY])
def test_a_call_is_read_as_it_was_demanded(calls: CallFormat) -> None:
    style = ReplyStyle(calls=calls)

    demanded = tool_call_schema(style, [WEATHER, CLOCK], 'get_weather')

    assert demanded is not None
    assert demanded.schema == WEATHER.parameters
    reply = demanded.prefix + '{"place": {"city": "Paris"}}' + demanded.suffix
    assert called(style, reply) == ('', [('get_weather', '{"place": {"city": "Paris"}}')])


@pytest.mark.parametrize('calls', [calls for calls in IN_JSON if calls.keys])
def test_one_of_several_tools_can_be_demanded_where_its_name_is_json_too(calls: CallFormat) -> None:
    style = ReplyStyle(calls=calls)

    demanded = tool_call_schema(style, [WEATHER, CLOCK], 'required')

    assert demanded is not None and calls.keys is not None
    name, arguments = calls.keys
    assert demanded.schema['anyOf'][1]['properties'] == {
        name: {'const': 'get_time'},
        arguments: {'$ref': '#/$defs/tool1'},
    }
    assert demanded.schema['$defs']['tool1'] == NO_ARGUMENTS
    reply = demanded.prefix + json.dumps({name: 'get_time', arguments: {}}) + demanded.suffix
    assert called(style, reply) == ('', [('get_time', '{}')])


def test_references_within_a_tools_schema_still_lead_to_their_target() -> None:
    demanded = tool_call_schema(ReplyStyle(), [CLOCK, WEATHER], 'required')

    assert demanded is not None
    moved = demanded.schema['$defs']['tool1']
    assert moved['properties']['place'] == {'$ref': '#/$defs/tool1/$defs/place'}
    assert moved['$defs']['place'] == WEATHER.parameters['$defs']['place']


def test_after_reasoning_the_call_begins_where_that_ends() -> None:
    assert tool_call_schema(ReplyStyle(), [CLOCK], 'required', in_reasoning=True) == CallSchema(
        prefix='<tool_call>\n{"name": "get_time", "arguments": ',
        schema=NO_ARGUMENTS,
        suffix='}\n</tool_call>',
        triggers=('</think>',),
    )


@pytest.mark.parametrize('choice', ['auto', 'none'])
def test_without_a_demand_there_is_no_schema(choice: str) -> None:
    assert tool_call_schema(ReplyStyle(), [CLOCK], choice) is None


def test_what_one_schema_cannot_tell_is_not_demanded() -> None:
    tagged = next(calls for calls in FORMATS if not calls.json)
    named = next(calls for calls in IN_JSON if not calls.keys)

    assert tool_call_schema(ReplyStyle(calls=tagged), [CLOCK], 'required') is None
    assert tool_call_schema(ReplyStyle(calls=named), [CLOCK, WEATHER], 'required') is None
    assert tool_call_schema(CHANNELS, [CLOCK, WEATHER], 'required') is None


@pytest.mark.parametrize(('tools', 'choice'), [([CLOCK], 'get_weather'), ([], 'required')])
def test_a_tool_that_is_not_there_cannot_be_demanded(tools: list[Tool], choice: str) -> None:
    with pytest.raises(InvalidRequest, match='no such tool'):
        tool_call_schema(ReplyStyle(), tools, choice)


@pytest.mark.parametrize('calls', [*(calls for calls in FORMATS if calls.json or calls.written)])
def test_calls_are_read_as_they_are_written(calls: CallFormat) -> None:
    made = [
        ToolCall(id='1', name='get_weather', arguments='{"city": "Paris"}'),
        ToolCall(id='2', name='get_time', arguments=''),
    ]

    read = called(ReplyStyle(calls=calls), calls.write(made))

    assert read == ('', [('get_weather', '{"city": "Paris"}'), ('get_time', '{}')])


def test_the_markers_are_all_that_may_be_a_token_of_its_own() -> None:
    assert ReplyStyle(calls=HERMES).markers == ('<think>', '</think>', '<tool_call>', '</tool_call>')
    assert '<|python_tag|>' in ReplyStyle(calls=LLAMA).markers
    assert {'<|channel|>', '<|message|>', '<|end|>'} < set(CHANNELS.markers)
