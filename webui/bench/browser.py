"""The page as its user meets it: a real browser, the composer, the conversation."""

import contextlib
import time
import typing
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from webui.launch import CannotLaunch, browser_options

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COMPOSER = '[data-testid=composer]'
CONVERSATION = '[data-testid=conversation]'
NEW_CHAT = '[data-testid=new-chat]'
EMPTY_CHAT = '.starters'
CHAT = '[data-testid=chat-item]'
REPLY = '[data-testid=message][data-role=assistant]'
POLL = 0.2
"""Seconds between looks at a page that is measured: each look costs the page a little, too."""
PATIENCE_MS = 60_000
"""Milliseconds after which something that should happen on the page does not count any more."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class TabMemory:
    """What a tab holds after the garbage was collected; megabytes of 1,000,000 bytes."""

    process: float
    heap: float
    nodes: int


class Tab:
    """One tab with the chat page, in a context of its own: nothing is cached there."""

    def __init__(self, browser: 'Browser', url: str) -> None:
        self.page: Page = browser.new_page()
        self._devtools = self.page.context.new_cdp_session(self.page)
        self._devtools.send('Performance.enable', {'timeDomain': 'threadTicks'})
        self.page.goto(url)
        self.page.locator(COMPOSER).wait_for(timeout=PATIENCE_MS)

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

    def until_ready(self) -> None:
        """Wait until the page listens and shows its chats."""
        self.page.wait_for_function('window.did_handshake === true', timeout=PATIENCE_MS)
        self.page.locator(CHAT).first.wait_for()

    def new_chat(self) -> None:
        """Leave the chat; what is typed before it is left belongs to it."""
        self.page.locator(NEW_CHAT).click()
        self.page.locator(EMPTY_CHAT).wait_for()

    def point_at_conversation(self) -> None:
        """Put the mouse where its wheel scrolls the messages."""
        box = self.page.locator(CONVERSATION).bounding_box()
        assert box
        self.page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)

    def memory(self) -> TabMemory:
        """Return what the tab holds; the browser must have no other, because processes do not say whose they are."""
        for _ in range(2):
            self._devtools.send('HeapProfiler.collectGarbage')
        browser = self.page.context.browser
        assert browser
        session = browser.new_browser_cdp_session()
        processes = session.send('SystemInfo.getProcessInfo')['processInfo']
        session.detach()
        renderers = [process['id'] for process in processes if process['type'] == 'renderer']
        return TabMemory(
            process=max(map(_memory_of, renderers)) / 1e6,
            heap=self._metric('JSHeapUsedSize') / 1e6,
            nodes=round(self._metric('Nodes')),
        )

    def busy_seconds(self) -> float:
        """Return how long the page's main thread has computed so far, without waits and what looking at it takes."""
        return self._metric('TaskDuration') - self._metric('DevToolsCommandDuration')

    def close(self) -> None:
        """Close the tab; the app goes on."""
        self.page.context.close()

    def _metric(self, name: str) -> float:
        metrics = self._devtools.send('Performance.getMetrics')['metrics']
        return float(next(metric['value'] for metric in metrics if metric['name'] == name))


def _memory_of(pid: int) -> int:
    """Return the bytes a process takes: its part of shared pages on Linux, elsewhere what is its own."""
    memory = psutil.Process(pid).memory_full_info()
    return int(getattr(memory, 'pss', memory.uss))
