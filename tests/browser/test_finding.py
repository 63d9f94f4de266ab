"""Finding chats again: search, folders, pins, the archive, the trash, and all of it live in a second tab."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from presets.chat import Chat, StoredMessage
from tests.browser.conftest import OpenTab
from tests.browser.stored_chats import long_chat, store
from tests.browser.tab import Tab, until
from tests.browser.test_accessibility import PHONE, WIDE, Options, findings, too_small
from webui.launch import RunningApp, start_app

MANY = 300
SETTLED = """
() => document.getAnimations().every((one) => one.playState !== 'running')
  && [...document.querySelectorAll('.q-dialog__inner')].every((dialog) => getComputedStyle(dialog).opacity === '1')
"""


@pytest.fixture(scope='module')
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """An app with many chats, a long one, one that says something rare, and one in a folder."""
    folder = tmp_path_factory.mktemp('finding')
    chats = [a_chat(f'Chat number {number}', f'Text of {number}') for number in range(MANY)]
    badger = a_chat(
        'Animals', 'Where do badgers <b>sleep</b>?', 'In a sett, under the ground.', 'And <i>owls</i>?', 'In trees.'
    )
    filed = a_chat('Income', 'How much tax?')
    filed.folder = 'Work/Taxes'
    store(folder, *chats, badger, filed, long_chat(150))
    with start_app(folder, '--model', 'echo@100') as running:
        yield running


def a_chat(title: str, *texts: str) -> Chat:
    chat = Chat(title=title)
    for number, text in enumerate(texts):
        reply = {'finish_reason': 'stop', 'model': 'smol'} if number % 2 else {}
        chat.append(StoredMessage(role='assistant' if number % 2 else 'user', content=text, **reply))  # type: ignore[arg-type]
    return chat


def row(tab: Tab, title: str) -> Locator:
    return tab.chats.filter(has=tab.page.locator(f'a[title="{title}"]'))


def folder(tab: Tab, name: str) -> Locator:
    return tab.part('folder').filter(has=tab.page.locator(f'button[title="{name}"]'))


def search(tab: Tab, text: str) -> Locator:
    tab.part('search').fill(text)
    return tab.part('search-hit')


# Searching


def test_a_hit_opens_at_its_message(tab: Tab) -> None:
    hits = search(tab, 'badgers')
    expect(hits).to_have_count(1)
    expect(hits).to_contain_text('Animals')
    expect(hits).to_contain_text('Where do badgers <b>sleep</b>?')
    expect(hits.locator('mark')).to_have_text('badgers')

    tab.part('search').press('ArrowDown')
    tab.part('search').press('Enter')
    expect(tab.page).to_have_url(re.compile(r'/c/\w+\?message=\w+'))
    expect(tab.part('message').first).to_contain_text('Where do badgers')


def test_a_hit_far_up_in_a_long_chat_is_in_sight(tab: Tab) -> None:
    hits = search(tab, '"Question 3"')
    expect(hits.first).to_contain_text('A chat of 150 questions')
    hits.first.click()

    expect(tab.part('message').filter(has_text=re.compile('Question 3:'))).to_be_in_viewport()


def test_results_come_as_one_types_and_leave_with_the_text(tab: Tab) -> None:
    tab.part('search').press_sequentially('in se', delay=20)
    expect(tab.part('search-hit').first).to_contain_text('In a sett')
    tab.part('search').press('Escape')
    expect(tab.part('search-hit')).to_have_count(0)
    expect(tab.chats.first).to_be_visible()


def test_nothing_found_offers_filters(tab: Tab) -> None:
    expect(search(tab, 'xylophone')).to_have_count(0)
    tab.page.get_by_role('button', name='folder:').click()
    tab.part('search').press_sequentially('tax')

    expect(tab.part('search-hit')).to_have_count(1)
    expect(tab.part('search-hit')).to_contain_text('Income')


def test_more_chats_are_shown_when_wanted(tab: Tab) -> None:
    hits = search(tab, 'number')
    expect(hits).to_have_count(20)
    tab.page.get_by_role('button', name='more chats').click()
    expect(hits).to_have_count(100)


def test_what_was_just_said_is_found(tab: Tab) -> None:
    tab.ask('a platypus is a mammal')
    until(tab.page, lambda: search(tab, 'platyp').count() > 0)
    expect(tab.part('search-hit').first.locator('mark').first).to_have_text('platypus')


# The list


def test_a_list_of_many_chats_has_few_rows_and_shows_any_of_them(tab: Tab) -> None:
    expect(tab.chats.first).to_be_visible()
    assert tab.chats.count() < 150
    tab.part('chat-list').evaluate('list => list.scrollTop = list.scrollHeight')

    expect(row(tab, 'Chat number 0')).to_be_in_viewport()
    assert tab.chats.count() < 150
    row(tab, 'Chat number 0').locator('a').click()
    expect(tab.part('message').first).to_contain_text('Text of 0')


def test_a_pinned_chat_is_on_top(tab: Tab) -> None:
    title = f'Chat number {MANY - 3}'
    tab.with_row(row(tab, title), 'pin-chat')
    expect(tab.page.locator('.chat-group').first).to_have_text('Pinned')
    expect(tab.chats.first).to_contain_text(title)
    tab.reload()
    expect(tab.chats.first).to_contain_text(title)

    tab.with_row(tab.chats.first, 'unpin-chat')
    expect(tab.chats.first).not_to_contain_text(title)


def test_folders_fold_and_take_chats_by_menu_and_by_mouse(tab: Tab, open_tab: OpenTab) -> None:
    other = open_tab()
    by_menu, by_mouse = f'Chat number {MANY - 4}', f'Chat number {MANY - 5}'
    tab.with_row(row(tab, by_menu), 'move-chat')
    dialog = tab.page.get_by_role('dialog')
    dialog.get_by_label('New folder').fill('Garden / Roses')
    dialog.get_by_role('button', name='Create').click()
    expect(folder(tab, 'Garden')).to_be_visible()
    expect(folder(other, 'Garden')).to_be_visible()
    expect(row(tab, by_menu)).to_have_count(0)

    row(tab, by_mouse).drag_to(folder(tab, 'Garden'))
    expect(row(tab, by_mouse)).to_have_count(0)
    folder(tab, 'Garden').locator('button').first.click()
    expect(row(tab, by_mouse)).to_be_visible()
    folder(tab, 'Roses').locator('button').first.click()
    expect(row(tab, by_menu)).to_be_visible()
    expect(row(other, by_menu)).to_have_count(0)

    tab.with_row(folder(tab, 'Roses'), 'rename-folder')
    tab.part('rename-field').fill('Tulips')
    tab.part('rename-field').press('Enter')
    expect(folder(tab, 'Tulips')).to_be_visible()
    tab.with_row(folder(tab, 'Garden'), 'remove-folder')
    expect(folder(tab, 'Garden')).to_have_count(0)
    expect(row(tab, by_mouse)).to_be_visible()
    expect(folder(tab, 'Tulips')).to_be_visible()


def test_an_empty_folder_stays(tab: Tab) -> None:
    tab.part('chats-menu').click()
    tab.part('new-folder').click()
    tab.page.get_by_role('dialog').get_by_label('Name of the folder').fill('Later')
    tab.page.keyboard.press('Enter')
    expect(folder(tab, 'Later')).to_be_visible()
    tab.reload()
    expect(folder(tab, 'Later')).to_be_visible()


def test_an_archived_chat_is_out_of_the_way_and_comes_back(tab: Tab) -> None:
    title = f'Chat number {MANY - 6}'
    tab.with_row(row(tab, title), 'archive-chat')
    expect(row(tab, title)).to_have_count(0)
    expect(search(tab, f'"{title}" is:archived')).to_have_count(1)
    tab.part('search').press('Escape')

    tab.part('chats-menu').click()
    tab.part('show-archive').click()
    tab.with_row(row(tab, title), 'unarchive-chat')
    expect(tab.chats).to_have_count(0)
    tab.part('leave-archive').click()
    expect(row(tab, title)).to_be_visible()


def test_many_chats_are_deleted_at_once_and_come_back(tab: Tab) -> None:
    titles = [f'Chat number {MANY - number}' for number in (7, 8, 9)]
    tab.with_row(row(tab, titles[0]), 'select-chat')
    row(tab, titles[2]).locator('a').click(modifiers=['Shift'])
    expect(tab.part('picked-bar')).to_contain_text('3')
    tab.part('picked-bar').get_by_role('button', name='Delete').click()
    for title in titles:
        expect(row(tab, title)).to_have_count(0)

    tab.page.get_by_role('button', name='Undo').click()
    for title in titles:
        expect(row(tab, title)).to_be_visible()


def test_the_keyboard_goes_through_the_list(tab: Tab) -> None:
    tab.chats.first.locator('a').focus()
    second = tab.chats.nth(1).locator('a').inner_text()
    tab.page.keyboard.press('ArrowDown')
    expect(tab.chats.nth(1).locator('a')).to_be_focused()
    tab.page.keyboard.press('F2')
    expect(tab.part('rename-field')).to_be_focused()
    tab.page.keyboard.press('Escape')
    expect(tab.chats.nth(1).locator('a')).to_be_focused()
    expect(tab.chats.nth(1).locator('a')).to_have_text(second)
    tab.page.keyboard.press('Enter')
    expect(tab.part('chat-title')).to_have_value(second.strip())

    tab.chats.nth(1).locator('a').focus()
    tab.page.keyboard.press('Tab')
    tab.page.keyboard.press('Enter')
    expect(tab.part('rename-chat')).to_be_focused()
    tab.page.keyboard.press('ArrowDown')
    expect(tab.part('pin-chat')).to_be_focused()
    tab.page.keyboard.press('Escape')
    expect(tab.part('pin-chat')).to_have_count(0)
    expect(tab.chats.nth(1).locator('a')).to_be_focused()


# The trash


def test_the_trash_gives_back_and_forgets(tab: Tab, open_tab: OpenTab) -> None:
    kept, gone = f'Chat number {MANY - 10}', f'Chat number {MANY - 11}'
    other = open_tab()
    for title in (kept, gone):
        tab.with_row(row(tab, title), 'delete-chat')
        expect(row(other, title)).to_have_count(0)
    tab.part('chats-menu').click()
    tab.part('show-trash').click()
    trash = tab.part('trash-row')
    expect(tab.page.get_by_text('30 days')).to_be_visible()
    expect(trash).to_have_count(2)

    trash.filter(has_text=kept).locator('[data-testid=restore-chat]').click()
    expect(trash).to_have_count(1)
    expect(row(other, kept)).to_be_visible()
    trash.filter(has_text=gone).locator('[data-testid=purge-chat]').click()
    tab.part('confirm').click()
    expect(tab.page.get_by_text('The trash is empty.')).to_be_visible()
    tab.part('leave-trash').click()
    tab.settled()
    expect(row(tab, kept)).to_be_visible()


# For everyone


@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('device', [WIDE, PHONE], ids=['wide', 'phone'])
def test_nothing_serious_is_found_in_any_state(open_tab: OpenTab, device: Options, theme: str) -> None:
    tab = open_tab(color_scheme=theme, reduced_motion='reduce', **device)
    check(tab, touch=device is PHONE)
    if device is PHONE:
        tab.part('sidebar-toggle').tap()
    tab.part('folder').first.locator('button').first.click()
    check(tab, touch=device is PHONE)

    tab.with_row(tab.chats.first, 'select-chat')
    check(tab, touch=device is PHONE)
    tab.page.get_by_role('button', name='Done').click()
    tab.with_row(tab.chats.first, 'move-chat')
    # axe takes what darkens the page beside the sidebar for the background of a dialog over both.
    check(tab, touch=device is PHONE, only_sizes=device is PHONE)
    tab.page.keyboard.press('Escape')
    expect(tab.page.get_by_role('dialog')).to_have_count(0)
    tab.chats.first.hover()
    tab.chats.first.locator('[data-testid=row-menu]').click()
    check(tab, touch=device is PHONE)
    tab.page.keyboard.press('Escape')

    search(tab, 'badgers')
    expect(tab.part('search-hit')).to_have_count(1)
    tab.part('search').press('ArrowDown')
    check(tab, touch=device is PHONE)
    search(tab, 'xylophone')
    expect(tab.page.get_by_text('Nothing found')).to_be_visible()
    check(tab, touch=device is PHONE)

    tab.page.goto(f'{tab.url}/trash')
    expect(tab.part('leave-trash')).to_be_visible()
    check(tab, touch=device is PHONE)


def check(tab: Tab, *, touch: bool, only_sizes: bool = False) -> None:
    """Look at the page as it is now for what keeps people out."""
    tab.page.wait_for_timeout(300)
    tab.page.wait_for_function(SETTLED)
    assert only_sizes or findings(tab) == []
    if touch:
        assert too_small(tab) == []
