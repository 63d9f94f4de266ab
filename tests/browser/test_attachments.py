"""Files that go with a message, as a person attaches them, and what they take of the context."""

import re
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import PATIENCE, Tab, Watch, words

REFUSED = '422'
"""What the browser's console says of a file that the app did not take."""
TRANSFER = """
(kind, selector, files) => {
  const transfer = new DataTransfer();
  for (const [name, text] of files) transfer.items.add(new File([text], name));
  const options = { bubbles: true, cancelable: true };
  const event = kind === 'paste'
    ? new ClipboardEvent('paste', { ...options, clipboardData: transfer })
    : new DragEvent(kind, { ...options, dataTransfer: transfer });
  document.querySelector(selector).dispatchEvent(event);
  return event.defaultPrevented;
}
"""
PASTE_TEXT = """
(field, text) => {
  const transfer = new DataTransfer();
  transfer.setData('text/plain', text);
  const event = new ClipboardEvent('paste', { bubbles: true, cancelable: true, clipboardData: transfer });
  field.dispatchEvent(event);
  return event.defaultPrevented;
}
"""


def file(name: str, content: bytes | str) -> Any:
    data = content.encode() if isinstance(content, str) else content
    return {'name': name, 'mimeType': '', 'buffer': data}


def attach(tab: Tab, *files: Any) -> Locator:
    """Choose files with the button and return how they are shown."""
    with tab.page.expect_file_chooser() as chooser:
        tab.part('attach').click()
    chooser.value.set_files(list(files))
    return tab.part('composer-attachment')


def transfer(tab: Tab, kind: str, selector: str, *files: tuple[str, str]) -> bool:
    """Paste or drag files; returns whether the page took care of it."""
    return bool(
        tab.page.evaluate(f'([kind, where, files]) => ({TRANSFER})(kind, where, files)', [kind, selector, files])
    )


def ready(chips: Locator, count: int = 1) -> None:
    expect(chips).to_have_count(count)
    for place in range(count):
        expect(chips.nth(place)).to_have_attribute('data-state', 'ready', timeout=PATIENCE)


def test_a_chosen_file_is_read_and_goes_with_the_message(tab: Tab) -> None:
    chips = attach(tab, file('notes.txt', 'the cat sat on the mat'))
    ready(chips)
    expect(chips).to_contain_text('notes.txt')
    expect(chips).to_contain_text('22 B · 6 tokens')
    tab.composer.fill('who sat?')
    tab.composer.press('Enter')
    expect(tab.replies).to_have_count(1)
    tab.until_idle()

    assert 'the cat sat on the mat' in tab.reply_text()
    assert 'who sat?' in tab.reply_text()
    expect(chips).to_have_count(0)
    tab.reload()
    expect(chips).to_have_count(0)
    expect(tab.part('attachment')).to_contain_text('notes.txt')


def test_files_can_go_without_a_word(tab: Tab) -> None:
    expect(tab.part('send')).to_be_disabled()
    ready(attach(tab, file('notes.txt', 'nothing but a file')))
    tab.part('send').click()
    expect(tab.replies).to_have_count(1)
    tab.until_idle()

    assert 'nothing but a file' in tab.reply_text()


def test_a_file_can_be_pasted(tab: Tab) -> None:
    tab.composer.focus()
    assert transfer(tab, 'paste', '[data-testid=composer]', ('pasted.py', 'print(1)'))

    ready(tab.part('composer-attachment'))
    expect(tab.part('composer-attachment')).to_contain_text('pasted.py')
    expect(tab.composer).to_have_value('')


def test_files_can_be_dropped_anywhere_on_the_conversation(tab: Tab) -> None:
    assert transfer(tab, 'dragover', '.pane', ('a.txt', 'first'))
    expect(tab.part('drop-zone')).to_be_visible()
    assert transfer(tab, 'drop', '.pane', ('a.txt', 'first'), ('b.txt', 'second'))
    expect(tab.part('drop-zone')).to_have_count(0)

    ready(tab.part('composer-attachment'), 2)


def test_a_file_that_misses_the_conversation_does_not_replace_the_page(tab: Tab) -> None:
    assert transfer(tab, 'drop', '.sidebar', ('a.txt', 'first'))

    expect(tab.part('composer-attachment')).to_have_count(0)
    expect(tab.composer).to_be_visible()


