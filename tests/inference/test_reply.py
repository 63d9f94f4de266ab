"""A reply is told apart into what the model thinks, what it answers, and which tools it calls."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from inference.call_formats import FORMATS, LLAMA, CallFormat
from inference.chat import ReasoningDelta, TextDelta, Tool, ToolCallDelta
from inference.reasoning import CHANNELS, ReplyStyle
from inference.reply import Delta, ReplyReader

WEATHER = Tool(
    name='get_weather',
    description='Tells the weather.',
    parameters={'type': 'object', 'properties': {'city': {'type': 'string'}, 'days': {'type': 'integer'}}},
)
CLOCK = Tool(name='get_time')
TOOLS = (WEATHER, CLOCK)
PLAIN = ReplyStyle()


@dataclass
class Heard:
    """What the deltas of a reply come to."""

    text: str = ''
    reasoning: str = ''
    calls: list[tuple[str, str]] = field(default_factory=list)
    tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, delta: Delta) -> None:
        self.tokens += delta.tokens
        match delta:
            case TextDelta():
                self.text += delta.text
            case ReasoningDelta():
                self.reasoning += delta.text
                self.reasoning_tokens += delta.tokens
            case ToolCallDelta() if delta.name:
                assert delta.index == len(self.calls) and delta.id
                self.calls.append((delta.name, delta.arguments))
            case ToolCallDelta():
                name, arguments = self.calls[delta.index]
                self.calls[delta.index] = name, arguments + delta.arguments


def heard(reader: ReplyReader, pieces: Sequence[bytes]) -> Heard:
    whole = Heard()
    for piece in pieces:
        for delta in reader.feed(piece):
            whole.add(delta)
    for delta in reader.finish():
        whole.add(delta)
    assert whole.tokens == len(pieces)
    return whole


def read(style: ReplyStyle, text: str, *, tools: Sequence[Tool] = TOOLS, prompt: str = '', **more: object) -> Heard:
    """Read a reply that comes at once."""
    return heard(ReplyReader(style, tools=tools, prompt=prompt, **more), [text.encode()])  # type: ignore[arg-type]


def cut(data: bytes, source: random.Random, most: int) -> list[bytes]:
    pieces = []
    while data:
        length = source.randint(1, most)
        pieces.append(data[:length])
        data = data[length:]
    return pieces


def style(begin: str) -> ReplyStyle:
    """Return the style with the calls that are written so."""
    return ReplyStyle(calls=next(calls for calls in FORMATS if calls.before.startswith(begin)))


PARIS = ('get_weather', '{"city": "Paris"}')
TIME = ('get_time', '{}')

REPLIES: list[tuple[ReplyStyle, str, str, str, list[tuple[str, str]]]] = [
    (PLAIN, '<think>\nhm\n</think>\n\nFine.', 'Fine.', 'hm', []),
    (
        PLAIN,
        'Let me look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>',
        'Let me look.', '', [PARIS, TIME],
    ),
    (
        PLAIN,
        '<tool_call>{"arguments": {"city": "Paris"}, "name": "get_weather"}</tool_call> ok',
        'ok', '', [PARIS],
    ),
    (
        PLAIN,
        '<tool_call>{"type": "function", "function": {"name": "get_weather", '
        '"arguments": "{\\"city\\": \\"Paris\\"}"}}</tool_call>',
        '', '', [PARIS],
    ),
    (
        style('<tool_call>\n<function'),
        '<think>hm</think><tool_call>\n<function=get_weather>\n<parameter=city>\nSao "Paulo"\n\\o/ 🐦\n</parameter>\n'
        '<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>\n<function=get_time>\n</function>\n</tool_call>',
        '', 'hm', [('get_weather', '{"city": "Sao \\"Paulo\\"\\n\\\\o/ 🐦", "days": 2}'), TIME],
    ),
    (
        style('<tool_call>{name}'),
        '<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>\n'
        '<tool_call>get_time</tool_call>',
        '', '', [PARIS, TIME],
    ),
    (
        style('<invoke'),
        'So:\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
        '<parameter name="days">2</parameter>\n</invoke>\n</minimax:tool_call>',
        'So:', '', [('get_weather', '{"city": "Paris", "days": 2}')],
    ),
    (
        ReplyStyle(calls=LLAMA),
        '{"name": "get_weather", "parameters": {"city": "Paris"}}; {"name": "get_time", "parameters": {}}',
        '', '', [PARIS, TIME],
    ),
    (
        ReplyStyle(calls=LLAMA),
        '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}',
        '', '', [PARIS],
    ),
    (
        style('[TOOL_CALLS]['),
        'Hi[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "123456789"}, '
        '{"name": "get_time", "arguments": {}, "id": "abcdefghi"}]',
        'Hi', '', [PARIS, TIME],
    ),
    (
        style('[TOOL_CALLS]{name}'),
        '[TOOL_CALLS]get_weather[CALL_ID]123456789[ARGS]{"city": "Paris"}[TOOL_CALLS]get_time[ARGS]{}',
        '', '', [PARIS, TIME],
    ),
    (
        style('<function='),
        '<function=get_weather>{"city": "Paris"}</function><function=get_time>{}</function>',
        '', '', [PARIS, TIME],
    ),
    (
        style('<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function'),
        'hm</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n'
        '{"city": "Paris"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_time\n```json\n{}\n'
        '```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        '', 'hm', [PARIS, TIME],
    ),
    (
        style('<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{name}'),
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}<｜tool▁call▁end｜>'
        '<｜tool▁calls▁end｜>',
        '', '', [PARIS],
    ),
    (
        style('<|tool_call|>'),
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "get_time"}]',
        '', '', [PARIS, TIME],
    ),
    (
        style('<|START_ACTION|>'),
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Paris"}},\n'
        '    {"tool_call_id": "1", "tool_name": "get_time", "parameters": {}}\n]<|END_ACTION|>',
        '', '', [PARIS, TIME],
    ),
    (
        style('<|tools_prefix|>'),
        '<|tools_prefix|>[{"get_weather": {"city": "Paris"}}, {"get_time": {}}]<|tools_suffix|>',
        '', '', [PARIS, TIME],
    ),
    (
        style('<|tool_calls_section_begin|>'),
        '<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>'
        '{"city": "Paris"}<|tool_call_end|><|tool_calls_section_end|>',
        '', '', [PARIS],
    ),
    (
        style('<|tool_call_start|>'),
        'Yes.<|tool_call_start|>[get_weather(city="Paris"), get_time()]<|tool_call_end|>',
        'Yes.', '', [PARIS, TIME],
    ),
    (
        style('<|tool_call>'),
        '<|tool_call>call:get_weather{city:<|"|>Pa:ris<|"|>,days:-2,more:[true,{x:<|"|>"<|"|>}]}<tool_call|>',
        '', '', [('get_weather', '{"city":"Pa:ris","days":-2,"more":[true,{"x":"\\""}]}')],
    ),
    (style('>>>'), 'all\nHello\n>>>get_weather\n{"city": "Paris"}', 'Hello', '', [PARIS]),
    (
        CHANNELS,
        '<|channel|>analysis<|message|>I think<|end|><|start|>assistant<|channel|>commentary<|message|>So.<|end|>'
        '<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>'
        '{"city": "Paris"}<|call|>',
        'So.', 'I think', [PARIS],
    ),
    (CHANNELS, ' to=functions.get_time<|channel|>analysis json<|message|>{}', '', '', [TIME]),
    (
        CHANNELS,
        '<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|>'
        '<|start|>assistant<|channel|>commentary to=assistant<|channel|>final<|message|>Hello',
        'Hello', 'a\n\nb', [],
    ),
    (CHANNELS, 'No channel at all', 'No channel at all', '', []),
]  # fmt: skip


def prompt_of(style: ReplyStyle, reply: str) -> str:
    """Return what the reply follows: some prompts open the reasoning, or a message to someone."""
    if '</think>' in reply and '<think>' not in reply:
        return '<｜Assistant｜><think>\n'
    return '>>>' if '>>>' in style.calls.readers else ''


@pytest.mark.parametrize(('style', 'reply', 'text', 'reasoning', 'calls'), REPLIES)
def test_a_reply_is_told_apart_however_it_is_cut_into_pieces(
    style: ReplyStyle, reply: str, text: str, reasoning: str, calls: list[tuple[str, str]]
) -> None:
    source = random.Random(reply)
    data, prompt = reply.encode(), prompt_of(style, reply)

    for most in [1, 2, 5, 12] * 8 + [len(data)]:
        whole = heard(ReplyReader(style, prompt=prompt, tools=TOOLS), cut(data, source, most))

        assert (whole.text, whole.reasoning, whole.calls) == (text, reasoning, calls)
    for _, arguments in calls:
        json.loads(arguments)


@pytest.mark.parametrize('calls', FORMATS)
def test_every_way_to_cut_nonsense_gives_the_same(calls: CallFormat) -> None:
    source = random.Random(1)
    parts = [*calls.markers, '<think>', '</think>', '```', '{"name": "get_time"', '"arguments": ', '{', '}', '[', ']',
             ', ', '\n', 'get_time', '{"city": "Pa', 'ris"}', 'END', '🐦', '"', ' x', '(', ')', '=', '>']  # fmt: skip
    for _ in range(60):
        data = ''.join(source.choices(parts, k=source.randint(1, 14))).encode()
        stop = source.choice([(), ('END',), ('ris',)])
        ways = []
        for most in (len(data), 1, 3, 3, 9):
            reader = ReplyReader(ReplyStyle(calls=calls), tools=TOOLS, stop=stop)
            whole = heard(reader, cut(data, source, most))
            ways.append((whole.text, whole.reasoning, whole.calls, reader.stopped))

        assert all(way == ways[0] for way in ways), data


def test_reasoning_comes_as_it_is_written_and_without_the_space_around_it() -> None:
    reader = ReplyReader(PLAIN)
    pieces = [b'<thi', b'nk>', b'\n', b'one', b' two', b'\n', b'\n</', b'think>\n', b'\n', b'Hi', b' you\n']

    deltas = [reader.feed(piece) for piece in pieces]

    assert [delta.text for (delta,) in deltas if not isinstance(delta, ToolCallDelta)] == [
        '', '', '', 'one', ' two', '', '', '', '', 'Hi', ' you\n',
    ]  # fmt: skip
    assert [isinstance(delta, ReasoningDelta) for (delta,) in deltas] == [False] + [True] * 6 + [False] * 4


@pytest.mark.parametrize(
    ('prompt', 'begun', 'inside'),
    [
        ('<|im_start|>assistant\n<think>\n', '', True),
        ('<|im_start|>assistant\n<think>\n\n</think>\n\n', '', False),
        ('What does <think> mean?<|im_end|>\n<|im_start|>assistant\n', '', False),
        ('<|im_start|>assistant\n<think>\nI wonder', 'I wonder', True),
        ('<|im_start|>assistant\n<think>\nI wonder', '\n\nI wonder', True),
        ('<|im_start|>assistant\n<think>\nI wonder\n</think>\n\nIt is', 'It is', False),
    ],
)
def test_the_prompt_tells_whether_the_reply_begins_with_reasoning(prompt: str, begun: str, inside: bool) -> None:
    reader = ReplyReader(PLAIN, prompt=prompt, begun=begun)

    assert reader.in_reasoning is inside
    reader.feed(b' so')
    assert reader.in_reasoning is inside


def test_a_reply_in_channels_goes_on_in_its_channel() -> None:
    final = '<|start|>assistant<|channel|>final<|message|>It is'
    analysis = '<|start|>assistant<|channel|>analysis<|message|>I am'

    assert read(CHANNELS, ' so', prompt=final, begun='It is').text == ' so'
    more = read(CHANNELS, ' sure<|end|><|start|>assistant<|channel|>final<|message|>Yes', prompt=analysis, begun='I am')
    assert (more.reasoning, more.text) == (' sure', 'Yes')


def test_what_goes_on_keeps_its_space() -> None:
    assert read(PLAIN, '\n\n- two', begun='- one', prompt='- one').text == '\n\n- two'


def test_unclosed_reasoning_stays_reasoning() -> None:
    whole = read(PLAIN, '<think>and so on and </thi')

    assert (whole.text, whole.reasoning) == ('', 'and so on and </thi')


def test_tags_in_an_answer_are_text() -> None:
    answer = 'Use `<think>` so:\n```xml\n<think>\n</think>\n```\n'

    assert read(PLAIN, f'<think>hm</think>{answer}', tools=()).text == answer
    assert read(PLAIN, answer, tools=()).text == answer


def test_the_tags_around_a_response_are_not_shown() -> None:
    granite = ReplyStyle(unseen=('<response>', '</response>'))

    whole = read(granite, '<think>hm</think>\n<response>Fine, `<b>`.</response>', tools=())

    assert (whole.text, whole.reasoning) == ('Fine, `<b>`.', 'hm')


def test_stop_strings_end_the_answer_and_are_not_looked_for_in_reasoning_and_calls() -> None:
    reader = ReplyReader(PLAIN, tools=TOOLS, stop=('END',))
    call = b'<tool_call>{"name": "get_time", "arguments": {"a": "END"}}</tool_call>'
    pieces = [b'<think>EN', b'D', b'</think>', call, b' one E', b'N', b'D two', b' three']

    whole = heard(reader, pieces)

    assert (whole.reasoning, whole.text, whole.calls) == ('END', 'one ', [('get_time', '{"a": "END"}')])
    assert reader.stopped


def test_what_ends_a_reply_ends_reasoning_too() -> None:
    reader = ReplyReader(PLAIN, ends=('<|im_end|>',))

    whole = heard(reader, [b'<think>so', b'<|im', b'_end|>', b' more'])

    assert (whole.reasoning, whole.text, reader.stopped) == ('so', '', True)


def test_reasoning_that_is_opened_twice_is_opened_once() -> None:
    whole = read(PLAIN, '<think>\nhm</think>Hi', prompt='<think>\n')

    assert (whole.reasoning, whole.text) == ('hm', 'Hi')


@pytest.mark.parametrize(
    ('written', 'arguments'),
    [
        ("city='Rio \\'(de)\\' Janeiro', days=-2", {'city': "Rio '(de)' Janeiro", 'days': -2}),
        ('a=[1, {"b": None}], c=True, d="x=1, y"', {'a': [1, {'b': None}], 'c': True, 'd': 'x=1, y'}),
        ('text="""', None),
        ("'Paris'", None),
        ('city=' + '(' * 9999, None),
    ],
)
def test_calls_in_python_are_understood_as_far_as_they_are_plain(written: str, arguments: object) -> None:
    reply = f'<|tool_call_start|>[f({written})]<|tool_call_end|>'

    whole = read(style('<|tool_call_start|>'), reply)

    assert [json.loads(found) for _, found in whole.calls] == ([] if arguments is None else [arguments])
    assert whole.text == ('' if arguments else reply)


