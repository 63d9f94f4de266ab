"""The page with many chats: how soon it is there, and how soon what someone looks for is found."""

import http.client
import json
import random
import statistics
import time
import typing
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

from webui.bench.browser import PATIENCE_MS, Tab
from webui.bench.page_report import Figure
from webui.launch import RunningApp

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MOST_READY, MOST_SEARCH = 1.0, 300.0
VISITS, TYPED = 5, 10
KEY_PAUSE_MS = 60
INDEX_PATIENCE = 300.0
SEARCH = '[data-testid=search]'
HIT = '[data-testid=search-hit]'

# Milliseconds since the navigation began: painted, listening to the server, and the first chat there to be clicked.
WATCH_LOADING = """
window.ready = 0;
const look = () => {
  const row = document.querySelector('[data-testid=chat-item]')?.getBoundingClientRect();
  const painted = performance.getEntriesByName('first-contentful-paint')[0];
  const composer = document.querySelector('[data-testid=composer]');
  if (row?.height && row.right > 0 && composer && painted && window.did_handshake === true)
    window.ready = Math.max(performance.now(), painted.startTime);
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
WATCH_HITS = """([field, hit]) => {
  window.found = 0;
  let pressed = 0;
  document.querySelector(field).addEventListener('keydown', (event) => (pressed = event.timeStamp), true);
  const look = () => {
    const shown = document.querySelector(hit)?.getBoundingClientRect().height;
    if (pressed && shown) window.found ||= performance.now() - pressed;
    requestAnimationFrame(look);
  };
  look();
}"""


def measure_ready(app: RunningApp, browser: 'Browser') -> list[Figure]:
    """Visit the page as someone new, whose browser has nothing of it, and then again and again."""
    first, again = [], []
    for _ in range(VISITS):
        context = browser.new_context()
        context.add_init_script(WATCH_LOADING)
        page = context.new_page()
        first.append(_visit(page, app.url))
        again.append(_visit(page, app.url))
        context.close()
    return [
        Figure(
            key='ready_seconds', text='page ready, first visit (s)', value=statistics.median(first), most=MOST_READY
        ),
        Figure(
            key='ready_again_seconds',
            text='page ready, later visit (s)',
            value=statistics.median(again),
            most=MOST_READY,
        ),
    ]


def measure_search(app: RunningApp, browser: 'Browser', said: Sequence[str], count: int) -> list[Figure]:
    """Look for words that are in some chat: by the API, and some of them on the page."""
    words = random.Random(0).sample(list(said), min(count, len(said)))  # noqa: S311 (no secret)
    asked = _ask(app.url, words)
    shown = _type(app.url, browser, words[:TYPED]) if asked else []
    return [
        Figure(key='search_p50_ms', text='search all content, median (ms)', value=_quantile(asked, 0.5)),
        Figure(
            key='search_p95_ms',
            text='search all content, 95 of 100 (ms)',
            value=_quantile(asked, 0.95),
            most=MOST_SEARCH,
        ),
        Figure(
            key='first_hit_p95_ms',
            text='first hit on the page after the last key, 95 of 100 (ms)',
            value=_quantile(shown, 0.95),
        ),
    ]


def wait_for_index(app: RunningApp) -> float | None:
    """Return the seconds until all that is said in the chats can be found."""
    started = time.monotonic()
    while time.monotonic() - started < INDEX_PATIENCE:
        with urlopen(f'{app.url}/api/search?q=nothing') as answer:  # noqa: S310 (our own address)
            if not json.load(answer)['unread']:
                return time.monotonic() - started
        time.sleep(0.25)
    return None


def _visit(page: 'Page', url: str) -> float:
    page.goto(url, wait_until='commit')
    page.wait_for_function('window.ready > 0', polling=50, timeout=PATIENCE_MS)
    seconds = float(page.evaluate('window.ready')) / 1000
    page.wait_for_timeout(500)
    return seconds


def _ask(url: str, words: Sequence[str]) -> list[float]:
    """Return the milliseconds of each answer; none if the app has no search, or does not find a word that is there."""
    address = urlsplit(url)
    taken = []
    with closing(http.client.HTTPConnection(address.hostname or '', address.port, timeout=60)) as connection:
        for word in words:
            started = time.perf_counter()
            connection.request('GET', f'/api/search?q={quote(word)}')
            answer = connection.getresponse()
            found = json.loads(answer.read())
            taken.append(1000 * (time.perf_counter() - started))
            if answer.status != http.HTTPStatus.OK or not found['total']:
                return []
    return taken


def _type(url: str, browser: 'Browser', words: Sequence[str]) -> list[float]:
    """Type each word into an empty search; return the milliseconds from the last key until the first hit is seen."""
    tab, taken = Tab(browser, url), []
    tab.until_ready()
    if not tab.page.locator(SEARCH).count():
        return []
    for word in words:
        field = tab.page.locator(SEARCH)
        field.click()
        field.fill('')
        tab.page.locator(HIT).first.wait_for(state='detached', timeout=PATIENCE_MS)
        tab.page.evaluate(WATCH_HITS, [SEARCH, HIT])
        field.press_sequentially(word, delay=KEY_PAUSE_MS)
        tab.page.locator(HIT).first.wait_for(timeout=PATIENCE_MS)
        tab.page.wait_for_function('window.found > 0', polling=20, timeout=PATIENCE_MS)
        taken.append(float(tab.page.evaluate('window.found')))
    tab.close()
    return taken


def _quantile(values: Sequence[float], share: float) -> float | None:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None
