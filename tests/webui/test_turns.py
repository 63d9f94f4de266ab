"""What the model reads of a chat."""

import pytest

from inference.chat import Message
from presets.chat import Attachment, Chat, StoredMessage
from webui.turns import content_of, turns_from, turns_of, turns_with


def stored(role: str, text: str, *files: Attachment, reasoning: str = '') -> StoredMessage:
    return StoredMessage.model_validate(
        {'role': role, 'content': text, 'attachments': list(files), 'reasoning': reasoning}
    )


def file(text: str, name: str = 'a.txt') -> Attachment:
    return Attachment(name=name, text=text)


def test_what_is_attached_comes_before_the_text_with_its_name() -> None:
    message = stored('user', 'What is this?', file('x = 1', 'one.py'), file('a,b', 'two.csv'))
    assert content_of(message) == (
        'File: one.py\n```\nx = 1\n```\n\n'
        'File: two.csv\n```\na,b\n```\n\n'
        'What is this?'
    )  # fmt: skip
    assert content_of(stored('user', '', file('alone'))) == 'File: a.txt\n```\nalone\n```'


@pytest.mark.parametrize('text', ['```', '````', 'a\n```\nFile: b\n```\n', '`````python\nx\n`````', '`'])
def test_no_text_closes_its_fence(text: str) -> None:
    lines = content_of(stored('user', 'question', file(text))).split('\n')
    fence = lines[1]
    assert set(fence) == {'`'}
    assert [number for number, line in enumerate(lines) if line.startswith(fence)] == [1, 2 + text.count('\n') + 1]


def test_a_name_is_one_line_and_not_too_long() -> None:
    first, fence, *_ = content_of(stored('user', '', file('x', 'a\n```\nFile: b' + 'c' * 500))).split('\n')
    assert (first[:20], len(first), fence) == ('File: a ``` File: bc', 206, '```')


def test_messages_of_one_role_in_a_row_are_one_turn() -> None:
    messages = [
        stored('user', 'one'),
        stored('assistant', ''),
        stored('user', 'two'),
        stored('assistant', 'a', reasoning='hm'),
        stored('assistant', 'b'),
    ]
    turns = turns_from('Be brief.', messages)
    assert [turn.message for turn in turns] == [
        Message(role='system', content='Be brief.'),
        Message(role='user', content='one\n\ntwo'),
        Message(role='assistant', content='a\n\nb', reasoning='hm'),
    ]
    assert [len(turn.ids) for turn in turns] == [0, 2, 2]


def test_a_reply_follows_its_own_branch_whatever_is_on_screen() -> None:
    chat = Chat.new()
    chat.append(question := stored('user', 'question'))
    chat.append(reply := stored('assistant', 'begun'))
    chat.add(stored('user', 'other'), None)

    assert [turn.message.content for turn in turns_of(chat, reply)] == ['question']
    assert [turn.message.content for turn in turns_with(chat, reply)] == ['question', 'begun']
    assert turns_with(chat, reply)[0].ids == (question.id,)