@pytest.mark.parametrize('opening', ['{"function": ', '{"name": ', '[', '{"arguments": {"a": ', '{"a": ['])
def test_what_is_nested_without_end_is_only_text(opening: str) -> None:
    reply = '<tool_call>' + opening * 5000

    assert read(PLAIN, reply).text == reply


def test_each_token_is_counted_once_and_where_it_belongs() -> None:
    reply = b'<think>|a|b|</think>|<tool_call>|{"name": "get_time", |"arguments": |{|}|}|</tool_call>|x'.split(b'|')

    whole = heard(ReplyReader(PLAIN, tools=TOOLS), reply)

    assert (whole.tokens, whole.reasoning_tokens) == (len(reply), 3)


def test_several_tokens_at_once_are_counted_as_such() -> None:
    assert [delta.tokens for delta in ReplyReader(PLAIN).feed(b'<think>hm</think>Hi', tokens=5)] == [5, 0]


def test_the_arguments_of_a_call_come_as_they_are_written() -> None:
    reader = ReplyReader(PLAIN, tools=TOOLS)
    pieces = [b'<tool_call>\n{"name": "get_weather", ', b'"arguments": {', b'"city"', b': "Par', b'is"', b'}', b'}']

    deltas = [delta for piece in pieces for delta in reader.feed(piece)]

    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert [(call.name, call.arguments) for call in calls] == [
        ('get_weather', '{"city"'), ('', ': "Par'), ('', 'is"'), ('', '}'), ('', ''),
    ]  # fmt: skip
    assert len(calls[0].id) == 9 and calls[0].id.isalnum()
    assert reader.called_tools


