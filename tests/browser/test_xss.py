"""Hostile text on every way into the page of a real browser: nothing of it acts, and nothing leaves."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect

from presets.chat import Attachment, Chat, StoredMessage
from presets.transfer import own
from tests.browser.stored_chats import store
from tests.browser.tab import Tab, Watch
from tests.webui.hostile import DIAGRAMS, FORMULAS, MESSAGES, NAMES
from webui.launch import RunningApp, start_app

pytestmark = pytest.mark.timeout(300)

# What the app puts on its page is known: one sort of frame, one sort of picture, and nothing that runs or asks beside
# what stands in the head from the start.
FOREIGN = """
() => {
  const is = (element, names) => names.split(' ').includes(element.localName);
  const wrong = (element) => {
    const own = element.closest('.message') === null;
    if (is(element, 'object embed applet base form frame video audio foreignobject portal')) return true;
    if (is(element, 'iframe')) return !element.src.endsWith('/diagrams/frame.html');
    if (is(element, 'img')) return !element.matches('.diagram-picture');
    if (is(element, 'script style link meta template input')) return !own;
    if (is(element, 'a') && !/^(https?:|mailto:|blob:|:?$)/.test(element.protocol)) return true;
    return [...element.attributes].some(({ name, value }) =>
      name.startsWith('on') || (/^(src|href|action|data|xlink)/.test(name) && /^\\s*(java|vb)script:/i.test(value)) ||
      (name === 'style' && element.closest('.markdown') && !is(element, 'img')));
  };
  const found = [...document.querySelectorAll('*')].filter(wrong).map((element) => element.outerHTML.slice(0, 200));
  return ({}).polluted ? [...found, 'a polluted prototype'] : found;
}
"""


@pytest.fixture(scope='module')
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """An app that finds hostile chats on its disk, and repeats messages fast."""
    data_dir = tmp_path_factory.mktemp('hostile')
    store(data_dir, *CHATS)
    with start_app(data_dir, '--model', 'echo@5000') as running:
        yield running


def _chat(number: int, contents: Sequence[str]) -> Chat:
    chat = Chat(id=f'{number:016d}', title=NAMES[number % len(NAMES)], system_prompt=NAMES[0])
    for index, content in enumerate(contents):
        name = NAMES[(number + index) % len(NAMES)]
        file = Attachment(name=name, text=content, media_type=name)
        chat.append(StoredMessage(role='user', content=content, attachments=[file]))
        chat.append(
            StoredMessage(
                role='assistant', content=content, reasoning=content, model=name, preset=name, finish_reason='error',
                error=name, detail=name,
            )
        )  # fmt: skip
    return chat


def _groups(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


def _storable(text: str) -> str:
    return text.encode('utf-8', 'replace').decode()


TEXTS = [_storable(text) for text in MESSAGES if len(text) < 2000]
LATEX = [f'so ${latex}$ and\n\n$$\n{latex}\n$$' for latex in map(_storable, FORMULAS)]
MERMAID = [f'```mermaid\n{diagram}\n```' for diagram in DIAGRAMS]
GROUPS = [*_groups(['\n\n'.join(few) for few in _groups([*TEXTS, *LATEX], 4)], 8), *_groups(TEXTS[40:80], 8)]
CHATS = [_chat(number, contents) for number, contents in enumerate(GROUPS)]


def nothing_foreign(page: Page) -> None:
    assert page.evaluate(FOREIGN) == []


@pytest.mark.parametrize('number', range(len(CHATS)))
def test_stored_messages_do_nothing(tab: Tab, number: int) -> None:
    tab.open(f'/c/{CHATS[number].id}')
    expect(tab.replies.first).to_be_attached()
    tab.page.mouse.wheel(0, -100_000)
    tab.page.wait_for_timeout(300)
    nothing_foreign(tab.page)


@pytest.mark.parametrize('few', list(_groups([*TEXTS[:30], *LATEX[:10], *NAMES], 18)))
def test_what_is_typed_and_streamed_does_nothing(tab: Tab, few: Sequence[str]) -> None:
    tab.ask('\n\n'.join(few))
    nothing_foreign(tab.page)
    tab.reload()
    nothing_foreign(tab.page)


@pytest.mark.parametrize('few', list(_groups(MERMAID, 6)))
def test_diagrams_are_pictures_or_source(tab: Tab, app: RunningApp, watch: Watch, few: Sequence[str]) -> None:
    """Mermaid lets some of it get as far as the walls of the frame it is in, and the browser says so."""
    watch.expect(r'Content Security Policy directive.*/diagrams/', '^console: Content-Security-Policy: ', 'evil.test')
    asked, stopped = _requests(tab.page)
    chat = _chat(500, few)
    tab.open(f'/c/{_import(app, [chat])[0]}')
    diagrams = tab.page.locator('.answer chat-diagram')
    expect(diagrams).to_have_count(len(few))
    for index in range(len(few)):
        diagrams.nth(index).evaluate('(diagram) => diagram.show()')
        expect(diagrams.nth(index)).to_have_attribute('data-state', re.compile('drawn|failed'), timeout=20_000)
    nothing_foreign(tab.page)
    assert [url for url in asked if not url.startswith((app.url, 'data:'))] == stopped


def _requests(page: Page) -> tuple[list[str], list[str]]:
    """Return lists of what is asked for from now on, and of that what the policy stopped before it left."""
    asked: list[str] = []
    stopped: list[str] = []
    page.on('request', lambda request: asked.append(request.url))
    page.on('requestfailed', lambda request: stopped.append(request.url) if request.failure == 'csp' else None)
    return asked, stopped


Way = Callable[[httpx.Client, str, str], object]
WAYS_IN: dict[str, Way] = {
    'a title': lambda api, chat, text: api.patch(f'/api/chats/{chat}', json={'title': text}),
    'a folder': lambda api, chat, text: api.patch(f'/api/chats/{chat}', json={'folder': text}),
    'an empty folder': lambda api, chat, text: api.post('/api/folders', json={'path': text}),
    'a message': lambda api, chat, text: api.post(f'/api/chats/{chat}/insert', json={'role': 'user', 'text': text}),
    'a reply': lambda api, chat, text: api.post(f'/api/chats/{chat}/insert', json={'role': 'assistant', 'text': text}),
    'a file': lambda api, chat, text: api.post(f'/api/attachments?name={quote(text)}', content=text.encode()),
    'a search': lambda api, chat, text: api.get('/api/search', params={'q': text}),
    'a file to import': lambda api, chat, text: api.post(
        '/api/chats/import', params={'name': text}, content=text.encode()
    ),
    'a chat in the trash': lambda api, chat, text: (
        api.patch(f'/api/chats/{chat}', json={'title': text}),
        api.delete(f'/api/chats/{chat}'),
    ),
}


@pytest.mark.parametrize('way', WAYS_IN.values(), ids=WAYS_IN)
def test_names_and_titles_do_nothing(tab: Tab, app: RunningApp, way: Way) -> None:
    chats = _import(app, [Chat(title='to be renamed') for _ in NAMES])
    with httpx.Client(base_url=app.url, timeout=30) as api:
        for chat, name in zip(chats, NAMES, strict=True):
            way(api, chat, name)
    for path in ('/', f'/c/{chats[0]}', '/trash'):
        tab.page.goto(f'{app.url}{path}')
        tab.page.wait_for_function('window.did_handshake === true')
        tab.page.wait_for_timeout(300)
        nothing_foreign(tab.page)


def _import(app: RunningApp, chats: Sequence[Chat]) -> list[str]:
    """Take chats as a file that somebody was sent."""
    with httpx.Client(base_url=app.url, timeout=30) as api:
        found = api.post(
            '/api/chats/import', content=b''.join(own.joined([own.line_of(chat) for chat in chats]))
        ).json()
        taken: list[str] = api.post(f'/api/chats/import/{found["id"]}').json()['taken']
    assert len(taken) == len(chats), json.dumps(found)
    return taken
