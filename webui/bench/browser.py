"""The page as its user meets it: a real browser, the composer, the conversation."""

import contextlib
import time
import typing
from collections.abc import Iterator

from webui.launch import CannotLaunch, browser_options

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COMPOSER = '[data-testid=composer]'
CONVERSATION = '[data-testid=conversation]'
NEW_CHAT = '[data-testid=new-chat]'
EMPTY_CHAT = '.starters'
REPLY = '[data-testid=message][data-role=assistant]'
POLL = 0.2
"""Seconds between looks at a page that is measured: each look costs the page a little, too."""


@contextlib.contextmanager
def open_browser() -> Iterator['Browser']:
    """Run a browser without a window."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 (a development tool)
    except ImportError:
        raise CannotLaunch(
            'This benchmark looks at the page through Playwright, which is not installed. '
            'It is in the dev group: uv run --group dev run.py bench NAME'
        ) from None
    with sync_playwright() as playwright:
        chromium = playwright.chromium
        browser = chromium.launch(**browser_options(chromium.executable_path))
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One tab with the chat page."""

    def __init__(self, browser: 'Browser', url: str) -> None:
        self.page: Page = browser.new_page()
        self._metrics = self.page.context.new_cdp_session(self.page)
        self._metrics.send('Performance.enable')
        self.page.goto(url)
        self.page.locator(COMPOSER).wait_for()

    @property
    def state(self) -> str | None:
        """What the conversation is doing: idle, waiting, prefill or streaming."""
        return self.page.locator(CONVERSATION).get_attribute('data-state')

    def write(self, text: str) -> None:
        """Fill the composer."""
        self.page.locator(COMPOSER).fill(text)

    def send(self) -> str:
        """Press Enter and return the id of the chat once the app has acknowledged the message."""
        with self.page.expect_response(lambda response: response.url.endswith('/messages')) as answer:
            self.page.locator(COMPOSER).press('Enter')
        if not answer.value.ok:
            raise CannotLaunch(f'The app refused the message: {answer.value.text()}')
        return answer.value.url.split('/')[-2]

    def wait_for_end(self, seconds: float) -> None:
        """Wait until the reply is there and complete."""
        self.page.locator(REPLY).last.wait_for()
        deadline = time.monotonic() + seconds
        while self.state != 'idle':
            if time.monotonic() > deadline:
                raise CannotLaunch(f'The reply did not end within {seconds:.0f} s.')
            time.sleep(POLL)

    def busy_seconds(self) -> float:
        """Return how long the page's main thread has worked so far."""
        metrics = self._metrics.send('Performance.getMetrics')['metrics']
        return float(next(metric['value'] for metric in metrics if metric['name'] == 'TaskDuration'))

    def close(self) -> None:
        """Close the tab; the app goes on."""
        self.page.context.close()
