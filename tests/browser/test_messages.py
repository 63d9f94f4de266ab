"""What a person does with the messages of a conversation. The model repeats what it is told, 100 words a second."""

import json
import re

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import PATIENCE, Tab, Watch

WORDS = ' '.join(f'word{number}' for number in range(400))
PHONE = {'viewport': {'width': 390, 'height': 844}, 'has_touch': True, 'is_mobile': True}


def act(message: Locator, name: str) -> None:
    """Press one of the buttons of a message."""
    message.hover()
    message.locator(f'[data-testid={name}]').click()


def choose(message: Locator, name: str) -> None:
    """Open the menu of a message and choose something there."""
    act(message, 'message-more')
    message.locator(f'[data-testid={name}]').click()


def texts(tab: Tab) -> list[str]:
    """Return what the messages on the page say, in their order."""
    parts = tab.page.locator('[data-testid=message] .message-text')
    return [' '.join(text.split()) for text in parts.all_inner_texts()]


def questions(tab: Tab) -> Locator:
    return tab.page.locator('[data-testid=message][data-role=user]')


def clipboard(tab: Tab, expected: str) -> None:
    script = 'async (text) => (await navigator.clipboard.readText()) === text'
    tab.page.wait_for_function(script, arg=expected)


# Variants and branches


def test_answering_again_gives_a_variant_and_both_can_be_seen(tab: Tab) -> None:
    tab.ask('one question')
    expect(tab.part('variant-prev')).to_have_count(0)
    act(tab.reply, 'regenerate')
    expect(tab.reply.locator('[data-testid=variant]')).to_have_text('2/2')
    tab.until_idle()
    second = tab.reply.get_attribute('data-message-id')

    act(tab.reply, 'variant-prev')
    expect(tab.reply.locator('[data-testid=variant]')).to_have_text('1/2')
    expect(tab.reply.locator('[data-testid=variant-prev]')).to_be_disabled()
    assert tab.reply.get_attribute('data-message-id') != second
    tab.reload()
    expect(tab.reply.locator('[data-testid=variant]')).to_have_text('1/2')
    act(tab.reply, 'variant-next')
    expect(tab.reply).to_have_attribute('data-message-id', second or '')


def test_an_edited_question_is_a_branch_of_its_own(tab: Tab) -> None:
    tab.ask('the first question')
    tab.ask('the second question')
    act(questions(tab).first, 'edit')
    editor = tab.part('message-editor')
    expect(editor).to_be_focused()
    expect(editor).to_have_value('the first question')
    editor.fill('another first question')
    editor.press('Control+Enter')
    expect(tab.reply).to_contain_text('another first question')
    tab.until_idle()
    assert texts(tab) == ['another first question'] * 2

    act(questions(tab).first, 'variant-prev')
    expect(tab.part('message')).to_have_count(4)
    assert texts(tab) == ['the first question'] * 2 + ['the second question'] * 2


def test_a_reply_that_is_edited_is_kept_as_a_variant(tab: Tab) -> None:
    tab.ask('as the model said it')
    act(tab.reply, 'edit')
    tab.part('message-editor').fill('as a **person** said it')
    tab.part('save-edit').click()
    expect(tab.reply.locator('strong')).to_have_text('person')
    expect(tab.reply).to_contain_text('Edited')
    expect(tab.reply.locator('[data-testid=variant]')).to_have_text('2/2')
    assert tab.state() == 'idle'

    act(tab.reply, 'variant-prev')
    expect(tab.reply).to_contain_text('as the model said it')


def test_escape_gives_up_an_edit(tab: Tab) -> None:
    tab.ask('what stays')
    act(questions(tab).first, 'edit')
    tab.part('message-editor').fill('what goes')
    tab.part('message-editor').press('Escape')
    expect(tab.part('message-editor')).to_have_count(0)
    expect(questions(tab).first).to_contain_text('what stays')
    tab.reload()
    expect(questions(tab).first).to_contain_text('what stays')
    expect(tab.part('message-editor')).to_have_count(0)


def test_the_text_of_an_edit_survives_a_reload_and_a_reply(tab: Tab) -> None:
    tab.ask('first')
    tab.ask('second')
    act(questions(tab).first, 'edit')
    editor = tab.part('message-editor')
    editor.fill('half of what I want to')
    tab.ask('third')
    expect(editor).to_have_value('half of what I want to')
    tab.reload()
    expect(editor).to_have_value('half of what I want to')
    editor.fill('all of what I wanted to say')
    tab.part('save-edit').click()
    expect(tab.reply).to_contain_text('all of what I wanted to say')
    tab.until_idle()


def test_an_edit_that_cannot_be_saved_stays(tab: Tab, context: BrowserContext, watch: Watch) -> None:
    watch.expect('ERR_INTERNET_DISCONNECTED')
    tab.ask('before the storm')
    act(questions(tab).first, 'edit')
    tab.part('message-editor').fill('during the storm')
    context.set_offline(True)
    tab.part('save-edit').click()
    expect(tab.part('toast-error')).to_contain_text('The app cannot be reached. Your text is kept here')
    context.set_offline(False)
    tab.part('save-edit').click()

    expect(tab.reply).to_contain_text('during the storm', timeout=PATIENCE)
    expect(tab.part('message-editor')).to_have_count(0)
    tab.until_idle()


