"""How a conversation becomes a prompt, and what happens when a model's template is missing, odd or hostile."""

import time
from collections.abc import Sequence
from datetime import datetime

import pytest

from inference.catalog import starter_model
from inference.chat import Message
from inference.errors import InvalidRequest, InvalidTemplate
from inference.gguf import read_header
from inference.template import CHATML, ChatTemplate

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
