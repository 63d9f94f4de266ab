"""A conversation of a thousand messages: it opens at once, and reading it back is like reading any other."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from presets.chat import Attachment, Chat, StoredMessage
from tests.browser.stored_chats import LONG, long_chat, store
from tests.browser.tab import PATIENCE, Tab
from webui.launch import RunningApp, start_app

pytestmark = pytest.mark.timeout(180)

SHORT = 'short000short000'

READ_BACK = """
async (steps) => {
  const pane = document.querySelector('[data-testid=conversation]');
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const shown = () => [...pane.querySelectorAll('[data-message-id]')];
  const top = pane.getBoundingClientRect().top;
  const result = { moved: 0, most: 0, lost: 0 };
  for (let step = 0; step < steps; step++) {
    pane.scrollTop -= 400;
    const read = shown().find((message) => message.getBoundingClientRect().bottom > top);
    const before = read.getBoundingClientRect().top;
    await frame();
    result.lost += read.isConnected ? 0 : 1;
    result.moved = Math.max(result.moved, Math.abs(read.getBoundingClientRect().top - before));
    result.most = Math.max(result.most, shown().length);
  }
  return result;
}
"""


@pytest.fixture(scope='module')
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """An app with a chat of a thousand messages and a short one with files in it."""
    folder = tmp_path_factory.mktemp('long')
    store(folder, long_chat(500), chat_with_a_file())
    with start_app(folder, '--model', 'echo@100') as running:
        yield running


def chat_with_a_file() -> Chat:
    chat = Chat(id=SHORT, title='Short')
    file = Attachment(name='<b>notes</b>.txt', size=2048, text='First line\n<img src=x onerror=alert(1)>')
    chat.append(StoredMessage(role='user', content='What is in the file?', attachments=[file]))
    chat.append(StoredMessage(role='assistant', content='Notes.', finish_reason='stop'))
    return chat


@pytest.fixture
def long(tab: Tab) -> Tab:
    """The long chat, opened from the list."""
    tab.chats.get_by_text('A chat of 500 questions').click()
    expect(tab.page.get_by_text('Answer 499 ends here.')).to_be_in_viewport()
    return tab


def message(tab: Tab, text: str) -> Locator:
    return tab.part('message').filter(has_text=text)


def count_of_messages(tab: Tab) -> int:
    return tab.part('message').count()


def test_only_a_window_of_it_is_on_the_page(long: Tab) -> None:
    expect(long.page.get_by_text('Question 0:')).to_have_count(0)
    assert count_of_messages(long) <= 60


def test_what_is_read_stays_where_it_is_while_older_messages_come(long: Tab) -> None:
    result = long.page.evaluate(READ_BACK, 120)
    assert result['moved'] < 2
    assert result['lost'] == 0
    assert result['most'] <= 80
    expect(long.page.get_by_text('Answer 499 ends here.')).to_have_count(0)


def test_scrolling_reaches_the_first_message_and_back_to_the_last(long: Tab) -> None:
    pane = long.conversation
    first = long.page.get_by_text('Question 0:')
    for _ in range(200):
        pane.evaluate('(pane) => { pane.scrollTop = 0 }')
        if first.count():
            break
        long.page.wait_for_timeout(30)
    pane.evaluate('(pane) => { pane.scrollTop = 0 }')
    expect(first).to_be_in_viewport()
    assert count_of_messages(long) <= 80

    for _ in range(4):
        pane.evaluate('(pane) => { pane.scrollTop = pane.scrollHeight }')
        long.page.wait_for_timeout(200)
    expect(first).to_have_count(0)
    long.part('to-end').click()
    expect(long.page.get_by_text('Answer 499 ends here.')).to_be_in_viewport()
    expect(long.part('to-end')).to_be_hidden()


def test_a_link_to_a_message_opens_there(tab: Tab, app: RunningApp) -> None:
    chat = long_chat(500)
    # The ids of the stored chat are its own; they are read from the page.
    tab.chats.get_by_text(chat.title).click()
    expect(tab.page.get_by_text('Answer 499 ends here.')).to_be_in_viewport()
    tab.page.evaluate(READ_BACK, 60)
    target = tab.part('message').first
    wanted, text = target.get_attribute('data-message-id'), target.inner_text()[:40]
    tab.open(f'/c/{LONG}?message={wanted}')

    found = tab.page.locator(f'[data-message-id="{wanted}"]')
    expect(found).to_be_in_viewport()
    expect(found).to_contain_text(text.splitlines()[0])
    expect(found).to_have_class('message found')
    expect(found).not_to_have_class('message found', timeout=5_000)


def test_coming_back_to_a_chat_is_coming_back_to_the_place(long: Tab) -> None:
    long.page.evaluate(READ_BACK, 60)
    long.page.wait_for_timeout(800)  # until the server knows
    top = (
        "() => { const pane = document.querySelector('[data-testid=conversation]').getBoundingClientRect();"
        ' const read = [...document.querySelectorAll("[data-message-id]")]'
        '.find((message) => message.getBoundingClientRect().bottom > pane.top);'
        ' return [read.dataset.messageId, Math.round(read.getBoundingClientRect().top - pane.top)] }'
    )
    place = long.page.evaluate(top)
    long.chats.get_by_text('Short').click()
    expect(message(long, 'Notes.')).to_be_in_viewport()
    long.chats.get_by_text('A chat of 500 questions').click()
    expect(long.page.locator(f'[data-message-id="{place[0]}"]')).to_be_in_viewport()
    long.page.wait_for_timeout(300)
    assert long.page.evaluate(top) == place

    long.reload()
    expect(long.page.locator(f'[data-message-id="{place[0]}"]')).to_be_in_viewport()
    long.page.wait_for_timeout(300)
    assert long.page.evaluate(top) == place

    long.part('to-end').click()
    expect(long.page.get_by_text('Answer 499 ends here.')).to_be_in_viewport()
    long.page.wait_for_timeout(800)
    long.reload()
    expect(long.page.get_by_text('Answer 499 ends here.')).to_be_in_viewport()


def test_who_reads_an_old_message_is_told_what_came_since(tab: Tab, context: BrowserContext) -> None:
    path = f'/c/{LONG}'
    tab.open(path)
    tab.page.evaluate(READ_BACK, 60)
    read = tab.part('message').first.get_attribute('data-message-id')
    second = Tab(context.new_page(), tab.url).open(path)
    second.composer.fill('what came since')
    second.composer.press('Enter')
    expect(second.reply).to_contain_text('what came since', timeout=PATIENCE)

    expect(tab.part('to-end')).to_contain_text('2')
    expect(tab.part('to-end')).to_have_attribute('aria-label', 'Scroll to the end, 2 new messages')
    expect(tab.page.locator(f'[data-message-id="{read}"]')).to_be_attached()
    tab.part('to-end').click()
    expect(message(tab, 'what came since').last).to_be_in_viewport()
    expect(tab.part('to-end')).to_be_hidden()
    second.page.close()


def test_a_message_sent_from_far_above_takes_the_reader_to_the_end(tab: Tab) -> None:
    tab.open(f'/c/{LONG}')
    tab.page.evaluate(READ_BACK, 60)
    tab.composer.click()
    tab.composer.fill('asked from far above')
    tab.composer.press('Enter')

    expect(message(tab, 'asked from far above')).to_have_count(2, timeout=PATIENCE)
    expect(tab.reply).to_be_in_viewport()


def test_a_file_of_a_message_can_be_read(tab: Tab) -> None:
    tab.open(f'/c/{SHORT}')
    chip = tab.part('attachment')
    expect(chip).to_contain_text('<b>notes</b>.txt')
    expect(chip).to_contain_text('2 KB')
    chip.click()
    dialog = tab.page.get_by_role('dialog')
    expect(dialog).to_contain_text('<img src=x onerror=alert(1)>')
    dialog.get_by_role('button', name='Close').click()
    expect(dialog).to_have_count(0)
