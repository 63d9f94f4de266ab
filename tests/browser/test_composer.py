"""Writing a message: what sends it, what does not, and that no word of it is lost."""

import re

from playwright.sync_api import BrowserContext, expect

from tests.browser.tab import PATIENCE, Tab, Watch

COMPOSE = """
(field) => {
  field.dispatchEvent(new CompositionEvent('compositionstart', { bubbles: true }));
  const enter = { key: 'Enter', code: 'Enter', isComposing: true, bubbles: true, cancelable: true };
  return field.dispatchEvent(new KeyboardEvent('keydown', enter));
}
"""


def test_enter_sends_and_shift_enter_starts_a_line(tab: Tab) -> None:
    tab.composer.click()
    tab.page.keyboard.type('first line')
    tab.page.keyboard.press('Shift+Enter')
    tab.page.keyboard.type('second line')
    expect(tab.composer).to_have_value('first line\nsecond line')
    expect(tab.part('message')).to_have_count(0)
    tab.page.keyboard.press('Enter')

    expect(tab.part('message').first).to_contain_text('first line\nsecond line', use_inner_text=True)
    expect(tab.composer).to_have_value('')
    tab.until_idle()
    expect(tab.replies).to_have_count(1)


def test_enter_that_chooses_a_character_sends_nothing(tab: Tab) -> None:
    tab.composer.fill('こんにちは')
    assert tab.composer.evaluate(COMPOSE), 'the input method needs the key itself'
    expect(tab.composer).to_have_value('こんにちは')
    tab.composer.dispatch_event('compositionend')
    tab.composer.press('Enter')
    tab.until_idle()

    expect(tab.part('message')).to_have_count(2)
    assert tab.reply_text() == 'こんにちは'


def test_an_empty_message_is_not_sent(tab: Tab) -> None:
    expect(tab.part('send')).to_be_disabled()
    tab.composer.fill(' \n ')
    tab.composer.press('Enter')
    expect(tab.part('send')).to_be_disabled()
    tab.ask('words')

    expect(tab.part('message')).to_have_count(2)


def test_the_button_sends_and_a_draft_can_be_written_meanwhile(tab: Tab) -> None:
    tab.composer.fill('word ' * 100)
    tab.part('send').click()
    tab.until('streaming')
    tab.composer.fill('what I ask next')
    tab.until_idle()

    expect(tab.replies).to_have_count(1)
    expect(tab.composer).to_have_value('what I ask next')
    tab.part('send').click()
    expect(tab.replies).to_have_count(2)
    tab.until_idle()
    assert tab.reply_text() == 'what I ask next'


def test_a_message_that_is_sent_while_a_reply_runs_goes_after_it(tab: Tab) -> None:
    tab.send('word ' * 200)
    tab.until('streaming')
    expect(tab.part('send')).to_have_count(0)
    tab.composer.fill('what I ask next')
    expect(tab.part('stop')).to_be_visible()
    tab.composer.press('Enter')
    expect(tab.composer).to_have_value('')
    expect(tab.part('send')).to_have_count(0)

    expect(tab.replies).to_have_count(2, timeout=PATIENCE)
    tab.until_idle()
    assert tab.reply_text() == 'what I ask next'


def test_a_reply_can_be_stopped_while_the_next_message_is_written(tab: Tab) -> None:
    tab.send('word ' * 1000)
    tab.until('streaming')
    tab.composer.fill('what I ask next')
    expect(tab.part('send')).to_be_enabled()
    tab.part('stop').click()
    tab.until_idle()

    expect(tab.composer).to_have_value('what I ask next')
    expect(tab.replies).to_have_count(1)


def test_another_tab_shows_the_same_draft_but_not_where_someone_writes(tab: Tab, context: BrowserContext) -> None:
    tab.ask('a chat in two tabs')
    other = Tab(context.new_page(), tab.url).open(tab.page.url.removeprefix(tab.url))
    tab.page.bring_to_front()
    other.composer.evaluate('(field) => field.blur()')
    tab.composer.fill('half a thought')
    expect(other.composer).to_have_value('half a thought')

    tab.composer.press('Enter')
    expect(other.composer).to_have_value('')
    tab.until_idle()


def test_a_draft_survives_a_reload_and_belongs_to_its_chat(tab: Tab) -> None:
    tab.ask('a chat with a draft')
    tab.composer.fill('not yet finished')
    tab.reload()
    expect(tab.composer).to_have_value('not yet finished')
    tab.part('new-chat').click()
    expect(tab.composer).to_have_value('')
    expect(tab.page).to_have_url(re.compile('/$'))  # before that, there is nothing to go back from
    tab.page.go_back()

    expect(tab.composer).to_have_value('not yet finished')


def test_a_message_that_cannot_be_sent_stays(tab: Tab, context: BrowserContext, watch: Watch) -> None:
    watch.expect('ERR_INTERNET_DISCONNECTED', 'WebSocket')
    context.set_offline(True)
    tab.composer.fill('do not lose me')
    tab.composer.press('Enter')
    expect(tab.part('toast-error')).to_contain_text('Your message is kept here')
    expect(tab.composer).to_have_value('do not lose me')
    context.set_offline(False)
    tab.composer.press('Enter')

    expect(tab.replies).to_have_count(1, timeout=PATIENCE)
    tab.until_idle()
    assert tab.reply_text() == 'do not lose me'
    expect(tab.composer).to_have_value('')
    expect(tab.part('toast-error')).to_have_count(0)


def test_a_megabyte_is_refused_in_words(tab: Tab) -> None:
    book = 'word ' * 200_000
    tab.composer.fill(book)
    tab.part('send').click()

    failure = tab.part('reply-error')
    expect(failure).to_contain_text('200,000 tokens but the context holds 100,000', timeout=PATIENCE)
    tab.until_idle()
    assert tab.part('message').first.inner_text().count('word') < 10_000, 'the page should show the beginning'
    tab.composer.fill('and now?')
    expect(tab.part('send')).to_be_enabled()


def test_the_field_grows_with_its_text_up_to_a_limit(tab: Tab) -> None:
    def height() -> float:
        box = tab.composer.bounding_box()
        assert box
        return box['height']

    one = height()
    tab.composer.fill('line\n' * 5)
    assert height() > 3 * one
    tab.composer.fill('line\n' * 100)
    assert height() < 0.5 * 800
    tab.composer.fill('')
    assert height() == one


def test_a_starter_fills_the_field(tab: Tab) -> None:
    starter = tab.page.locator('.starter').first
    text = starter.inner_text()
    starter.click()

    expect(tab.composer).to_have_value(text)
    expect(tab.composer).to_be_focused()
    expect(tab.page).to_have_url(re.compile('/$'))
