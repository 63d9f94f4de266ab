"""What stands around the conversation: keys, the list of chats, settings, themes, and all of it on a phone."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab

LIGHT, DARK = 'rgb(255, 255, 255)', 'rgb(22, 22, 21)'
PHONE = {'viewport': {'width': 390, 'height': 844}, 'has_touch': True, 'is_mobile': True}

PAINTED = """
window.painted = [];
const look = () => {
  let element = document.body && document.elementFromPoint(innerWidth / 2, innerHeight / 2);
  const colour = () => getComputedStyle(element).backgroundColor;
  while (element && colour() === 'rgba(0, 0, 0, 0)') element = element.parentElement;
  if (element) window.painted.push(colour());
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def background(tab: Tab) -> Locator:
    return tab.page.locator('body')


def test_keys_open_and_close_the_parts_of_the_page(tab: Tab) -> None:
    keyboard = tab.page.keyboard
    expect(tab.part('chat-list')).to_be_in_viewport()
    keyboard.press('Control+b')
    expect(tab.part('chat-list')).not_to_be_in_viewport()
    keyboard.press('Control+b')
    expect(tab.part('chat-list')).to_be_in_viewport()

    expect(tab.drawer).not_to_be_in_viewport()
    keyboard.press('Control+,')
    expect(tab.drawer).to_be_in_viewport()
    keyboard.press('Control+,')
    expect(tab.drawer).not_to_be_in_viewport()


def test_a_key_starts_a_new_chat(tab: Tab) -> None:
    tab.ask('the first chat')
    expect(tab.page).to_have_url(re.compile('/c/'))
    tab.page.keyboard.press('Control+Shift+O')

    expect(tab.part('message')).to_have_count(0)
    expect(tab.page).to_have_url(re.compile('/$'))
    expect(tab.composer).to_be_focused()
    assert tab.ask('the second chat') == 'the second chat'
    tab.page.go_back()
    tab.page.go_back()
    expect(tab.reply).to_contain_text('the first chat')


def test_rename_in_the_list_and_in_the_title(tab: Tab) -> None:
    tab.ask('a chat with a name')
    row = tab.chats.first
    tab.with_row(row, 'rename-chat')
    tab.part('rename-field').fill('Named in the list')
    tab.part('rename-field').press('Enter')
    expect(row).to_contain_text('Named in the list')
    expect(tab.part('chat-title')).to_have_value('Named in the list')

    tab.part('chat-title').fill('Named in the title')
    expect(row).to_contain_text('Named in the title')
    tab.reload()
    expect(tab.part('chat-title')).to_have_value('Named in the title')


def test_a_title_is_text_whatever_it_looks_like(tab: Tab) -> None:
    title = '<img src=x onerror=alert(1)> {{ 1 + 1 }}'
    tab.ask('a chat with a hostile name')
    tab.part('chat-title').fill(title)
    expect(tab.chats.first).to_have_text(re.compile(re.escape(title)))
    tab.reload()

    expect(tab.chats.first).to_have_text(re.compile(re.escape(title)))
    expect(tab.chats.first.locator('img')).to_have_count(0)


def test_delete_and_take_it_back(tab: Tab) -> None:
    tab.ask('unwanted and then wanted again')
    row = tab.chats.filter(has_text='unwanted and then wanted again')
    tab.with_row(row, 'delete-chat')
    expect(row).to_have_count(0)
    expect(tab.part('message')).to_have_count(0)
    expect(tab.page).to_have_url(re.compile('/$'))

    tab.page.get_by_role('button', name='Undo').click()
    expect(row).to_have_count(1)
    row.get_by_text('unwanted').click()
    expect(tab.reply).to_contain_text('unwanted and then wanted again')


def test_the_temperature_belongs_to_the_chat(tab: Tab) -> None:
    tab.ask('a cool chat')
    tab.part('settings-toggle').click()
    field = tab.part('setting-temperature')
    expect(field).to_have_value('0.7')
    field.fill('0.2')
    expect(tab.page.locator('.setting.is-changed', has=field)).to_be_visible()
    tab.reload()
    tab.part('settings-toggle').click()
    expect(field).to_have_value('0.2')

    tab.part('new-chat').click()
    expect(field).to_have_value('0.7')
    expect(tab.page).to_have_url(re.compile('/$'))
    tab.page.go_back()
    expect(field).to_have_value('0.2')


def test_a_setting_out_of_its_bounds_is_refused_in_words(tab: Tab) -> None:
    tab.part('settings-toggle').click()
    tab.part('setting-temperature').fill('9')

    expect(tab.drawer).to_contain_text('Between 0 and 5. The old value stays.')


def test_settings_that_are_rarely_wanted_are_folded_away(tab: Tab) -> None:
    tab.part('settings-toggle').click()
    expect(tab.part('setting-temperature')).to_be_visible()
    expect(tab.part('setting-samplers')).to_have_count(0)
    tab.unfold('More sampling')
    order = tab.part('setting-samplers').locator('.order-row')
    expect(order.first).to_contain_text('dry')
    order.first.get_by_role('button', name='Move dry down').click()
    expect(order.first).to_contain_text('top n sigma')
    order.first.get_by_role('checkbox').click()
    expect(order.last).to_contain_text('top n sigma')

    tab.unfold('Structure')
    tab.part('setting-json_schema').fill('{"type": "object"}')
    tab.part('setting-stop').fill('\\n\\n')
    tab.part('setting-stop').press('Enter')
    expect(tab.page.locator('.setting.is-changed')).to_have_count(3)
    expect(tab.page.locator('.settings-group.is-changed')).to_have_count(3)
    tab.page.get_by_role('button', name='Reset Sampler order').click()
    expect(order.first).to_contain_text('dry')


@pytest.mark.parametrize('system', ['light', 'dark'])
def test_the_system_theme_is_there_from_the_first_paint(open_tab: OpenTab, system: str) -> None:
    tab = open_tab(color_scheme=system)
    tab.page.add_init_script(PAINTED)
    tab.reload()

    assert set(tab.page.evaluate('window.painted')) == {DARK if system == 'dark' else LIGHT}


@pytest.mark.parametrize(('system', 'choice', 'colour'), [('light', 'Dark', DARK), ('dark', 'Light', LIGHT)])
def test_a_chosen_theme_beats_the_system(open_tab: OpenTab, system: str, choice: str, colour: str) -> None:
    tab = open_tab(color_scheme=system)
    tab.part('settings-toggle').click()
    tab.drawer.get_by_text(choice, exact=True).click()
    expect(background(tab)).to_have_css('background-color', colour)
    tab.page.add_init_script(PAINTED)
    tab.reload()
    assert set(tab.page.evaluate('window.painted')) == {colour}

    tab.part('settings-toggle').click()
    tab.drawer.get_by_text('System', exact=True).click()
    expect(background(tab)).to_have_css('background-color', LIGHT if system == 'light' else DARK)


def test_a_chosen_theme_is_that_of_every_page(open_tab: OpenTab) -> None:
    tab = open_tab(color_scheme='light')
    tab.part('settings-toggle').click()
    tab.drawer.get_by_text('Dark', exact=True).click()
    expect(background(tab)).to_have_css('background-color', DARK)
    tab.page.goto(f'{tab.url}/trash')

    expect(background(tab)).to_have_css('background-color', DARK)


def test_a_phone_shows_the_conversation_and_keeps_the_rest_aside(open_tab: OpenTab) -> None:
    tab = open_tab(**PHONE)
    too_wide = '() => document.documentElement.scrollWidth > innerWidth'
    expect(tab.part('chat-list')).not_to_be_in_viewport()
    expect(tab.composer).to_be_in_viewport(ratio=1)
    tab.ask('| a wide table |' + ' another column |' * 12 + '\n|' + '---|' * 13 + '\n\n' + 'longword' * 40)
    assert not tab.page.evaluate(too_wide)

    tab.part('sidebar-toggle').tap()
    expect(tab.part('chat-list')).to_be_in_viewport()
    assert not tab.page.evaluate(too_wide)
    tab.chats.first.get_by_text('a wide table').tap()
    expect(tab.part('chat-list')).not_to_be_in_viewport()

    tab.part('settings-toggle').tap()
    expect(tab.drawer).to_be_in_viewport()
    assert not tab.page.evaluate(too_wide)
    tab.page.get_by_role('button', name='Close settings').tap()
    expect(tab.composer).to_be_in_viewport(ratio=1)
