"""A chat as an HTML file: it reads well, runs nothing and loads nothing."""

import re
from html.parser import HTMLParser

import pytest

from presets.chat import Attachment, Chat, StoredMessage
from webui import html_export
from webui.export import document, labels

HOSTILE = [
    '<script>alert(1)</script>',
    '<img src=x onerror=alert(1)>',
    '![a](https://evil.example/x.png)',
    '[a](javascript:alert(1))',
    '</style><script>alert(1)</script>',
    '</title><svg onload=alert(1)>',
    '<link rel=stylesheet href=//evil.example>',
    '```html\n<iframe src=//evil.example></iframe>\n```',
    '"><meta http-equiv=refresh content="0;url=//evil.example">',
    '<form action=//evil.example><input name=x>',
]


class Tags(HTMLParser):
    """Every element with what it carries."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def exported(chat: Chat) -> str:
    return ''.join(html_export.write(chat, labels('en'), 'en'))


def a_chat(text: str, reply: str = 'Yes') -> Chat:
    chat = Chat(title=text, folder=text, system_prompt=text)
    chat.append(StoredMessage(role='user', content=text, attachments=[Attachment(name=text, text=text)]))
    given = {'reasoning': text, 'model': text, 'error': text, 'finish_reason': 'error'}
    chat.append(StoredMessage.model_validate({'role': 'assistant', 'content': reply, **given}))
    return chat


def test_markdown_of_a_reply_is_rendered_and_code_has_its_colours() -> None:
    text = exported(a_chat('Hi', '**bold**\n\n```python\ndef f(): pass\n```'))

    assert '<strong>bold</strong>' in text
    assert '<span class="k">def</span>' in text
    assert '.code-body :is(.k,' in text, 'with the styles for it'


def test_what_a_person_wrote_is_shown_as_it_is() -> None:
    assert '<div class="said">a **b**\n  c &lt;d&gt;</div>' in exported(a_chat('a **b**\n  c <d>'))


@pytest.mark.parametrize('hostile', HOSTILE)
def test_nothing_runs_and_nothing_is_loaded(hostile: str) -> None:
    text = exported(a_chat(hostile, hostile))
    tags = Tags(text).found

    names = {name for name, _ in tags}
    assert not names & {'script', 'img', 'iframe', 'link', 'svg', 'form', 'input', 'object', 'embed', 'base'}
    assert not any(attribute.startswith('on') for _, attributes in tags for attribute in attributes)
    assert [name for name, attributes in tags if 'src' in attributes or 'srcset' in attributes] == []
    assert all(re.match('https?://|mailto:', str(it['href'])) for name, it in tags if name == 'a' and 'href' in it)
    assert [it.get('http-equiv') for name, it in tags if name == 'meta' and 'http-equiv' in it] == [
        'Content-Security-Policy'
    ]
    assert len([name for name, _ in tags if name == 'style']) == 1


def test_the_styles_load_nothing() -> None:
    styles = exported(a_chat('Hi')).split('<style>')[1].split('</style>')[0]

    assert all(address.startswith('data:') for address in re.findall(r'url\(["\']?([^)]*)', styles))
    assert '@import' not in styles
    assert '@media print' in styles


def test_a_document_is_in_the_language_that_is_asked_for() -> None:
    german = document(a_chat('Hallo'), 'html', 'de').decode()

    assert '<html lang="de">' in german
    assert '<h2>Du</h2>' in german
