"""Lost connections, reloads, restarts and several people in one chat: nothing that was written is lost."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import PATIENCE, Tab, Watch, stored_replies, until, words
from webui.launch import RunningApp, start_app

pytestmark = pytest.mark.timeout(180)

NUMBERS = ' '.join(str(number) for number in range(1, 601))
# One person: asks, edits, inserts, and removes what was inserted, now and then for good. Returns what was taken.
WORK = """
const work = async (chat, name) => {
  const kept = [], gone = [];
  const call = async (method, path, body = {}) => {
    const headers = { 'Content-Type': 'application/json' };
    const answer = await fetch(`/api/chats/${chat}${path}`, { method, headers, body: JSON.stringify(body) });
    return answer.ok ? await answer.json() : null;
  };
  for (let turn = 1; turn <= 8; turn++) {
    const asked = `${name} asks ${turn}.`, changed = `${name} edits ${turn}.`, put = `${name} inserts ${turn}.`;
    const question = (await call('POST', '/queue', { text: asked })) ?? {};
    if (question.id) kept.push(asked);
    const inserted = await call('POST', '/insert', { role: 'user', text: put });
    if (inserted) kept.push(put);
    if (inserted && (await call('PUT', `/messages/${inserted.id}`, { text: changed }))) kept.push(changed);
    if (inserted && turn % 2 && (await call('DELETE', `/messages/${inserted.id}`))) {
      if (turn % 4 === 1) await call('POST', `/messages/${inserted.id}/restore`);
      else gone.push(kept.splice(kept.indexOf(put), 1)[0]);
    }
  }
  return { kept, gone };
};
void (window.work = work);
"""


def test_a_tab_that_is_offline_until_the_reply_has_ended_shows_all_of_it(
    tab: Tab, context: BrowserContext, open_tab: OpenTab, watch: Watch
) -> None:
    watch.expect('ERR_INTERNET_DISCONNECTED', 'WebSocket')
    tab.page.evaluate('window.before = true')
    tab.send(' '.join(str(number) for number in range(1, 401)))
    tab.until_streamed(60)
    context.set_offline(True)
    tab.composer.fill('what I wrote meanwhile')
    open_tab(tab.page.url.removeprefix(tab.url)).until_idle()
    context.set_offline(False)
    tab.until_idle()

    assert tab.reply_text() == ' '.join(str(number) for number in range(1, 401))
    expect(tab.composer).to_have_value('what I wrote meanwhile')
    assert tab.page.evaluate('window.before'), 'the page should go on without being loaded again'


def test_reloads_in_the_middle_of_a_reply_leave_no_gap(tab: Tab) -> None:
    tab.send(NUMBERS)
    for characters in (50, 400, 800):
        tab.until_streamed(characters)
        tab.reload()
        assert tab.state() == 'streaming'
    tab.until_idle()

    assert tab.reply_text() == NUMBERS


def test_another_tab_and_another_device_see_everything_live(
    tab: Tab, context: BrowserContext, open_tab: OpenTab
) -> None:
    tab.ask('where we all meet')
    path = tab.page.url.removeprefix(tab.url)
    others = [Tab(context.new_page(), tab.url).open(path), open_tab(path)]
    tab.send(NUMBERS)
    for other in others:
        other.until_streamed(20)
        other.watch_growth()
    tab.until_idle()
    for other in others:
        other.until_idle()
        assert other.reply_text() == NUMBERS
        assert len({note['length'] for note in other.seen()}) > 10, 'it should grow, not come at once'

    others[1].part('chat-title').fill('Named on the other device')
    expect(tab.part('chat-title')).to_have_value('Named on the other device')
    expect(tab.chats.filter(has_text='Named on the other device')).to_have_count(1)
    others[1].send(NUMBERS)
    tab.until_streamed(20)
    others[0].part('stop').click()
    for one in (tab, *others):
        one.until_idle(PATIENCE)
        expect(one.reply).to_contain_text('Stopped.')
    assert len({one.reply_text() for one in (tab, *others)}) == 1


def test_a_restart_in_the_middle_of_a_reply(page: Page, tmp_path: Path, watch: Watch) -> None:
    watch.expect('ERR_CONNECTION', 'WebSocket', 'Failed to load resource')
    with start_app(tmp_path, '--model', 'echo@100') as app:
        tab = Tab(page, app.url).open()
        tab.send(NUMBERS)
        tab.until_streamed(400)
        tab.composer.fill('what I wrote meanwhile')
        address = page.url
    page.evaluate('window.before = true')
    stored = words(stored_replies(tmp_path)[0]['content'])
    assert NUMBERS.startswith(stored)
    assert len(stored) >= 400
    with start_app(tmp_path, '--model', 'echo@100', '--port', str(urlsplit(app.url).port)):
        # Nobody touches the page; it is back by itself.
        page.wait_for_function('!window.before', timeout=PATIENCE)
        tab.settled()
        assert (page.url, tab.state(), tab.reply_text()) == (address, 'idle', stored)
        expect(tab.composer).to_have_value('what I wrote meanwhile')
        assert tab.ask('and on it goes') == 'and on it goes'


def test_a_crash_with_two_tabs_at_a_reply(page: Page, tmp_path: Path, watch: Watch) -> None:
    watch.expect('ERR_CONNECTION', 'WebSocket', 'Failed to load resource')
    with start_app(tmp_path, '--model', 'echo@100') as app:
        tab = Tab(page, app.url).open()
        tab.send(NUMBERS)
        tab.until_streamed(300)
        second = Tab(page.context.new_page(), app.url).open(page.url.removeprefix(app.url))
        second.until_streamed(400)
        until(page, lambda: len(stored_replies(tmp_path)[0]['content']) > 160)
        stored = len(stored_replies(tmp_path)[0]['content'])
        app.app_process().kill()

        for one in (tab, second):
            expect(one.reply).to_contain_text('The app ended while this was written', timeout=60_000)
            assert NUMBERS.startswith(one.reply_text())
            assert len(one.reply_text()) >= stored - 10
        assert tab.reply_text() == second.reply_text()


def test_two_people_who_change_one_chat_at_once_lose_nothing(
    tab: Tab, open_tab: OpenTab, app: RunningApp, watch: Watch
) -> None:
    watch.expect('409')  # what cannot be done while a reply is written is refused, and nobody was told it was taken
    tab.ask('what we talk about')
    path = tab.page.url.removeprefix(tab.url)
    chat = path.removeprefix('/c/')
    people = {'Ada': tab, 'Ben': open_tab(path)}
    for name, one in people.items():
        one.page.evaluate(WORK)
        one.page.evaluate('([chat, name]) => void (window.done = window.work(chat, name))', [chat, name])
    tab.part('chat-title').fill('Named while they work')
    taken = [one.page.evaluate('window.done') for one in people.values()]

    until(tab.page, lambda: title_of(stored_chat(app, chat)) == 'Named while they work')
    stored = at_rest(tab.page, app, chat)
    messages = stored['messages'].values()
    contents = [message['content'] for message in messages]
    assert len([text for each in taken for text in each['kept']]) > 16
    assert [text for each in taken for text in each['kept'] if text not in contents] == []
    assert not [text for each in taken for text in each['gone'] if text in contents]
    ids = {message['id'] for message in messages}
    assert len(ids) == len(contents)
    assert all(message['parent'] in {None, *ids} for message in messages)

    for one in people.values():
        one.until_idle()
        expect(one.part('chat-title')).to_have_value('Named while they work')
        assert_shows(one, path_of(stored))
    tab.reload()
    assert_shows(tab, path_of(stored))


def stored_chat(app: RunningApp, chat: str) -> dict[str, Any]:
    text = (app.data_dir / 'chats' / 'local' / f'{chat}.json').read_text('utf-8')
    tables: dict[str, Any] = json.loads(text)
    return tables


def title_of(stored: dict[str, Any]) -> str:
    return str(stored['chat']['1']['title'])


def at_rest(page: Page, app: RunningApp, chat: str) -> dict[str, Any]:
    """Return the chat once nothing has happened to it for a while."""
    stored: dict[str, Any] = {}
    while not settled(stored) or stored != stored_chat(app, chat):
        stored = stored_chat(app, chat)
        page.wait_for_timeout(1_500)
    return stored


def assert_shows(tab: Tab, path: list[str]) -> None:
    """Hold the page to the end of a path; it may show more of it or less."""
    tab.part('message').last.wait_for()
    ids = tab.part('message').evaluate_all('(all) => all.map((message) => message.dataset.messageId)')
    assert ids == path[-len(ids) :]


def settled(stored: dict[str, Any]) -> bool:
    """Whether nothing waits and every reply has ended."""
    if not stored:
        return False
    replies = [message for message in stored['messages'].values() if message['role'] == 'assistant']
    return not stored['chat']['1']['queue'] and all(reply['finish_reason'] for reply in replies)


def path_of(stored: dict[str, Any]) -> list[str]:
    """Return the ids of the messages that are on screen."""
    parents = {message['id']: message['parent'] for message in stored['messages'].values()}
    path, at = [], stored['chat']['1']['leaf']
    while at:
        path.append(at)
        at = parents[at]
    return path[::-1]
