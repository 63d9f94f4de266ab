"""Chats in and out as a person does it: files chosen or dropped, looked at, taken, and downloaded."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab, Watch, until
from webui.launch import RunningApp, start_app

RECORDED = Path(__file__).parents[1] / 'presets' / 'recorded'
PHONE = {'viewport': {'width': 390, 'height': 844}, 'has_touch': True, 'is_mobile': True}
XSS = [
    '<img src=x onerror=alert(1)>',
    '"><script>alert(1)</script>',
    "{{constructor.constructor('alert(1)')()}}",
    '<a href="javascript:alert(1)">x</a>',
    '</label><svg/onload=alert(1)>',
    'props=onclick=alert(1)',
]


@pytest.fixture(autouse=True)
def app(watch: Watch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """An app without chats, for each test; it begins before the page and ends after it."""
    with start_app(tmp_path_factory.mktemp('transfer'), '--model', 'echo@0') as running:
        yield running


def start_import(tab: Tab) -> None:
    if not tab.drawer.is_visible():
        tab.part('settings-toggle').click()
    tab.part('import-chats').click()
    expect(tab.part('import-drop')).to_be_visible()


def give(tab: Tab, *files: Path | dict[str, Any]) -> None:
    start_import(tab)
    tab.part('import-input').set_input_files(list(files))  # type: ignore[arg-type]


def hostile() -> dict[str, Any]:
    """An export in which every text that is shown tries to be more than that."""
    (first, *_) = json.loads((RECORDED / 'chatgpt.json').read_text('utf-8'))
    first |= {'is_archived': False, 'is_starred': False, 'conversation_template_id': None}
    chats = [{**first, 'title': title, 'conversation_id': str(number)} for number, title in enumerate(XSS)]
    broken = [{'title': f'{title} broken', 'mapping': {}} for title in XSS]
    for chat in chats:
        chat['mapping']['a1']['message']['content']['parts'] = XSS
    return {'name': '<img src=x onerror=alert(1)>.json', 'mimeType': '', 'buffer': json.dumps(chats + broken).encode()}


def test_an_export_of_another_app_is_looked_at_and_taken(tab: Tab) -> None:
    give(tab, RECORDED / 'chatgpt.json', RECORDED / 'lm-studio.conversation.json')
    rows = tab.part('import-row')
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text('5 messages · 1 January 2026 · 1 part left out')
    expect(tab.part('import-sources')).to_have_text('Source: ChatGPT (2), LM Studio (1)')

    rows.nth(1).locator('.q-checkbox').click()
    expect(tab.part('import-take')).to_have_text('Import 2 chats')
    tab.part('import-take').click()
    expect(tab.part('import-summary')).to_have_text('2 chats were imported.')
    tab.part('import-close').click()
    tab.page.goto(f'{tab.url}/')
    tab.settled()
    tab.chats.filter(has_text='Garden plan').first.click()
    expect(tab.replies).to_have_count(2)
    expect(tab.reply).to_contain_text('It stays dry.')


def test_everything_or_nothing_is_one_click(tab: Tab) -> None:
    give(tab, RECORDED / 'chatgpt.json')
    tab.part('import-all').click()
    expect(tab.part('import-take')).to_be_disabled()
    tab.part('import-all').click()
    tab.part('import-take').click()
    expect(tab.part('import-summary')).to_have_text('2 chats were imported.')
    tab.part('import-close').click()

    give(tab, RECORDED / 'chatgpt.json')
    tab.part('import-take').click()
    expect(tab.part('import-summary')).to_contain_text('2 were already there.')


def test_what_cannot_be_taken_is_told_with_the_reason(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / 'cut.json').write_bytes((RECORDED / 'chatgpt.json').read_bytes()[:-300])
    give(tab, tmp_path / 'cut.json')
    expect(tab.part('import-skipped')).to_contain_text('New chat: the file ends in the middle of it')
    tab.part('import-take').click()
    expect(tab.part('import-summary')).to_have_text('1 chat was imported.')
    expect(tab.part('import-skipped')).to_contain_text('New chat: the file ends in the middle of it')


def test_a_file_that_holds_no_chats_says_so_and_another_can_be_chosen(tab: Tab, watch: Watch) -> None:
    watch.expect('422')
    give(tab, {'name': 'notes.txt', 'mimeType': 'text/plain', 'buffer': b'hello'})
    expect(tab.part('import-problem')).to_have_text('notes.txt cannot be imported: it is no JSON file.')

    tab.part('import-input').set_input_files(RECORDED / 'open-webui.json')
    expect(tab.part('import-row')).to_have_count(2)


def test_a_file_can_be_dropped(tab: Tab) -> None:
    start_import(tab)
    content = (RECORDED / 'open-webui.json').read_text('utf-8')
    transfer = tab.page.evaluate_handle(
        "(text) => { const it = new DataTransfer(); it.items.add(new File([text], 'x.json')); return it; }", content
    )
    tab.part('import-drop').dispatch_event('drop', {'dataTransfer': transfer})

    expect(tab.part('import-row')).to_have_count(2)


def test_leaving_the_dialog_removes_the_file(tab: Tab, app: RunningApp) -> None:
    give(tab, RECORDED / 'chatgpt.json')
    expect(tab.part('import-row')).to_have_count(2)
    imports = app.data_dir / 'imports'
    assert list(imports.iterdir())

    tab.page.keyboard.press('Escape')
    expect(tab.part('transfer')).to_be_hidden()
    tab.page.wait_for_timeout(300)
    assert list(imports.iterdir()) == []


def test_hostile_titles_and_names_stay_text(tab: Tab) -> None:
    give(tab, hostile())
    rows = tab.part('import-row')
    expect(rows).to_have_count(len(XSS))
    for row, title in zip(rows.all(), XSS, strict=True):
        expect(row).to_contain_text(title)
    tab.part('import-skipped').locator('summary').click()
    expect(tab.part('import-skipped')).to_contain_text(f'{XSS[0]} broken: there are no messages in it')

    tab.part('import-take').click()
    expect(tab.part('import-summary')).to_contain_text(f'{len(XSS)} chats were imported.')
    tab.part('import-close').click()
    tab.page.goto(f'{tab.url}/')
    tab.settled()
    for chat in range(len(XSS)):
        tab.chats.nth(chat).click()
        expect(tab.replies.first).to_contain_text('onerror=alert(1)')
    assert tab.page.locator('.page img, .page svg[onload], [data-testid=message] script').count() == 0


def test_all_chats_are_downloaded_in_the_format_that_was_chosen(tab: Tab, tmp_path: Path) -> None:
    tab.ask('the first chat')
    tab.part('settings-toggle').click()
    tab.part('export-chats').click()
    with tab.page.expect_download() as json_file:
        tab.part('export-download').click()
    json_file.value.save_as(tmp_path / 'chats.json')
    expect(tab.part('transfer')).to_be_hidden()

    tab.part('export-chats').click()
    tab.part('export-format').get_by_text('Markdown', exact=True).click()
    expect(tab.part('export-download')).to_have_attribute('href', '/api/chats/export?format=markdown&language=en')
    with tab.page.expect_download() as packed:
        tab.part('export-download').click()
    packed.value.save_as(tmp_path / 'chats.zip')

    assert (
        json.loads((tmp_path / 'chats.json').read_text('utf-8'))['chats'][0]['messages'][0]['content']
        == 'the first chat'
    )
    assert zipfile.ZipFile(tmp_path / 'chats.zip').namelist() == ['the first chat.md']


def test_the_menu_of_the_list_leads_here_too(tab: Tab) -> None:
    tab.ask('the first chat')
    tab.part('chats-menu').click()
    tab.part('import-menu').click()
    expect(tab.part('import-drop')).to_be_visible()
    tab.page.keyboard.press('Escape')
    expect(tab.part('transfer')).to_be_hidden()
    tab.part('chats-menu').click()
    tab.part('export-menu').click()
    expect(tab.part('export-download')).to_have_attribute('href', '/api/chats/export?format=json&language=en')


def test_the_dialog_works_by_keyboard(tab: Tab) -> None:
    start_import(tab)
    tab.part('import-input').focus()
    with tab.page.expect_file_chooser() as chooser:
        tab.page.keyboard.press('Enter')
    chooser.value.set_files(RECORDED / 'chatgpt.json')
    expect(tab.part('import-row')).to_have_count(2)
    tab.part('import-take').focus()
    tab.page.keyboard.press('Enter')
    expect(tab.part('import-summary')).to_be_visible()


def test_the_dialog_fits_a_phone(open_tab: OpenTab) -> None:
    tab = open_tab(**PHONE)
    give(tab, RECORDED / 'chatgpt.json')
    expect(tab.part('import-take')).to_be_in_viewport()
    # The dialog grows while it opens.
    until(tab.page, lambda: (tab.part('import-take').bounding_box() or {'height': 0})['height'] >= 44)
    assert tab.page.evaluate('document.documentElement.scrollWidth <= innerWidth')


def test_an_exported_page_runs_and_loads_nothing(tab: Tab, tmp_path: Path) -> None:
    give(tab, hostile())
    tab.part('import-take').click()
    expect(tab.part('import-summary')).to_be_visible()
    with zipfile.ZipFile(_exported(tab, tmp_path)) as packed:
        pages = [packed.read(name).decode() for name in packed.namelist()]
    assert len(pages) == len(XSS)
    for page in pages:
        tab.page.goto('about:blank')
        tab.page.set_content(page)
        expect(tab.page.locator('section.assistant').first).to_contain_text('onerror=alert(1)')
        assert tab.page.evaluate('performance.getEntriesByType("resource").length') == 0


def _exported(tab: Tab, folder: Path) -> Path:
    response = tab.page.request.get(f'{tab.url}/api/chats/export?format=html')
    path = folder / 'export.zip'
    path.write_bytes(response.body())
    return path
