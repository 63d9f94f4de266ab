"""Whatever a message holds, its HTML holds nothing but what our own renderer makes."""

import random
import re
from html import unescape

import pytest

from presets.chat import Chat, StoredMessage
from tests.webui.hostile import DIAGRAMS, FORMULAS, MESSAGES, NAMES
from tests.webui.safe_html import Page, violations
from webui import html_export
from webui.blocks import BlockSplitter
from webui.export import labels
from webui.markdown import render, render_block

WAYS = {
    'alone': '{}',
    'in text': 'some {} text',
    'in a list': '- a\n- {}\n\n  {}',
    'in a quotation': '> {}',
    'in a heading': '# {}',
    'in a table': '| {} | b |\n|---|---|\n| {} | {} |',
    'in emphasis': '**{}** *{}* ~~{}~~',
    'as the text of a link': '[{}](https://ok.test)',
    'as a target': '[x]({}) ![x]({}) <{}>',
    'as a title': '[x](https://ok.test "{}")',
    'as an address': 'https://ok.test/{}',
    'as a language': '```{}\ncode\n```',
    'in code': '```html\n{}\n```\n\n`{}`',
    'in a formula': '${}$ and\n\n$$\n{}\n$$',
    'in text of a formula': r'$\text{{{}}}$',
    'in a diagram': '```mermaid\n{}\n```',
    'in a footnote': '[^{}]\n\n[^1]: {}',
    'twice': '{}{}',
    'unfinished': '```\n{}',
}
EVERYTHING = [*MESSAGES, *FORMULAS, *DIAGRAMS, *NAMES]


@pytest.mark.parametrize('way', WAYS.values(), ids=WAYS)
def test_nothing_in_a_message_acts(way: str) -> None:
    for hostile in EVERYTHING:
        source = way.replace('{{', '\0').replace('{}', hostile).replace('\0', '{').replace('}}', '}')
        assert violations(render(source)) == [], source


@pytest.mark.parametrize('seed', range(12))
def test_nothing_acts_while_it_is_written(seed: int) -> None:
    """A tail is shown in the middle of anything, and closed with marks of ours."""
    chance = random.Random(seed)
    source = '\n'.join(chance.choices(EVERYTHING, k=12))[:4000]
    splitter = BlockSplitter()
    for start in range(0, len(source), 29):
        blocks = [*splitter.feed(source[start : start + 29]), splitter.preview()]
        for block in blocks:
            assert violations(render_block(block)) == [], source[:start]


def test_hostile_pieces_do_nothing_together() -> None:
    chance = random.Random(1)
    pieces = [piece for text in EVERYTHING for piece in text.split(' ') if len(piece) < 200]
    for _ in range(300):
        source = chance.choice(['', ' ', '\n', '$', '`', '|']).join(chance.choices(pieces, k=30))
        assert violations(render(source)) == [], source


HTML = [
    text for text in MESSAGES if text.startswith('<') and text.isascii() and text.isprintable() and '<br' not in text
]


@pytest.mark.parametrize('source', [text for text in HTML if not text.startswith('<https')])
def test_html_is_shown_as_it_was_written(source: str) -> None:
    """It is neither used nor swallowed."""
    shown = Page(render(source)).text
    assert re.findall(r'\w+', shown) == re.findall(r'\w+', unescape(source.replace('&#14;', '\x0e')))


def test_a_saved_page_holds_nothing_either() -> None:
    chat = Chat(title=NAMES[0], folder=NAMES[1])
    for text in EVERYTHING:
        chat.append(StoredMessage(role='user', content=text.encode('utf-8', 'replace').decode()))
        chat.append(StoredMessage(role='assistant', content=text, reasoning=text, model=NAMES[1], finish_reason='stop'))
    page = Page(''.join(html_export.write(chat, labels('en'), 'en')))
    allowed = {'html', 'head', 'meta', 'title', 'style', 'body', 'main', 'header', 'section', 'details', 'summary'}
    own = {tag for tag, _ in page.tags} - allowed
    assert not own & {'script', 'img', 'svg', 'iframe', 'form', 'input', 'button', 'object', 'embed', 'link', 'base'}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith('on') or name == 'style']
    assert len(page.all('style')) == 1