def test_a_long_text_that_is_pasted_becomes_a_file_and_that_can_be_undone(tab: Tab) -> None:
    long = 'a long text ' * 1000
    tab.composer.fill('before  after')
    tab.composer.evaluate('(field) => field.setSelectionRange(7, 7)')
    assert tab.composer.evaluate(PASTE_TEXT, long)
    ready(tab.part('composer-attachment'))
    expect(tab.composer).to_have_value('before  after')
    tab.part('paste-undo').click()

    expect(tab.composer).to_have_value(f'before {long} after')
    expect(tab.part('composer-attachment')).to_have_count(0)
    expect(tab.part('pasted')).to_have_count(0)


def test_a_short_text_is_pasted_as_text(tab: Tab) -> None:
    assert not tab.composer.evaluate(PASTE_TEXT, 'a short text')


def test_what_the_app_cannot_read_is_refused_with_the_reason(tab: Tab, watch: Watch) -> None:
    watch.expect(REFUSED)
    errors = tab.part('attachment-error')
    attach(tab, file('scan.pdf', b'%PDF-1.7 nothing'), file('empty.txt', ''))
    expect(errors).to_have_count(2, timeout=PATIENCE)
    expect(errors.first).to_contain_text('scan.pdf This file is damaged')
    expect(errors.last).to_contain_text('empty.txt This file is empty')
    expect(tab.part('send')).to_be_disabled()
    errors.first.get_by_role('button', name='Remove scan.pdf').click()

    expect(errors).to_have_count(1)


def test_images_and_too_large_files_are_refused_before_they_are_sent(tab: Tab) -> None:
    attach(
        tab, {'name': 'photo.png', 'mimeType': 'image/png', 'buffer': b'\x89PNG'}, file('big.txt', b'x' * 20_000_001)
    )

    errors = tab.part('attachment-error')
    expect(errors.first).to_contain_text('photo.png Images cannot be attached yet')
    expect(errors.last).to_contain_text('big.txt Files of more than 20 MB cannot be attached')


def test_more_files_than_can_go_are_told_of_together(tab: Tab) -> None:
    chips = attach(tab, *(file(f'{number}.txt', 'words') for number in range(24)))

    expect(chips).to_have_count(20)
    expect(tab.part('attachment-error')).to_have_count(1)
    expect(tab.part('attachment-error')).to_contain_text('20.txt, 21.txt, 22.txt, … At most 20 files')
    ready(chips, 20)


def test_a_removed_file_is_not_sent(tab: Tab) -> None:
    chips = attach(tab, file('keep.txt', 'this one stays'), file('drop.txt', 'this one goes'))
    ready(chips, 2)
    chips.last.get_by_role('button', name='Remove drop.txt').click()
    expect(chips).to_have_count(1)
    tab.composer.press('Enter')
    expect(tab.replies).to_have_count(1)
    tab.until_idle()

    assert 'this one stays' in tab.reply_text()
    assert 'this one goes' not in tab.reply_text()


def test_a_draft_with_files_survives_a_reload_and_belongs_to_its_chat(tab: Tab) -> None:
    tab.ask('a chat with a draft')
    chips = attach(tab, file('notes.txt', 'not yet sent'))
    tab.composer.fill('not yet finished')
    ready(chips)
    tab.reload()
    ready(chips)
    expect(tab.composer).to_have_value('not yet finished')
    tab.part('new-chat').click()
    expect(chips).to_have_count(0)
    expect(tab.page).to_have_url(re.compile('/$'))
    tab.page.go_back()
    ready(chips)
    tab.composer.press('Enter')
    expect(tab.replies).to_have_count(2)
    tab.until_idle()

    assert 'not yet sent' in tab.reply_text()


def test_a_file_that_is_not_kept_any_more_says_so(tab: Tab, watch: Watch) -> None:
    watch.expect('404')
    tab.ask('a chat with a draft')
    ready(attach(tab, file('notes.txt', 'not yet sent')))
    upload = tab.page.evaluate(
        '() => JSON.parse(Object.entries(localStorage).find(([key]) => /^files:/.test(key))[1])'
    )[0]
    tab.page.request.delete(f'{tab.url}/api/attachments/{upload["id"]}')
    tab.reload()

    expect(tab.part('attachment-error')).to_contain_text('notes.txt This file is not kept any more')