def test_what_did_not_change_is_not_drawn_again(tab: Tab) -> None:
    tab.ask('a question that stays')
    tab.ask('a question that changes')
    tab.replies.first.evaluate('(element) => { element.mark = "the same" }')
    act(tab.reply, 'regenerate')
    expect(tab.reply.locator('[data-testid=variant]')).to_have_text('2/2')
    tab.until_idle()
    act(questions(tab).nth(1), 'edit')
    tab.part('message-editor').fill('changed')
    tab.part('save-edit').click()
    expect(tab.reply).to_contain_text('changed')
    tab.until_idle()

    assert tab.replies.first.evaluate('(element) => element.mark') == 'the same'


def test_a_cut_reply_goes_on_where_it_was_cut(tab: Tab) -> None:
    tab.send(WORDS)
    tab.until_streamed(200)
    tab.part('stop').click()
    tab.until_idle()
    before = tab.reply_text()
    expect(tab.reply).to_contain_text('Stopped.')
    act(tab.reply, 'continue')
    tab.until('streaming')
    expect(tab.reply).not_to_contain_text('Stopped.')
    expect(tab.replies).to_have_count(1)
    tab.until_idle()

    assert tab.reply_text().startswith(before[:-10])
    assert len(tab.reply_text()) > len(before)


# Deleting and inserting


def test_a_deleted_message_comes_back_with_undo(tab: Tab) -> None:
    tab.ask('one')
    tab.ask('two')
    choose(questions(tab).first, 'delete')
    expect(tab.part('message')).to_have_count(3)
    tab.reload()
    assert texts(tab) == ['one', 'two', 'two']

    choose(tab.part('message').nth(1), 'delete-below')
    expect(tab.part('message')).to_have_count(1)
    tab.page.get_by_role('button', name='Undo').click()
    expect(tab.part('message')).to_have_count(3)
    assert texts(tab) == ['one', 'two', 'two']


def test_messages_are_inserted_without_an_answer(tab: Tab) -> None:
    tab.ask('one')
    choose(tab.reply, 'insert-user')
    tab.part('message-editor').fill('what I might have asked')
    tab.part('save-edit').click()
    expect(tab.part('message')).to_have_count(3)
    choose(questions(tab).last, 'insert-assistant')
    tab.part('message-editor').fill('what might have been said')
    tab.part('message-editor').press('Control+Enter')
    expect(tab.part('message')).to_have_count(4)
    choose(questions(tab).first, 'insert-assistant')
    tab.part('message-editor').fill('in between')
    tab.part('save-edit').click()
    expect(tab.part('message')).to_have_count(5)

    assert texts(tab) == ['one', 'in between', 'one', 'what I might have asked', 'what might have been said']
    assert tab.state() == 'idle'


def test_a_chat_is_forked_and_the_old_one_stays(tab: Tab) -> None:
    tab.ask('the common part')
    tab.ask('only in the old chat')
    old = tab.page.url
    choose(tab.replies.first, 'fork')
    expect(tab.part('message')).to_have_count(2)
    expect(tab.page).not_to_have_url(old)
    assert tab.ask('only in the new chat') == 'only in the new chat'
    tab.page.goto(old)
    tab.settled()

    assert texts(tab) == ['the common part'] * 2 + ['only in the old chat'] * 2


# Reading and copying


def test_a_reply_is_copied_as_markdown_or_as_text(tab: Tab, context: BrowserContext) -> None:
    context.grant_permissions(['clipboard-read', 'clipboard-write'])
    tab.ask('Some **bold** words\n\n```python\nprint(1)\n```')
    choose(tab.reply, 'copy-text')
    clipboard(tab, 'Some bold words\n\nprint(1)')
    choose(tab.reply, 'copy-markdown')
    clipboard(tab, 'Some **bold** words\n\n```python\nprint(1)\n```')


def test_the_source_of_a_reply_can_be_read(tab: Tab) -> None:
    tab.ask('Some **bold** words')
    choose(tab.reply, 'plain')
    expect(tab.part('message-source')).to_have_text('Some **bold** words')
    expect(tab.reply.locator('strong')).to_be_hidden()
    choose(tab.reply, 'formatted')
    expect(tab.part('message-source')).to_have_count(0)
    expect(tab.reply.locator('strong')).to_be_visible()


def test_the_numbers_of_a_reply_are_told_on_demand(tab: Tab) -> None:
    tab.ask('one two three four')
    stats = tab.part('stats')
    expect(stats).to_contain_text(re.compile(r'^4 tokens · [\d.]+ tok/s · \d\.\d\d s to first token$'))
    stats.click()
    for name in ('Tokens read', 'cached', 'Time to first token', 'Decode', 'Ended', 'by itself', 'Model', 'Echo'):
        expect(stats).to_contain_text(name)
    stats.get_by_role('button').click()
    expect(stats).not_to_contain_text('Model')