def test_a_long_text_in_tags_comes_as_it_is_written() -> None:
    reader = ReplyReader(style('<tool_call>\n<function'), tools=TOOLS)
    reader.feed(b'<tool_call>\n<function=get_weather>\n<parameter=city>\n')

    assert [delta.arguments for delta in reader.feed(b'Saint-\n') if isinstance(delta, ToolCallDelta)] == ['Saint-']
    assert [delta.arguments for delta in reader.feed(b'"Denis"') if isinstance(delta, ToolCallDelta)] == [
        '\\n\\"Denis\\"'
    ]


def test_without_tools_what_looks_like_a_call_is_text() -> None:
    for way, reply, *_ in REPLIES:
        if not way.in_channels and '>>>' not in way.calls.readers and '</think>' not in reply:
            assert read(way, reply, tools=()).text == reply


@pytest.mark.parametrize(
    'reply',
    [
        '<tool_call> is what I would write',
        '<tool_call>{"name": 3}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "get_time", "arguments": [1]}</tool_call>',
        "<tool_call>{'name': 'get_time'}</tool_call>",
        '<tool_call>{"name": "get_weather", "arguments": {\'city\': "Paris"}}</tool_call>',
        '<tool_call>[]</tool_call>',
        '<tool_call>{"name": "get_ti',
        '<tool_call>',
        '```xml\n<tool_call>{"name": "get_time", "arguments": {}}</tool_call>\n```\n',
    ],
)
def test_what_is_no_call_is_not_lost(reply: str) -> None:
    whole = read(PLAIN, reply)

    assert (whole.text, whole.calls) == (reply, [])


