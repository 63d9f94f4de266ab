"""A browser tab with the app in it, and the words in which the tests speak about it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Locator, Page, Request, WebError, expect

PATIENCE = 30_000
"""Milliseconds for what takes the model or the machine a while."""

LONG_STORY = 'Tell me a very long story about a ship and its crew, at least 1000 words.'
"""Brings forth at least 800 tokens from the model that comes with the app, whatever the seed."""

SEEN = """
() => {
  window.seen = [];
  const note = (event) => {
    const state = event.type ?? document.querySelector('[data-testid=conversation]')?.dataset.state;
    const text = [...document.querySelectorAll('[data-role=assistant] .answer')].pop()?.textContent ?? '';
    window.seen.push({ state, length: text.length, time: performance.now() });
  };
  new MutationObserver(note).observe(document.body, {
    subtree: true, childList: true, characterData: true, attributes: true,
  });
  document.addEventListener('click', note, true);
}
"""

REPORT_VIOLATIONS = """
document.addEventListener('securitypolicyviolation', (event) =>
  console.error(`Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


class Watch:
    """Everything in the browser that should not have happened."""

    def __init__(self) -> None:
        self._problems: list[str] = []
        self._expected: list[str] = []

    def add(self, context: BrowserContext) -> None:
        """Watch every page of a context from now on."""
        context.add_init_script(REPORT_VIOLATIONS)
        context.on('console', self._console)
        context.on('weberror', self._error)
        context.on('dialog', self._dialog)
        context.on('request', self._request)

    def expect(self, *patterns: str) -> None:
        """Name console errors that belong to what the test does."""
        self._expected.extend(patterns)

    def problems(self) -> list[str]:
        """Return what nobody expected."""
        return [text for text in self._problems if not any(re.search(known, text) for known in self._expected)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == 'error':
            self._problems.append(f'console: {message.text} ({message.location["url"]})')

    def _error(self, error: WebError) -> None:
        self._problems.append(f'page error: {error.error}')

    def _dialog(self, dialog: Dialog) -> None:
        self._problems.append(f'dialog: {dialog.message}')
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        if not request.url.startswith(('http://127.0.0.1:', 'data:', 'blob:')):
            self._problems.append(f'request to another host: {request.url}')


class Tab:
    """One page of the app."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.composer = self.part('composer')
        self.conversation = self.part('conversation')
        self.chats = self.part('chat-item')
        self.replies = page.locator('[data-testid=message][data-role=assistant]')
        self.reply = self.replies.last
        self.drawer = self.part('settings-drawer')

    def part(self, testid: str) -> Locator:
        return self.page.locator(f'[data-testid={testid}]')

    def open(self, path: str = '/') -> 'Tab':
        self.page.goto(f'{self.url}{path}')
        return self.settled()

    def settled(self) -> 'Tab':
        """Wait until the page listens and shows its conversation."""
        self.page.wait_for_function('window.did_handshake === true', timeout=PATIENCE)
        expect(self.conversation).to_be_visible()
        return self

    def with_row(self, row: Locator, action: str) -> None:
        """Choose an action from the menu of a chat or a folder in the list."""
        row.hover()
        row.locator('[data-testid=row-menu]').click()
        self.part(action).click()

    def reload(self) -> 'Tab':
        self.page.reload()
        return self.settled()

    def send(self, text: str) -> None:
        """Write a message and wait until it is in the conversation."""
        count = self.replies.count()
        self.composer.click()
        self.composer.fill(text)
        self.composer.press('Enter')
        expect(self.replies).to_have_count(count + 1, timeout=PATIENCE)

    def ask(self, text: str) -> str:
        """Send a message and return the whole reply."""
        self.send(text)
        self.until_idle()
        return self.reply_text()

    def ask_for_a_story(self) -> str:
        """Let the real model begin a reply and stop it, unless it ended by itself, as it may do very soon."""
        self.send(LONG_STORY)
        self.page.wait_for_function(
            "[...document.querySelectorAll('[data-role=assistant] .answer')].pop()?.textContent", timeout=2 * PATIENCE
        )
        self.page.evaluate("document.querySelector('[data-testid=stop]')?.click()")
        self.until_idle()
        return self.reply_text()

    def until(self, state: str) -> None:
        expect(self.conversation).to_have_attribute('data-state', state, timeout=PATIENCE)

    def until_idle(self, milliseconds: int = 4 * PATIENCE) -> None:
        expect(self.conversation).to_have_attribute('data-state', 'idle', timeout=milliseconds)

    def until_streamed(self, characters: int) -> None:
        """Wait until the running reply has some text."""
        self.page.wait_for_function(
            """(length) => {
                const text = [...document.querySelectorAll('[data-role=assistant] .answer')].pop()?.textContent ?? '';
                const { state } = document.querySelector('[data-testid=conversation]').dataset;
                return state === 'streaming' && text.length >= length;
            }""",
            arg=characters,
            timeout=2 * PATIENCE,
        )

    def state(self) -> str | None:
        return self.conversation.get_attribute('data-state')

    def reply_text(self) -> str:
        """Return the last reply's answer, with every gap between words made one space."""
        return words(self.reply.locator('.answer').inner_text())

    def unfold(self, group: str) -> None:
        """Open a group of settings in the drawer."""
        self.part(f'"group-{group}"').locator('.q-item').first.click()

    def watch_growth(self) -> None:
        """Begin to note states and lengths of the reply, and the clicks between them, for `seen`."""
        self.page.evaluate(SEEN)

    def seen(self) -> list[dict[str, Any]]:
        """Return the states with the lengths of the reply in them, in order."""
        noted: list[dict[str, Any]] = self.page.evaluate('() => window.seen')
        return noted


def words(text: str) -> str:
    return ' '.join(text.split())


def health(url: str) -> dict[str, Any]:
    """Return what the app says about its model and its load."""
    facts: dict[str, Any] = httpx.get(f'{url}/api/health', timeout=30).json()
    return facts


def until(page: Page, condition: Callable[[], bool], milliseconds: int = PATIENCE) -> None:
    """Return once `condition` holds, looked at again and again while the page goes on."""
    waited = 0
    while not condition():
        assert waited < milliseconds, 'it did not come true'
        page.wait_for_timeout(50)
        waited += 50


def stored_replies(data_dir: Path) -> list[dict[str, Any]]:
    """Return the replies that are on disk now."""
    chats = [json.loads(path.read_text('utf-8')) for path in (data_dir / 'chats' / 'local').glob('*.json')]
    messages = [message for chat in chats for message in chat.get('messages', {}).values()]
    return [message for message in messages if message['role'] == 'assistant']
