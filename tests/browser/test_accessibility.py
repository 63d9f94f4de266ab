"""The page for those who do not see it, or use no mouse: axe's rules, landmarks, focus, and sizes."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Locator, expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import PATIENCE, Tab

Options = dict[str, Any]
WIDE: Options = {'viewport': {'width': 1280, 'height': 800}}
PHONE: Options = {'viewport': {'width': 390, 'height': 844}, 'has_touch': True, 'is_mobile': True}
SERIOUS = ('serious', 'critical')
REPLY = """# A heading

Text with `code`, a [link](https://example.org) and **strong words**.

```python
def answer() -> int:
    return 42  # a comment
```

| name | value |
|------|------:|
| one  | 1     |

- a list
- of two

> a quotation
"""


def nothing(tab: Tab) -> None:
    """Leave the page as it is."""


def a_conversation(tab: Tab) -> None:
    tab.ask(REPLY)


def settings(tab: Tab) -> None:
    tab.page.keyboard.press('Control+,')
    expect(tab.drawer).to_be_in_viewport()
    for group in ('More sampling', 'Repetition', 'Structure'):
        tab.unfold(group)
    tab.part('preferences').scroll_into_view_if_needed()


def the_palette(tab: Tab) -> None:
    tab.page.keyboard.press('Control+k')
    expect(tab.page.get_by_role('option').first).to_be_visible()


def the_list_of_keys(tab: Tab) -> None:
    tab.page.keyboard.press('Control+/')
    expect(tab.part('keys-sidebar')).to_be_visible()


def the_models(tab: Tab) -> None:
    tab.part('model-picker').click()
    expect(tab.part('model-manager')).to_be_visible()


def files(tab: Tab) -> None:
    sound = FilePayload(name='notes.txt', mimeType='text/plain', buffer='Größe'.encode('cp1252'))
    picture = FilePayload(name='a.png', mimeType='image/png', buffer=b'\x89PNG')
    tab.part('attach-input').set_input_files([sound, picture])
    tab.composer.fill('What is in it?')
    expect(tab.part('attachment-error')).to_be_visible()
    expect(tab.part('composer-attachment')).to_have_attribute('data-state', 'ready', timeout=PATIENCE)


def the_context(tab: Tab) -> None:
    tab.part('context-gauge').click()
    expect(tab.part('context-popover')).to_be_visible()


def a_message_that_is_edited(tab: Tab) -> None:
    tab.ask('a first message')
    message = tab.part('message').first
    message.hover()
    message.locator('[data-testid=edit]').click()
    expect(tab.part('message-editor')).to_be_visible()


def the_actions_of_a_reply(tab: Tab) -> None:
    tab.ask('a first message')
    tab.reply.locator('[data-testid=message-more]').click()
    expect(tab.page.get_by_role('menu')).to_be_visible()


def the_export(tab: Tab) -> None:
    tab.page.keyboard.press('Control+,')
    tab.part('export-chats').click()
    expect(tab.part('transfer')).to_be_visible()


STATES: list[Callable[[Tab], None]] = [
    nothing, a_conversation, settings, the_palette, the_list_of_keys, the_models, the_context,
    a_message_that_is_edited, the_actions_of_a_reply, the_export,
]  # fmt: skip


@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('device', [WIDE, PHONE], ids=['wide', 'phone'])
@pytest.mark.parametrize('state', STATES, ids=lambda state: state.__name__)
def test_nothing_serious_is_found(open_tab: OpenTab, state: Callable[[Tab], None], device: Options, theme: str) -> None:
    tab = open_tab(color_scheme=theme, reduced_motion='reduce', **device)
    state(tab)
    tab.page.wait_for_timeout(300)  # what fades in has colours of its own while it does

    assert findings(tab) == []


def findings(tab: Tab) -> list[str]:
    """Return what axe finds serious, with the elements it means."""
    found = Axe().run(tab.page).response['violations']
    return [
        f'{rule["id"]}: {node["target"]} {node["html"][:200]} {node["failureSummary"][:300]}'
        for rule in found
        if rule['impact'] in SERIOUS
        for node in rule['nodes']
    ]


def focused(tab: Tab) -> Locator:
    return tab.page.locator(':focus')


def test_the_first_tab_leads_to_writing_a_message(open_tab: OpenTab) -> None:
    tab = open_tab(**PHONE)  # where the page does not go there by itself
    tab.page.keyboard.press('Tab')
    expect(focused(tab)).to_have_text('Skip to writing a message')
    tab.page.keyboard.press('Enter')
    expect(tab.composer).to_be_focused()

    tab.reload()
    tab.page.keyboard.press('Tab')
    tab.page.keyboard.press('Tab')
    expect(focused(tab)).to_have_text('Skip to the conversation')
    tab.page.keyboard.press('Enter')
    expect(tab.conversation).to_be_focused()


def test_the_focus_is_seen_wherever_it_goes(tab: Tab) -> None:
    tab.ask('a first message')
    tab.page.keyboard.press('Control+,')
    expect(tab.drawer).to_be_in_viewport()
    for _ in range(30):
        tab.page.keyboard.press('Tab')
        assert tab.page.evaluate(SEEN_FOCUS) == ''


SEEN_FOCUS = """
() => {
  const control = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(control);
  const hasOutline = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1.5;
  // A field shows it by its border.
  const isField = control.matches('.composer textarea, .q-field input, .q-field textarea');
  return hasOutline || isField || control === document.body ? '' : control.outerHTML.slice(0, 200);
}
"""


def test_the_parts_of_the_page_are_landmarks(tab: Tab) -> None:
    expect(tab.page.get_by_role('main')).to_have_count(1)
    expect(tab.page.get_by_role('navigation', name='Chats')).to_have_count(1)
    expect(tab.page.get_by_role('log', name='Conversation')).to_have_count(1)
    expect(tab.page.locator('html')).to_have_attribute('lang', re.compile('^en'))


def test_the_settings_take_the_keyboard_and_give_it_back(tab: Tab) -> None:
    tab.part('settings-toggle').focus()
    tab.page.keyboard.press('Enter')
    expect(tab.page.get_by_role('button', name='Close settings')).to_be_focused()
    tab.page.keyboard.press('Enter')
    expect(tab.part('settings-toggle')).to_be_focused()


@pytest.mark.parametrize('toggle', ['sidebar-toggle', 'settings-toggle'])
def test_a_drawer_over_the_page_keeps_the_keyboard_until_escape(open_tab: OpenTab, toggle: str) -> None:
    tab = open_tab(**PHONE)
    tab.part(toggle).focus()
    tab.page.keyboard.press('Enter')
    inside = tab.page.locator('.q-drawer:not(.q-layout--prevent-focus) :focus')
    expect(inside).to_have_count(1)
    for _ in range(12):
        tab.page.keyboard.press('Shift+Tab')
        assert tab.page.locator('.page :focus').count() == 0

    tab.page.keyboard.press('Escape')
    expect(tab.part(toggle)).to_be_focused()


def test_a_menu_and_a_dialog_give_the_keyboard_back(tab: Tab) -> None:
    tab.part('model-picker').focus()
    tab.page.keyboard.press('Enter')
    expect(tab.part('model-manager')).to_be_visible()
    tab.page.keyboard.press('Escape')
    expect(tab.part('model-manager')).to_be_hidden()
    expect(tab.part('model-picker')).to_be_focused()

    tab.composer.focus()
    tab.page.keyboard.press('Control+/')
    expect(tab.part('key-list')).to_be_visible()
    tab.page.keyboard.press('Escape')
    expect(tab.part('key-list')).to_have_count(0)
    expect(tab.composer).to_be_focused()


def test_every_control_on_a_touch_screen_is_large_enough(open_tab: OpenTab) -> None:
    tab = open_tab(**PHONE)
    tab.ask('a first message')
    assert too_small(tab) == []

    tab.part('settings-toggle').tap()
    expect(tab.drawer).to_be_in_viewport()
    assert too_small(tab) == []
    tab.page.keyboard.press('Escape')
    tab.part('sidebar-toggle').tap()
    expect(tab.part('chat-list')).to_be_in_viewport()
    assert too_small(tab) == []


SMALL_CONTROLS = """
() => [...document.querySelectorAll('button, a[href], [role=button], [role=checkbox], [role=switch], input, textarea')]
  .filter((control) => control.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
  .filter((control) => control.matches(':not([type=file], .nicegui-skip-link, .native-hidden)'))
  .map((control) => [control, (control.closest('.q-field__control, .search-line') ?? control).getBoundingClientRect()])
  .filter(([control, box]) => box.right > 0 && box.left < innerWidth && (box.height < 44 || box.width < 44))
  .map(([control, box]) => [control.ariaLabel ?? control.textContent, control.className, box.width, box.height].join())
"""


def too_small(tab: Tab) -> list[str]:
    tab.page.wait_for_timeout(300)
    found: list[str] = tab.page.evaluate(SMALL_CONTROLS)
    return found


def test_the_text_size_is_kept_and_scales_all_text(open_tab: OpenTab) -> None:
    tab = open_tab()
    tab.ask('some text')
    sizes = '() => ["textarea", ".answer", ".chat-link", ".composer-hint"].map((part) => ' + (
        'parseFloat(getComputedStyle(document.querySelector(part)).fontSize))'
    )
    before = tab.page.evaluate(sizes)
    tab.page.keyboard.press('Control+,')
    expect(tab.part('settings-drawer').locator(':focus')).to_have_count(1)  # it takes the focus when it is open
    slider = tab.part('text-size')
    slider.focus()
    for _ in range(4):
        slider.press('ArrowRight')
    expect(tab.part('preferences')).to_contain_text('140%')
    expect(tab.page.locator('html')).to_have_css('--scale', '1.4')
    assert tab.page.evaluate(sizes) == pytest.approx([size * 1.4 for size in before])

    tab.reload()
    assert tab.page.evaluate(sizes) == pytest.approx([size * 1.4 for size in before])
    assert not tab.page.evaluate('() => document.documentElement.scrollWidth > innerWidth')


def test_the_page_speaks_the_language_of_the_browser_or_of_choice(open_tab: OpenTab) -> None:
    tab = open_tab(locale='de-DE')
    expect(tab.page.locator('html')).to_have_attribute('lang', 'de')
    tab.page.keyboard.press('Control+,')
    expect(tab.drawer).to_contain_text('Temperatur')
    tab.part('setting-temperature').fill('9')
    expect(tab.drawer).to_contain_text('Zwischen 0 und 5. Der alte Wert bleibt.')

    tab.page.get_by_role('combobox', name='Sprache').click()
    with tab.page.expect_navigation():
        tab.page.get_by_role('option', name='English').click()
    tab.settled()
    expect(tab.page.locator('html')).to_have_attribute('lang', re.compile('^en'))
    tab.page.keyboard.press('Control+,')
    expect(tab.drawer).to_contain_text('Temperature')


def test_nothing_moves_for_those_who_want_it_so(open_tab: OpenTab) -> None:
    tab = open_tab(reduced_motion='reduce')

    moving = (
        '() => document.getAnimations().filter((one) => one.effect.getTiming().duration > 0)'
        '.map((one) => `${one.effect.target.className} ${one.animationName ?? one.transitionProperty}`)'
    )
    tab.page.keyboard.press('Control+k')
    tab.page.keyboard.press('Escape')
    tab.page.keyboard.press('Control+,')
    assert tab.page.evaluate(moving) == []