def test_the_menu_of_a_message_works_by_keyboard(tab: Tab) -> None:
    tab.ask('one')
    more = tab.reply.locator('[data-testid=message-more]')
    more.focus()
    more.press('Enter')
    menu = tab.reply.get_by_role('menu')
    expect(menu.get_by_role('menuitem').first).to_be_focused()
    tab.page.keyboard.press('ArrowUp')
    expect(menu.get_by_role('menuitem').last).to_be_focused()
    tab.page.keyboard.press('Escape')
    expect(menu).to_have_count(0)
    expect(more).to_be_focused()
    more.press('Enter')
    tab.page.keyboard.press('End')
    tab.page.keyboard.press('ArrowUp')
    tab.page.keyboard.press('Enter')
    expect(tab.part('message')).to_have_count(1)


# While a reply runs


def test_a_message_that_waits_can_be_changed_and_removed(tab: Tab) -> None:
    tab.send(f'{WORDS} ' * 10)
    tab.until('streaming')
    queue(tab, 'next please')
    queue(tab, 'and then this')
    waiting = tab.part('queued-message')
    expect(waiting).to_have_count(2)
    act(waiting.first, 'edit')
    tab.part('message-editor').fill('changed before it went')
    tab.part('save-edit').click()
    expect(waiting.first).to_contain_text('changed before it went')
    act(waiting.last, 'remove')
    expect(waiting).to_have_count(1)
    tab.reload()
    expect(waiting).to_have_count(1)
    tab.part('stop').click()
    tab.until_idle()

    act(waiting.first, 'send-now')
    expect(waiting).to_have_count(0)
    expect(questions(tab)).to_have_count(2)
    tab.until_idle()
    assert tab.reply_text() == 'changed before it went'


def test_a_message_that_waits_goes_by_itself(tab: Tab) -> None:
    tab.send('word ' * 400)
    tab.until('streaming')
    queue(tab, 'my turn')
    expect(tab.part('queued-message')).to_have_count(1)

    expect(tab.part('queued-message')).to_have_count(0, timeout=PATIENCE)
    expect(tab.reply).to_contain_text('my turn')
    tab.until_idle()


def queue(tab: Tab, text: str) -> None:
    """Send a message while a reply runs, as the composer does."""
    chat = tab.page.url.rsplit('/', 1)[1]
    answer = tab.page.request.post(
        f'{tab.url}/api/chats/{chat}/queue',
        data=json.dumps({'text': text}),
        headers={'Content-Type': 'application/json'},
    )
    assert answer.ok, answer.text()


def test_a_finished_reply_is_announced_once(tab: Tab) -> None:
    said = tab.part('announcement')
    tab.page.evaluate(
        """() => {
            window.said = [];
            const region = document.querySelector('[data-testid=announcement]');
            new MutationObserver(() => window.said.push(region.textContent)).observe(region, {
                subtree: true, childList: true, characterData: true,
            });
        }"""
    )
    tab.ask('one two three four five six seven eight nine ten ' * 5)
    expect(said).to_contain_text('Reply finished: one two three')

    assert len(tab.page.evaluate('window.said')) == 1
    expect(tab.conversation).to_have_attribute('aria-live', 'off')
    expect(said).to_have_attribute('aria-live', 'polite')


# Everywhere


def test_what_is_done_in_one_tab_is_seen_in_another(tab: Tab, context: BrowserContext) -> None:
    tab.ask('one question')
    second = Tab(context.new_page(), tab.url).open(tab.page.url.removeprefix(tab.url))
    act(tab.reply, 'regenerate')
    expect(second.reply.locator('[data-testid=variant]')).to_have_text('2/2')
    second.until_idle()
    act(second.reply, 'edit')
    second.part('message-editor').fill('said in the second tab')
    second.part('save-edit').click()

    expect(tab.reply).to_contain_text('said in the second tab')
    expect(tab.reply.locator('[data-testid=variant]')).to_have_text('3/3')


@pytest.mark.timeout(120)
def test_the_actions_of_a_message_on_a_phone(open_tab: OpenTab) -> None:
    tab = open_tab(**PHONE)
    tab.ask('something short')
    row = tab.replies.first.locator('.message-actions')
    tab.ask('something else')
    expect(row).to_have_css('opacity', '1')
    for button in tab.page.locator('.message-actions button').all():
        box = button.bounding_box()
        assert box
        assert box['height'] >= 44
    more = tab.reply.locator('[data-testid=message-more]')
    more.tap()
    menu = tab.reply.get_by_role('menu')
    expect(menu).to_be_in_viewport(ratio=1)
    menu.get_by_role('menuitem', name='Show the source').tap()
    expect(tab.part('message-source')).to_have_text('something else')
    assert not tab.page.evaluate('() => document.documentElement.scrollWidth > innerWidth')
