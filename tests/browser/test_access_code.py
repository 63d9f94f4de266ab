"""An app that others on the network can reach: nobody gets in without the code, and with it everything works."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.tab import Tab, Watch
from webui.launch import RunningApp, start_app


@pytest.fixture(scope='module')
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    options = '--model', 'echo@100', '--host', '0.0.0.0', '--access-code', 'secret1'
    with start_app(tmp_path_factory.mktemp('open'), *options) as running:
        yield running


def test_the_page_asks_for_the_code_and_then_streams(page: Page, app: RunningApp, watch: Watch) -> None:
    watch.expect('status of 403')
    page.goto(f'{app.url}/')
    assert page.url == f'{app.url}/access'
    code, button = page.get_by_label('Access code'), page.get_by_role('button', name='Open')

    code.fill('secret2')
    button.click()
    expect(page.get_by_role('alert')).to_have_text('That is not the code.')
    assert page.goto(f'{app.url}/')
    assert page.url == f'{app.url}/access'

    code.fill('secret1')
    button.click()
    page.wait_for_url(f'{app.url}/')
    tab = Tab(page, app.url).settled()
    tab.watch_growth()
    assert tab.ask('one two three four five six seven eight nine ten ' * 5).startswith('one two three')
    assert len({note['length'] for note in tab.seen()}) > 3


def test_a_link_with_the_code_opens_the_page_and_hides_the_code(page: Page, app: RunningApp) -> None:
    tab = Tab(page, app.url).open('/?code=secret1')

    assert page.url == f'{app.url}/'
    assert tab.ask('hello') == 'hello'


def test_a_chat_opened_without_a_code_is_shown_after_it(page: Page, app: RunningApp) -> None:
    tab = Tab(page, app.url).open('/?code=secret1')
    tab.ask('find me again')
    chat = page.url
    page.context.clear_cookies()
    page.goto(chat)
    page.get_by_label('Access code').fill('secret1')
    page.get_by_role('button', name='Open').click()
    page.wait_for_url(chat)

    assert tab.settled().reply_text() == 'find me again'
