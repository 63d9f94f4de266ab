"""The app ends, in good order or by a crash, and starts again: what was written is still there."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.tab import LONG_STORY, PATIENCE, Tab, Watch, health, stored_replies, until, words
from webui.launch import start_app

pytestmark = pytest.mark.timeout(240)


def test_an_open_tab_goes_on_after_the_app_was_stopped_and_started(page: Page, tmp_path: Path, watch: Watch) -> None:
    watch.expect('ERR_CONNECTION', 'WebSocket', 'Failed to load resource')
    with start_app(tmp_path) as app:
        tab = Tab(page, app.url).open()
        reply = tab.ask_for_a_story()
        address = page.url
    page.evaluate('window.before = true')
    with start_app(tmp_path, '--port', str(urlsplit(app.url).port)):
        page.wait_for_function('!window.before', timeout=PATIENCE)
        tab.settled()
        assert (page.url, tab.reply_text()) == (address, reply)
        expect(tab.chats).to_have_count(1)
        assert tab.ask_for_a_story()


def test_a_crash_in_the_middle_of_a_reply(page: Page, tmp_path: Path, watch: Watch) -> None:
    watch.expect('ERR_CONNECTION', 'WebSocket', 'Failed to load resource')
    with start_app(tmp_path) as app:
        tab = Tab(page, app.url).open()
        tab.send(LONG_STORY)
        tab.until_streamed(100)
        until(page, lambda: len(stored_replies(tmp_path)[0]['content']) > 100)
        stored = words(stored_replies(tmp_path)[0]['content'])
        address = page.url
        app.app_process().kill()

        # Nobody touches the page from here on; it is back by itself.
        expect(tab.reply).to_contain_text('The app ended while this was written', timeout=60_000)
        assert page.url == address
        assert len(tab.reply_text()) >= len(stored)
        notice = page.locator('.toasts')
        expect(notice).to_contain_text(re.compile('The app (was killed|ended with exit code)'))
        expect(notice).to_contain_text('the model was not loaded again')
        expect(tab.part('model-picker')).to_contain_text('No model loaded')
        assert health(app.url)['engine']['phase'] == 'empty'

        tab.part('model-picker').click()
        tab.part('load').click()
        until(page, lambda: health(app.url)['status'] == 'ok', 60_000)
        assert tab.ask_for_a_story()


def test_an_edit_and_a_cut_reply_survive_a_crash(page: Page, tmp_path: Path, watch: Watch) -> None:
    watch.expect('ERR_CONNECTION', 'WebSocket', 'Failed to load resource')
    with start_app(tmp_path, '--model', 'echo@100') as app:
        tab = Tab(page, app.url).open()
        tab.ask('a first question')
        tab.send(' '.join(f'word{number}' for number in range(2_000)))
        tab.until_streamed(200)
        first = tab.part('message').first
        first.hover()
        first.locator('[data-testid=edit]').click()
        tab.part('message-editor').fill('half of another question')
        until(page, lambda: any(len(reply['content']) > 200 for reply in stored_replies(tmp_path)))
        app.app_process().kill()

        expect(tab.reply).to_contain_text('The app ended while this was written', timeout=60_000)
        expect(tab.part('message-editor')).to_have_value('half of another question')
        tab.part('cancel-edit').click()
        cut = words(tab.reply.locator('.answer').inner_text()).split()
        assert cut[:-1] == [f'word{number}' for number in range(len(cut) - 1)], 'nothing is missing in between'
        expect(tab.reply.locator('[data-testid=continue]')).to_be_visible()