def test_a_name_of_a_file_is_only_text(tab: Tab) -> None:
    chips = attach(tab, file('<img src=x onerror=alert(1)>.txt', 'words'))
    ready(chips)

    expect(chips).to_contain_text('<img src=x onerror=alert(1)>.txt')
    expect(chips.locator('img')).to_have_count(0)


def test_files_wait_in_the_queue_with_their_message(tab: Tab) -> None:
    tab.send('word ' * 300)
    ready(attach(tab, file('notes.txt', 'a file that waited')))
    tab.composer.press('Enter')
    expect(tab.part('composer-attachment')).to_have_count(0)
    expect(tab.replies).to_have_count(2, timeout=PATIENCE)
    tab.until_idle()

    assert 'a file that waited' in tab.reply_text()


def test_a_file_is_not_taken_while_the_app_is_away(tab: Tab, context: BrowserContext, watch: Watch) -> None:
    watch.expect('ERR_INTERNET_DISCONNECTED', 'WebSocket')
    context.set_offline(True)
    attach(tab, file('notes.txt', 'words'))
    expect(tab.part('attachment-error')).to_contain_text('The app cannot be reached')
    context.set_offline(False)


def test_the_gauge_counts_every_part_before_anything_is_sent(tab: Tab) -> None:
    gauge = tab.part('context-gauge')
    expect(gauge).to_contain_text('0 / 100,000')
    tab.composer.fill('one two three')
    expect(gauge).to_contain_text('3 / 100,000')
    expect(tab.part('draft-tokens')).to_have_text('3 tokens')
    ready(attach(tab, file('notes.txt', 'four five six')))
    gauge.click()

    expect(tab.part('context-draft')).to_contain_text('3')
    expect(tab.part('context-attachments')).not_to_have_text(re.compile('0$'))
    assert number(tab.part('context-room')) + number(tab.part('context-attachments')) == 100_000 - 3


def test_the_gauge_opens_with_the_keyboard_and_sets_what_happens_to_a_full_context(tab: Tab) -> None:
    tab.ask('a chat of its own')
    tab.part('context-gauge').focus()
    tab.page.keyboard.press('Enter')
    popover = tab.part('context-popover')
    expect(popover).to_be_visible()
    popover.get_by_role('radio', name='Leave out the oldest messages').click()
    expect(popover).to_contain_text('The model does not get the oldest messages any more')
    tab.page.keyboard.press('Escape')
    expect(popover).to_have_count(0)
    tab.part('settings-toggle').click()

    expect(tab.drawer.get_by_text('Leave out the oldest messages')).to_be_visible()


def test_a_warning_says_before_sending_what_will_be_left_out(tab: Tab) -> None:
    tab.ask('word ' * 5)
    tab.composer.fill('word ' * 99_995)
    warning = tab.part('context-warning')
    expect(warning).to_contain_text('This does not fit', timeout=PATIENCE)
    warning.get_by_role('button').click()
    tab.part('context-popover').get_by_role('radio', name='Leave out the oldest messages').click()
    expect(warning).to_contain_text('2 older messages will be left out', timeout=PATIENCE)
    expect(tab.part('context-left-out')).to_have_text('2 messages are left out.')
    tab.page.keyboard.press('Escape')
    tab.composer.fill('short again')

    expect(warning).to_have_count(0, timeout=PATIENCE)


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_a_phone_shows_files_in_a_row_that_scrolls(open_tab: OpenTab, theme: str) -> None:
    tab = open_tab(viewport={'width': 390, 'height': 844}, has_touch=True, is_mobile=True, color_scheme=theme)
    chips = attach(tab, *(file(f'a rather long name {number}.txt', 'words') for number in range(4)))
    ready(chips, 4)

    assert tab.page.evaluate('() => document.documentElement.scrollWidth') == 390
    for button in (tab.part('attach'), tab.part('send'), tab.part('context-gauge'), chips.first.get_by_role('button')):
        box = button.bounding_box()
        assert box
        assert min(box['width'], box['height']) >= 44


def number(part: Locator) -> int:
    digits = re.sub(r'\D', '', words(part.inner_text()))
    return int(digits)


def test_german_is_said_throughout(open_tab: OpenTab, watch: Watch) -> None:
    watch.expect(REFUSED)
    tab = open_tab(locale='de-DE')
    attach(tab, file('leer.txt', ''))

    expect(tab.part('attachment-error')).to_contain_text('Die Datei ist leer', timeout=PATIENCE)
    expect(tab.composer).to_have_attribute('placeholder', 'Schreibe eine Nachricht')
