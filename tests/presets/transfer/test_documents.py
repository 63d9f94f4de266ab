"""Chats as Markdown, and the names of files: readable, and safe whatever is in a message or a title."""

import pytest
from markdown_it import MarkdownIt

from presets.chat import Attachment, Chat, StoredMessage
from presets.transfer.fields import fenced
from presets.transfer.markdown import Labels, contained, write
from presets.transfer.names import file_name


def a_chat(*texts: str) -> Chat:
    chat = Chat(title='Steps')
    for number, text in enumerate(texts):
        role = {'role': 'assistant', 'model': 'smol', 'finish_reason': 'stop'} if number % 2 else {'role': 'user'}
        chat.append(StoredMessage.model_validate({'content': text, **role}))
    return chat


def headings(document: str) -> list[str]:
    """Return the headings that a reader of Markdown sees."""
    tokens = MarkdownIt('commonmark').parse(document.split('---\n', 2)[2])
    return [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == 'heading_open']


def test_a_document_has_a_little_front_matter_and_the_messages_on_screen() -> None:
    chat = a_chat('How many steps?', 'It has **294**.')
    chat.folder = 'Italy'
    text = write(chat)

    assert text.startswith('---\ntitle: "Steps"\ncreated: "')
    assert (
        'models: ["smol"]\nfolder: "Italy"\n---\n\n# Steps\n\n## You\n\nHow many steps?\n\n## smol\n\nIt has **294**.\n'
        in text
    )


def test_variants_that_are_not_on_screen_stay_out() -> None:
    chat = a_chat('Hi', 'first')
    chat.leaf = chat.path()[0].id
    chat.append(StoredMessage(role='assistant', content='second', finish_reason='stop'))

    assert 'first' not in write(chat)


def test_reasoning_the_system_prompt_and_files_are_told_apart_from_what_was_said() -> None:
    chat = a_chat('Read this', 'Done')
    question, reply = chat.path()
    question.attachments = [Attachment(name='a_b.txt', text='secret content')]
    reply.reasoning, reply.reasoning_seconds, reply.edited = 'First.\n\nThen.', 2.4, True
    chat.system_prompt = 'Be brief.'
    text = write(chat, Labels(user='Du', reasoning='Gedanken'))

    assert '> **System prompt**\n>\n> Be brief.\n' in text
    assert '## Du\n\nRead this\n\n*Attached: a\\_b.txt*' in text
    assert '## smol (edited)\n\n> **Gedanken (2 s)**\n>\n> First.\n>\n> Then.\n\nDone' in text
    assert 'secret content' not in text


@pytest.mark.parametrize(
    'open_end',
    [
        '```python\nprint(1)',
        '````\n```\nx',
        '~~~\nx',
        '- a\n  ```\n  x',
        '1. a\n   ```\n   x',
        '> ```\n> x',
        '<!-- not closed',
        '<script>',
        '<pre>\nx',
        '<![CDATA[',
        '<?php',
        '<div>\n<p',
        '```\n<!--\n~~~',
        '`````',
        'text ``` and <b',
        '    ```\n',
    ],
)
def test_no_message_swallows_the_next(open_end: str) -> None:
    document = write(a_chat('Hi', open_end, 'Next', 'Last'))

    assert headings(document) == ['Steps', 'You', 'smol', 'You', 'smol']
    assert open_end.strip('\n') in document


def test_code_that_is_closed_stays_as_it_is() -> None:
    text = 'a\n\n```python\nprint("<b>")\n```\n\nb'

    assert contained(text) == text


def test_code_with_fences_in_it_gets_a_longer_one() -> None:
    assert fenced('```\nx\n```') == '````\n```\nx\n```\n````'


def test_a_title_is_a_heading_of_one_line_and_nothing_else() -> None:
    chat = a_chat('Hi')
    chat.title = '# [x](javascript:1) <b>\n---\n`'

    assert headings(write(chat)) == ['\\# \\[x\\](javascript:1) \\<b\\> --- \\`', 'You']


@pytest.mark.parametrize(
    ('title', 'name'),
    [
        ('Steps of Pisa', 'Steps of Pisa.md'),
        ('a/b\\c:d*?"<>|e', 'a-b-c-d-e.md'),
        ('../../etc/passwd', 'etc-passwd.md'),
        ('con', '_con.md'),
        ('NUL.txt', '_NUL.txt.md'),
        ('com1 .x', '_com1 .x.md'),
        ('COM¹', '_COM¹.md'),
        ('console', 'console.md'),
        ('ends with dots. . .', 'ends with dots.md'),
        ('a\nb\0c\u202egpj', 'a b c gpj.md'),
        ('', 'Chat.md'),
        ('   ...   ', 'Chat.md'),
        ('.hidden', 'hidden.md'),
        ('Äpfel 🍎', 'Äpfel 🍎.md'),
    ],
)
def test_a_title_becomes_a_name_that_every_system_takes(title: str, name: str) -> None:
    assert file_name(title, 'md') == name


@pytest.mark.parametrize('title', ['x' * 500, '字' * 500, '🍎' * 500])
def test_a_long_title_is_cut(title: str) -> None:
    assert len(file_name(title, 'md').encode()) < 200


def test_names_differ_in_more_than_case() -> None:
    taken: set[str] = set()

    assert [file_name(title, 'md', taken) for title in ('Tea', 'tea', 'TEA', 'Tea')] == [
        'Tea.md',
        'tea (2).md',
        'TEA (3).md',
        'Tea (4).md',
    ]
