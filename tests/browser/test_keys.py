"""Keys, the list of them, and the palette: everything without a mouse."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab, until

MAC = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36'
RECORD = """
() => {
  window.caught = [];
  document.addEventListener('keydown', (event) => window.caught.push(`${event.key} ${event.defaultPrevented}`));
}
"""


def record(tab: Tab, command: str, keys: str) -> None:
    """Give a command other keys in the list."""
    tab.part(f'keys-{command}').click()
    tab.page.keyboard.press(keys)


def test_the_palette_takes_the_first_letter_that_is_typed_after_its_keys(tab: Tab) -> None:
    tab.page.keyboard.press('Control+k')
    tab.page.keyboard.type('settings')

    field = tab.part('palette-field')
    expect(field).to_have_value('settings')
    option = tab.page.get_by_role('option')
    expect(option).to_have_count(1)
    expect(option).to_contain_text('Show or hide the settings')
    expect(option).to_have_attribute('aria-selected', 'true')
    expect(field).to_have_attribute('aria-activedescendant', option.get_attribute('id') or '')
    tab.page.keyboard.press('Enter')
    expect(tab.drawer).to_be_in_viewport()
    expect(tab.part('palette')).to_be_hidden()


def test_enter_waits_for_what_was_typed(tab: Tab) -> None:
    tab.page.keyboard.press('Control+k')
    expect(tab.page.get_by_role('option').first).to_be_visible()
    tab.page.keyboard.type('sidebar', delay=0)
    tab.page.keyboard.press('Enter')

    expect(tab.part('chat-list')).not_to_be_in_viewport()
    expect(tab.drawer).not_to_be_in_viewport()


def test_a_chat_is_found_by_its_title_and_opened(tab: Tab) -> None:
    tab.ask('the palette finds this walrus')
    tab.part('new-chat').click()
    expect(tab.part('message')).to_have_count(0)
    tab.page.keyboard.press('Control+k')
    tab.page.keyboard.type('WALRUS palette')
    hit = tab.page.get_by_role('group', name='Chats').get_by_role('option')
    expect(hit).to_have_count(1)
    tab.page.keyboard.press('Enter')

    expect(tab.reply).to_contain_text('walrus')


def test_what_was_said_is_found_and_opened_where_it_stands(tab: Tab) -> None:
    tab.ask('a chat with a plain title\n\nand a xylophone in it')
    tab.part('new-chat').click()
    hits = tab.page.get_by_role('group', name='In messages').get_by_role('option')

    def found() -> bool:
        """Search anew: a chat is read for the index when nothing was written into it for a moment."""
        tab.page.keyboard.press('Control+k')
        tab.page.keyboard.type('xylophone')
        tab.page.wait_for_timeout(300)
        if not hits.count():
            tab.page.keyboard.press('Escape')
        return bool(hits.count())

    until(tab.page, found)
    expect(hits.first).to_contain_text('a chat with a plain title')
    hits.first.click()

    expect(tab.page).to_have_url(re.compile('message='))
    expect(tab.reply).to_contain_text('xylophone')


def test_the_palette_works_by_arrows_and_closes_without_leaving_anything(tab: Tab) -> None:
    tab.composer.focus()
    tab.page.keyboard.press('Control+k')
    options = tab.page.get_by_role('option')
    expect(options.first).to_have_attribute('aria-selected', 'true')
    tab.page.keyboard.press('ArrowDown')
    expect(options.nth(1)).to_have_attribute('aria-selected', 'true')
    tab.page.keyboard.press('ArrowUp')
    tab.page.keyboard.press('ArrowUp')
    expect(options.last).to_have_attribute('aria-selected', 'true')
    expect(options.last).to_be_in_viewport()
    tab.page.keyboard.type('zzzz')
    expect(tab.part('palette')).to_contain_text('Nothing found.')

    tab.page.keyboard.press('Escape')
    expect(tab.part('palette')).to_be_hidden()
    expect(tab.composer).to_be_focused()
    tab.page.keyboard.press('Control+k')
    expect(tab.part('palette-field')).to_have_value('')
    tab.page.keyboard.press('Control+k')
    expect(tab.part('palette')).to_be_hidden()


def test_a_hostile_title_is_text_in_the_palette(tab: Tab) -> None:
    title = '<img src=x onerror=alert(1)> {{ 1 + 1 }} quokka'
    tab.ask(title)
    tab.page.keyboard.press('Control+k')
    tab.page.keyboard.type('quokka')

    expect(tab.page.get_by_role('option').first).to_contain_text(title)
    expect(tab.part('palette').locator('img')).to_have_count(0)


def test_keys_work_on_the_last_messages(open_tab: OpenTab) -> None:
    tab = open_tab(permissions=['clipboard-read', 'clipboard-write'])
    tab.ask('say it again')
    tab.page.keyboard.press('Control+Shift+Enter')
    expect(tab.reply).to_contain_text('2/2')
    tab.until_idle()
    tab.page.keyboard.press('Control+Shift+C')
    tab.page.wait_for_function("async () => (await navigator.clipboard.readText()) === 'say it again'")

    tab.composer.fill('a draft')
    tab.composer.press('ArrowUp')
    expect(tab.part('message-editor')).to_have_count(0)
    tab.composer.fill('')
    tab.composer.press('ArrowUp')
    expect(tab.part('message-editor')).to_be_focused()
    expect(tab.part('message-editor')).to_have_value('say it again')


def test_escape_stops_a_reply(tab: Tab) -> None:
    tab.send('word ' * 1000)
    tab.until_streamed(1)
    tab.page.keyboard.press('Escape')
    tab.until_idle()

    expect(tab.reply).to_contain_text('Stopped.')


def test_enter_sends_or_starts_a_line_as_the_person_chose(open_tab: OpenTab) -> None:
    tab = open_tab()
    tab.page.keyboard.press('Control+,')
    tab.part('send-key').get_by_role('button', name='Ctrl+Enter').click()
    tab.composer.fill('one')
    tab.composer.press('Enter')
    tab.page.keyboard.type('two')
    expect(tab.composer).to_have_value('one\ntwo')
    tab.composer.press('Control+Enter')
    tab.until_idle()
    expect(tab.reply).to_contain_text('one')
    expect(tab.composer).to_have_value('')

    tab.part('send-key').get_by_role('button', name='Enter', exact=True).click()
    tab.composer.fill('three')
    tab.composer.press('Enter')
    expect(tab.reply).to_contain_text('three')


def test_keys_are_chosen_in_the_list_and_kept(open_tab: OpenTab) -> None:
    tab = open_tab()
    tab.page.keyboard.press('Control+/')
    expect(tab.part('keys-sidebar')).to_have_text('Ctrl+B')
    record(tab, 'sidebar', 'Control+Shift+Y')
    expect(tab.part('keys-sidebar')).to_have_text('Ctrl+Shift+Y')
    with tab.page.expect_navigation():  # the page names keys, so it is drawn anew
        tab.page.keyboard.press('Escape')
    tab.settled()

    expect(tab.part('chat-list')).to_be_in_viewport()
    tab.page.keyboard.press('Control+b')
    tab.page.keyboard.press('Control+Shift+Y')
    expect(tab.part('chat-list')).not_to_be_in_viewport()
    tab.page.keyboard.press('Control+Shift+Y')
    expect(tab.part('chat-list')).to_be_in_viewport()

    tab.page.keyboard.press('Control+/')
    tab.page.get_by_role('button', name='Reset Show or hide the sidebar').click()
    expect(tab.part('keys-sidebar')).to_have_text('Ctrl+B')


def test_keys_that_others_need_are_refused_with_the_reason(open_tab: OpenTab) -> None:
    tab = open_tab()
    tab.page.keyboard.press('Control+/')
    problem = tab.part('key-problem')
    record(tab, 'sidebar', 'Control+k')
    expect(problem).to_contain_text('Ctrl+K is in use for “Search and commands”')
    record(tab, 'sidebar', 'Control+r')
    expect(problem).to_contain_text('Ctrl+R belongs to the browser')
    record(tab, 'sidebar', 'x')
    expect(problem).to_contain_text('X is needed for writing')
    expect(tab.part('keys-sidebar')).to_have_text('Ctrl+B')

    record(tab, 'sidebar', 'Escape')
    expect(tab.part('key-list')).to_be_visible()
    record(tab, 'sidebar', 'Backspace')
    expect(tab.part('keys-sidebar')).to_have_text('–')
    record(tab, 'copy-last', 'Control+b')
    expect(tab.part('keys-copy-last')).to_have_text('Ctrl+B')


def test_a_mac_has_its_own_keys(open_tab: OpenTab) -> None:
    tab = open_tab(user_agent=MAC)
    tab.page.keyboard.press('Control+k')
    expect(tab.part('palette')).to_be_hidden()
    tab.page.keyboard.press('Meta+k')
    expect(tab.page.get_by_role('option').filter(has_text='New chat')).to_contain_text('⇧⌘O')
    tab.page.keyboard.press('Escape')
    tab.page.keyboard.press('Meta+/')
    expect(tab.part('keys-regenerate')).to_have_text('⇧⌘↩')


def test_a_page_may_take_the_keys_that_copy_the_last_reply(tab: Tab) -> None:
    """They are the developer tools' in some browsers, where a page comes first."""
    tab.page.evaluate(RECORD)
    tab.page.keyboard.press('Control+Shift+C')

    assert tab.page.evaluate('window.caught.at(-1)') == 'C true'


def test_a_key_of_another_alphabet_counts_by_its_place(tab: Tab) -> None:
    tab.page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown',"
        " {key: 'л', code: 'KeyK', ctrlKey: true, bubbles: true}))"
    )

    expect(tab.part('palette')).to_be_visible()


def test_a_sign_counts_whether_it_needs_shift_or_not(tab: Tab) -> None:
    tab.page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown',"
        " {key: '/', code: 'Digit7', ctrlKey: true, shiftKey: true, bubbles: true}))"
    )

    expect(tab.part('key-list')).to_be_visible()


def test_keys_below_a_dialog_do_nothing(tab: Tab) -> None:
    tab.page.keyboard.press('Control+/')
    expect(tab.part('key-list')).to_be_visible()
    tab.page.keyboard.press('Control+,')
    tab.page.keyboard.press('Control+k')

    expect(tab.part('palette')).to_be_hidden()
    expect(tab.drawer).not_to_be_in_viewport()
    assert not re.search('/c/', tab.page.url)