@pytest.mark.parametrize(
    'reply',
    ['{"name": "Bob", "parameters": {}}', '{"name": "get_time", "age": 3}', '[1] says so', '{}', '{"a": {"b": 1}} is'],
)
def test_json_that_calls_none_of_the_tools_is_an_answer(reply: str) -> None:
    assert read(ReplyStyle(calls=LLAMA), reply).text == reply


def test_a_call_that_is_not_complete_keeps_what_it_has() -> None:
    whole = read(PLAIN, '<tool_call>{"name": "get_weather", "arguments": {"city": "Par')

    assert (whole.text, whole.calls) == ('', [('get_weather', '{"city": "Par')])


def test_after_arguments_that_are_no_json_the_answer_goes_on() -> None:
    whole = read(PLAIN, '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"</tool_call> So it is.')

    assert (whole.text, whole.calls) == ('So it is.', [('get_weather', '{"city": "Paris"')])


@pytest.mark.parametrize(
    ('schema', 'written', 'value'),
    [
        ({'type': 'string'}, '12', '12'),
        ({'type': 'integer'}, '12', 12),
        ({'type': ['string', 'null']}, '12', '12'),
        ({'type': ['string', 'null']}, 'null', None),
        ({'anyOf': [{'type': 'object'}, {'type': 'array'}]}, '{"a": [1]}', {'a': [1]}),
        ({'enum': ['1', '2']}, '1', '1'),
        ({}, 'true', True),
        ({}, 'Paris', 'Paris'),
        ({'type': 'number'}, 'NaN', 'NaN'),
    ],
)
def test_what_an_argument_in_tags_is_its_schema_tells(schema: object, written: str, value: object) -> None:
    tool = Tool(name='f', parameters={'type': 'object', 'properties': {'x': schema}})
    reply = f'<tool_call>\n<function=f>\n<parameter=x>\n{written}\n</parameter>\n</function>\n</tool_call>'

    ((_, arguments),) = read(style('<tool_call>\n<function'), reply, tools=[tool]).calls

    assert json.loads(arguments) == {'x': value}


def test_each_call_has_an_id_of_its_own() -> None:
    reader = ReplyReader(PLAIN, tools=TOOLS)

    deltas = reader.feed(b'<tool_call>{"name": "get_time"}{"name": "get_time"}</tool_call>' * 2)

    ids = [delta.id for delta in deltas if isinstance(delta, ToolCallDelta) and delta.id]
    assert len(set(ids)) == 4
