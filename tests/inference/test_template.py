"""How a conversation becomes a prompt, and what happens when a model's template is missing, odd or hostile."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from inference.catalog import starter_model
from inference.chat import GenerationRequest, Message, Tool, ToolCall, ToolCallDelta
from inference.errors import InvalidRequest, InvalidTemplate
from inference.gguf import read_header
from inference.reasoning import CHANNELS
from inference.reply import ReplyReader
from inference.settings import SamplingSettings
from inference.template import CHATML, ChatTemplate, PromptOptions
from tests.inference import chat_templates as real

SYSTEM = Message(role='system', content='Answer in French.')
HELLO = Message(role='user', content='Hello')
REPLY = Message(role='assistant', content='Bonjour')

MISTRAL_STYLE = (
    '{{ bos_token }}{% for message in messages %}'
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate!') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)


def rendered(source: str | None, messages: Sequence[Message] = (HELLO,)) -> str:
    template, warning = ChatTemplate.load(source, bos='<s>', eos='</s>')
    assert warning is None
    return template.render(messages)


def test_the_starter_models_template_is_used() -> None:
    path = starter_model()
    assert path is not None

    prompt = rendered(read_header(path).chat_template, [SYSTEM, HELLO])

    assert prompt == (
        '<|im_start|>system\nAnswer in French.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n'
    )


@pytest.mark.parametrize('source', [None, '', '  \n'])
def test_without_a_template_chatml_is_used_and_said_so(source: str | None) -> None:
    template, warning = ChatTemplate.load(source, bos='<s>', eos='</s>')

    assert warning is not None
    assert 'no chat template' in warning
    assert template.render([HELLO]) == '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n'
    assert template.stop == ('<|im_end|>',)


@pytest.mark.parametrize(
    ('source', 'words'),
    [
        ('{% for message in messages %}{{ message', 'error in line 1'),
        ('{{ messages[0].content + 1 }}', 'TypeError'),
        ('{{ raise_exception("never") }}', 'never'),
        ('Once upon a time', 'leaves out what the user wrote'),
        ('{{ messages.__class__.__mro__ }}', 'SecurityError'),
        ('{{ messages.append(messages[0]) }}', 'SecurityError'),
        ('{% include "/etc/passwd" %}', 'failed'),
        ('x' * 2_000_000, 'too much'),
        ('{{ ' + '(' * 3000 + '1' + ')' * 3000 + ' }}', 'RecursionError'),
    ],
)
def test_a_broken_template_is_replaced_by_chatml_with_its_reason(source: str, words: str) -> None:
    template, warning = ChatTemplate.load(source, bos='<s>', eos='</s>')

    assert warning is not None
    assert words in warning
    assert 'ChatML is used' in warning
    assert template.render([HELLO]).startswith('<|im_start|>user\nHello')


@pytest.mark.parametrize(
    'bomb',
    [
        "{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}",
        "{{ 'x' * 10 ** 11 }}",
        '{{ 9 ** 9 ** 9 ** 9 ** 9 }}',
        "{{ 'x'.ljust(10000000000) }}",
        '{{ range(1000000)|list }}',
        '{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}',
        "{% set all = namespace(text='x') %}"
        '{% for i in range(60) %}{% set all.text = all.text + all.text %}{% endfor %}',
        "{% set all = namespace(text='x') %}"
        '{% for i in range(60) %}{% set all.text = all.text ~ all.text %}{% endfor %}',
        "{% set all = namespace(text='x') %}"
        '{% for i in range(60) %}{% set all.text %}{{ all.text }}{{ all.text }}{% endset %}{% endfor %}',
    ],
)
def test_a_template_that_asks_for_the_world_is_stopped_at_once(bomb: str) -> None:
    start = time.monotonic()

    _, warning = ChatTemplate.load(bomb, bos='', eos='')

    assert warning is not None
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    'bomb',
    [
        '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}',
        '{% macro twice(n) %}{% if n %}{{ twice(n - 1) }}{{ twice(n - 1) }}{% endif %}{% endmacro %}{{ twice(90) }}',
    ],
)
def test_a_template_without_end_is_stopped_after_some_seconds(bomb: str) -> None:
    _, warning = ChatTemplate.load(bomb, bos='', eos='')

    assert warning is not None
    assert 'does not come to an end' in warning


@pytest.mark.parametrize(
    'bomb',
    [
        "{{ '%99999999d' % 1 }}",
        "{{ '{:99999999}'.format(1) }}",
        "{{ ('a' * 6000).replace('a', 'b' * 60000)|length }}",
        "{{ ('a' * 6000)|replace('a', 'b' * 60000)|length }}",
        "{{ ('a\n' * 1000)|indent(99999)|length }}",
        '{{ messages|tojson(indent=9999999)|length }}',
        "{{ range(9999)|join('x' * 9999)|length }}",
        "{{ (['a' * 99999] * 1000)|string|length }}",
        "{{ ('a ' * 4000000)|wordwrap(1) }}",
        "{{ 1|round(99999999, 'ceil') }}",
        '{{ ([[1]] * 99999)|sum(start=[]) }}',
        "{{ strftime_now('%Y' * 1000000) }}",
        '{% set all = namespace(texts=[]) %}'
        "{% for i in range(99999) %}{% set all.texts = all.texts + ['a' * 999999 ~ i] %}{% endfor %}",
        "{% set a = 'a' * 9999999 %}{% macro b() %}{% for i in range(99) %}{{ a }}{% endfor %}{% endmacro %}{{ b() }}",
        "{% set a = 'a' * 9999999 %}{{ (a ~ a ~ a)|length }}",
        "{% set a = 'a' * 9999999 %}{% set all = namespace(texts=[]) %}"
        '{% for i in range(99999) %}{% set all.texts = [all.texts, a[1:]] %}{% endfor %}',
        '{% set all = namespace(pair=(1,)) %}{% for i in range(99999) %}{% set all.pair = (all.pair,) %}{% endfor %}'
        '{{ {all.pair: 1}|length }}',
    ],
)
def test_what_a_template_makes_is_weighed_before_it_is_made(bomb: str) -> None:
    start = time.monotonic()

    _, warning = ChatTemplate.load(CHATML + bomb, bos='', eos='')

    assert warning is not None
    assert 'was stopped because' in warning or 'No filter named' in warning
    assert time.monotonic() - start < 3


def test_what_templates_use_works_as_ever() -> None:
    source = (
        "{% for m in messages %}{{ m['content'][:3] ~ m.content[3:] }}|{{ m.content.split('l')|join('-') }}|"
        "{{ '%s is %d' % (m.role, 7) }}|{{ '{}!'.format(m.role) }}|{{ m.role in ('user', 'tool') }}|"
        "{{ m|tojson(indent=2)|indent(2) }}|{{ {'a': 1}.items()|list }}|{{ messages|map(attribute='role')|join(',') }}|"
        '{{ nothing }}|{{ [1, 2.5]|sum|round(1) }}{% endfor %}'
    )

    assert rendered(source, [HELLO]) == (
        'Hello|He--o|user is 7|user!|True|{\n    "role": "user",\n    "content": "Hello"\n  }|[(\'a\', 1)]|user||3.5'
    )


def test_a_template_that_does_not_end_with_tools_is_used_without() -> None:
    slow = '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}'
    start = time.monotonic()

    template = loaded(CHATML + f'{{% if tools or messages[1].tool_calls %}}{slow}{{% endif %}}')

    assert time.monotonic() - start < 9
    assert 'get_weather' in template.render(ASKED, TOOLS)


def test_where_no_system_message_is_allowed_its_text_goes_to_the_user() -> None:
    prompt = rendered(MISTRAL_STYLE, [SYSTEM, HELLO, REPLY, HELLO])

    assert prompt == '<s>[INST] Answer in French.\n\nHello [/INST]Bonjour</s>[INST] Hello [/INST]'


def test_where_a_system_message_would_be_dropped_its_text_goes_to_the_user() -> None:
    source = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }};{% endfor %}"

    assert rendered(source, [SYSTEM, HELLO]) == 'user: Answer in French.\n\nHello;'
    assert rendered(source, [SYSTEM]) == 'user: Answer in French.;'


def test_a_refusal_of_the_template_reaches_the_user_in_its_own_words() -> None:
    template, _ = ChatTemplate.load(MISTRAL_STYLE, bos='<s>', eos='</s>')

    with pytest.raises(InvalidTemplate, match='Conversation roles must alternate!'):
        template.render([HELLO, HELLO])


def test_no_messages_are_no_request() -> None:
    template, _ = ChatTemplate.load(CHATML, bos='<s>', eos='</s>')

    with pytest.raises(InvalidRequest, match='no messages'):
        template.render([])


@pytest.mark.parametrize(
    ('source', 'bos', 'begins'), [(MISTRAL_STYLE, '<s>', True), (MISTRAL_STYLE, '', False), (CHATML, '<s>', False)]
)
def test_it_is_known_whether_the_prompt_begins_with_the_bos_token(source: str, bos: str, begins: bool) -> None:
    template, _ = ChatTemplate.load(source, bos=bos, eos='</s>')

    assert template.begins_with_bos is begins
    assert template.stop == ()


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ('{{ {"a": "<ü>"}|tojson }}', '{"a": "<ü>"}'),
        ("{{ strftime_now('%Y') }}", f'{datetime.now():%Y}'),
        ('{% generation %}reply{% endgeneration %}', 'reply'),
        ('{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}', '01'),
        ('{% for m in messages %}{{ loop.length }}{% if loop.last %}!{% endif %}{% endfor %}', '3'),
        ('{% if tools is not none %}tools{% else %}none{% endif %}', 'none'),
        ('  {% if true %}\ntrimmed\n  {% endif %}\n', 'trimmed\n'),
        ("{{ messages[::-1][0].content ~ '!' }}", 'Second question!'),
        ('{% for k, v in messages[0].items() %}{{ k }}={{ v }} {% endfor %}', 'role=user content=First question '),
    ],
)
def test_templates_find_the_names_they_are_written_for(source: str, expected: str) -> None:
    everything = '{{ messages|map(attribute="content")|join(" ") }}'
    conversation = [
        Message(role='user', content='First question'),
        REPLY,
        Message(role='user', content='Second question'),
    ]

    assert rendered(everything + '\n' + source, conversation).startswith(
        'First question Bonjour Second question\n' + expected
    )


def test_long_conversations_render_quickly() -> None:
    template, _ = ChatTemplate.load(CHATML, bos='', eos='')
    start = time.monotonic()

    template.render([HELLO, REPLY] * 1000)

    assert time.monotonic() - start < 2


WEATHER = Tool(
    name='get_weather',
    description='Tells the weather.',
    parameters={'type': 'object', 'properties': {'city': {'type': 'string'}}},
)
TOOLS = PromptOptions(tools=(WEATHER,))
QUESTION = Message(role='user', content='How is the weather?')
PARIS = ToolCall(id='call_paris_1', name='get_weather', arguments='{"city": "Paris"}')
ROME = ToolCall(id='call_rome_22', name='get_weather', arguments='{"city": "Rome"}')
ASKS = Message(role='assistant', content='', tool_calls=(PARIS, ROME))
IN_PARIS = Message(role='tool', content='rain', tool_call_id=PARIS.id)
IN_ROME = Message(role='tool', content='sun', tool_call_id=ROME.id)
ASKED = [QUESTION, ASKS, IN_PARIS, IN_ROME]


def loaded(source: str) -> ChatTemplate:
    template, warning = ChatTemplate.load(source, bos='<s>', eos='</s>')
    assert warning is None
    return template


def test_tools_calls_and_results_are_shown_the_models_way() -> None:
    prompt = loaded(real.QWEN3).render(ASKED, TOOLS)

    assert '"name": "get_weather", "description": "Tells the weather."' in prompt
    assert prompt.endswith(
        '<|im_start|>assistant\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>\n'
        '<|im_start|>user\n<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response><|im_end|>\n'
        '<|im_start|>assistant\n'
    )


def test_arguments_are_a_mapping_for_a_template_that_takes_them_apart() -> None:
    prompt = loaded(real.QWEN3_CODER).render(ASKED, TOOLS)

    assert '<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>' in prompt


def test_arguments_are_text_for_a_template_that_wants_it_so() -> None:
    source = real.LLAMA3.replace('call.arguments | tojson', 'call.arguments')

    assert '{"name": "get_weather", "parameters": {"city": "Paris"}}<|eot_id|>' in loaded(source).render(ASKED, TOOLS)


def test_ids_are_nine_characters_where_the_template_insists_on_it() -> None:
    prompt = loaded(real.MISTRAL).render(ASKED, TOOLS)

    ids = [part[:9] for part in prompt.split('id": "')[1:]]
    assert len(ids) == 4 and ids[:2] == ids[2:]
    assert all(map(str.isalnum, ids))


@pytest.mark.parametrize('source', [real.LLAMA3, real.GPT_OSS])
def test_calls_come_one_by_one_where_the_template_takes_no_more(source: str) -> None:
    prompt = loaded(source).render(ASKED, TOOLS)

    places = [prompt.find(text) for text in ('{"city": "Paris"}', 'rain', '{"city": "Rome"}', 'sun')]
    assert -1 not in places and places == sorted(places)


def test_no_content_is_none_where_the_template_tells_calls_by_it() -> None:
    prompt = loaded(real.DEEPSEEK_R1).render(ASKED, TOOLS)

    assert 'function<｜tool▁sep｜>get_weather\n```json\n{"city": "Rome"}\n```<｜tool▁call▁end｜>' in prompt


def test_tools_go_into_the_system_message_where_the_template_knows_none() -> None:
    prompt = loaded(CHATML).render([SYSTEM, *ASKED, HELLO], TOOLS)

    system, user, reply, results, *_ = prompt.split('<|im_start|>')[1:]
    assert system.startswith('system\nAnswer in French.\n\n# Tools')
    assert '<tools>\n{"type": "function", "function": {"name": "get_weather"' in system
    assert '<tool_call>\n{"name": "function-name", "arguments": {"argument-name": "value"}}\n</tool_call>' in system
    assert user == 'user\nHow is the weather?<|im_end|>\n'
    assert reply.startswith('assistant\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}')
    assert results == (
        'user\n<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response>\nHello<|im_end|>\n'
    )


def test_tools_as_text_work_with_templates_that_refuse_a_system_message() -> None:
    prompt = loaded(MISTRAL_STYLE).render(ASKED, TOOLS)

    assert prompt.startswith('<s>[INST] # Tools')
    assert prompt.endswith('sun\n</tool_response> [/INST]')


def test_a_template_that_shows_calls_but_no_tools_gets_only_these_as_text() -> None:
    prompt = loaded(real.DEEPSEEK_R1).render(ASKED, TOOLS)

    assert prompt.startswith('<s># Tools')
    assert 'in exactly this form' in prompt
    assert '<｜tool▁sep｜>function-name\n```json\n{"argument-name": "value"}' in prompt
    assert '<｜tool▁output▁begin｜>rain<｜tool▁output▁end｜>' in prompt


def test_a_template_that_leaves_calls_out_gets_them_as_the_model_writes_them() -> None:
    prompt = loaded(real.GRANITE).render(ASKED, TOOLS)

    assert 'available_tools' in prompt
    assert '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]' in prompt
    assert '<|start_of_role|>tool<|end_of_role|>rain<|end_of_text|>' in prompt


@pytest.mark.parametrize(
    'source',
    [real.QWEN3, real.QWEN3_CODER, real.MISTRAL, real.LLAMA3, real.DEEPSEEK_R1, real.GRANITE, real.GPT_OSS, CHATML],
)
def test_the_style_reads_what_the_template_writes(source: str) -> None:
    template = loaded(source)
    before = template.render([QUESTION], replace(TOOLS, opens_reply=False))
    shown = template.render([QUESTION, replace(ASKS, tool_calls=(PARIS,))], replace(TOOLS, opens_reply=False))
    reply = shown[len(before) :]
    for opening in ('<｜Assistant｜>', '<|end_header_id|>\n\n', '<|end_of_role|>', '<|start|>assistant', 'assistant\n'):
        reply = reply.partition(opening)[2] or reply

    reader = ReplyReader(template.style, tools=(WEATHER,))
    calls = [delta for delta in reader.feed(reply.encode()) if isinstance(delta, ToolCallDelta)]

    assert [(call.name, call.arguments) for call in calls] == [('get_weather', '{"city": "Paris"}')]


@pytest.mark.parametrize(
    ('source', 'opens', 'closes', 'reasons'),
    [
        (real.QWEN3, '<think>', '</think>', True),
        (real.DEEPSEEK_R1, '<think>', '</think>', True),
        (real.GRANITE, '<think>', '</think>', True),
        (real.OPENS_REASONING.replace('think>', 'ponder>'), '<ponder>', '</ponder>', True),
        (
            real.OPENS_REASONING.replace('<think>', '[THINK]').replace('</think>', '[/THINK]'),
            '[THINK]',
            '[/THINK]',
            True,
        ),
        (real.GPT_OSS, '<|channel|>analysis<|message|>', '<|end|>', True),
        (real.MISTRAL, '<think>', '</think>', False),
        (CHATML, '<think>', '</think>', False),
    ],
)
def test_the_template_tells_what_stands_around_reasoning(source: str, opens: str, closes: str, reasons: bool) -> None:
    style = loaded(source).style

    assert (style.opens, style.closes, style.reasons) == (opens, closes, reasons)
    assert style.in_channels is (style is CHANNELS)


def test_reasoning_can_be_switched_off_and_on() -> None:
    qwen, granite, opening = loaded(real.QWEN3), loaded(real.GRANITE), loaded(real.OPENS_REASONING)

    assert qwen.render([HELLO]).endswith('assistant\n')
    assert qwen.render([HELLO], PromptOptions(reasoning='off')).endswith('<think>\n\n</think>\n\n')
    assert qwen.render([HELLO], PromptOptions(reasoning='on')).endswith('assistant\n')
    assert '<think>' not in granite.render([HELLO])
    assert '<think>' in granite.render([HELLO], PromptOptions(reasoning='on'))
    assert opening.render([HELLO]).endswith('<think>\n')


def test_the_reply_begins_where_the_prompt_leaves_off() -> None:
    template = loaded(real.OPENS_REASONING)
    for reasoning, inside in (('auto', True), ('off', False)):
        prompt = template.render([HELLO], PromptOptions(reasoning=reasoning))  # type: ignore[arg-type]
        reader = ReplyReader(template.style, prompt=prompt)

        reader.feed(b'Well')

        assert reader.in_reasoning is inside


def test_reasoning_of_the_last_reply_is_handed_on() -> None:
    thought = Message(role='assistant', content='', reasoning='Paris first.', tool_calls=(PARIS,))

    assert '<think>\nParis first.\n</think>' in loaded(real.QWEN3).render([QUESTION, thought, IN_PARIS], TOOLS)
    assert 'analysis<|message|>Paris first.<|end|>' in loaded(real.GPT_OSS).render([QUESTION, thought, IN_PARIS], TOOLS)


def test_reasoning_that_the_template_refuses_is_left_out() -> None:
    thought = Message(role='assistant', content='Let me look.', reasoning='Paris first.', tool_calls=(PARIS,))

    prompt = loaded(real.GPT_OSS).render([QUESTION, thought, IN_PARIS], TOOLS)

    assert 'Let me look.' in prompt and 'Paris first.' not in prompt


ALL = [
    real.QWEN3, real.QWEN3_CODER, real.MISTRAL, real.LLAMA3, real.DEEPSEEK_R1, real.GRANITE, real.GPT_OSS,
    real.OPENS_REASONING, CHATML,
]  # fmt: skip


@pytest.mark.parametrize('source', ALL)
@pytest.mark.parametrize('begun', ['It is', 'It is\n\n', '```py\n  x'])
def test_a_reply_goes_on_right_after_its_text(source: str, begun: str) -> None:
    template = loaded(source)
    message = Message(role='assistant', content=begun, reasoning='I look out.')

    prompt = template.render([HELLO, message], PromptOptions(continues=True))

    assert prompt.endswith(begun)
    reader = ReplyReader(template.style, prompt=prompt, begun=begun)
    reader.feed(b' so')
    assert not reader.in_reasoning


@pytest.mark.parametrize('source', ALL)
def test_a_thought_goes_on_right_after_its_text(source: str) -> None:
    template = loaded(source)
    message = Message(role='assistant', content='', reasoning='I wonder')

    prompt = template.render([HELLO, message], PromptOptions(continues=True))

    assert prompt.endswith('I wonder')
    reader = ReplyReader(template.style, prompt=prompt, begun='I wonder')
    reader.feed(b' so')
    assert reader.in_reasoning


def test_nothing_but_a_reply_goes_on() -> None:
    template = loaded(CHATML)

    assert template.render([HELLO, Message(role='assistant', content='')], PromptOptions(continues=True)).endswith(
        'Hello<|im_end|>\n<|im_start|>assistant\n'
    )
    with pytest.raises(InvalidRequest, match='Only a reply can go on'):
        template.render([HELLO, REPLY, HELLO], PromptOptions(continues=True))


@pytest.mark.parametrize('source', ALL)
def test_the_prompt_of_the_next_turn_begins_as_far_as_is_told(source: str) -> None:
    template = loaded(source)
    messages = [HELLO, Message(role='assistant', content='Hi', reasoning='Polite.'), QUESTION]

    prompt = template.render(messages)
    kept = template.kept_length(prompt, messages)

    assert prompt.find(QUESTION.content) + len(QUESTION.content) <= kept
    assert template.render([*messages, REPLY, HELLO]).startswith(prompt[:kept])
    assert template.render(messages, PromptOptions(opens_reply=False)).startswith(prompt[:kept])


def test_the_options_are_those_of_the_request() -> None:
    request = GenerationRequest(
        messages=(QUESTION,), tools=(WEATHER,), sampling=SamplingSettings(reasoning='off'), continues=True
    )

    assert PromptOptions.of(request) == PromptOptions(tools=(WEATHER,), reasoning='off', continues=True)
    assert PromptOptions.of(replace(request, tool_choice='none')).tools == ()
