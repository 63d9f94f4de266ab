"""A reply streams: into a long chat, while someone types, and into many tabs at once."""

import statistics
import time
import typing
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from presets.chat import Chat
from webui.bench.browser import COMPOSER, POLL, Tab
from webui.bench.chats import Writing
from webui.bench.page_lag import LoopProbe
from webui.bench.page_report import Figure
from webui.launch import CannotLaunch, RunningApp

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser

MOST_SERVER_MS, MOST_BROWSER_PERCENT, MOST_KEY_MS, MOST_RATIO, MOST_HELD_MS = 0.3, 10.0, 50.0, 3.0, 10.0
IDLE_SECONDS, SETTLE_SECONDS, SPARE_SECONDS = 3.0, 1.0, 60.0
CHARACTERS_A_WORD = 8
KEY_PAUSE_MS = 90
KEYS = 'the quick brown fox jumps over the lazy dog '

# From the moment the system had the key until after the frame that shows it.
WATCH_KEYS = """(field) => {
  window.keys = [];
  let pressed = 0;
  const element = document.querySelector(field);
  element.addEventListener('keydown', (event) => (pressed = event.timeStamp), true);
  element.addEventListener('input', () => {
    const since = pressed, drawn = new MessageChannel();
    drawn.port1.onmessage = () => window.keys.push(performance.now() - since);
    requestAnimationFrame(() => drawn.port2.postMessage(0));
  });
}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streamed:
    """A reply: its tokens, and CPU seconds of app and page above what they take while nothing happens."""

    tokens: int
    server: float
    browser: float
    seconds: float

    @property
    def server_ms(self) -> float:
        """CPU milliseconds of the server a token."""
        return 1000 * self.server / self.tokens


def measure_long(app: RunningApp, browser: 'Browser', chat: Chat, tokens: int) -> list[Figure]:
    """Two replies at the end of a long chat: one that is only watched, and one during which someone types."""
    tab = Tab(browser, f'{app.url}/c/{chat.id}')
    tab.until_ready()
    streamed = _stream(app, [tab], tokens, seed=11)
    keys, probe = _stream_and_type(app, tab, tokens)
    tab.close()
    share = 100 * streamed.browser / streamed.seconds
    return [
        Figure(
            key='server_ms_per_token',
            text='streaming into it: server CPU (ms/token)',
            value=streamed.server_ms,
            most=MOST_SERVER_MS,
        ),
        Figure(
            key='browser_percent',
            text='streaming into it: main thread of the page (%)',
            value=share,
            most=MOST_BROWSER_PERCENT,
        ),
        Figure(key='stream_rate', text='streaming into it: tokens a second', value=streamed.tokens / streamed.seconds),
        Figure(key='key_p50_ms', text='typing meanwhile, key to glyph, median (ms)', value=statistics.median(keys)),
        Figure(
            key='key_p95_ms', text='typing meanwhile, key to glyph, 95 of 100 (ms)', value=_p95(keys), most=MOST_KEY_MS
        ),
        Figure(key='answer_p50_ms', text='meanwhile: a tiny request, median (ms)', value=probe.median_ms),
        Figure(
            key='answer_held_ms',
            text='meanwhile: the longest one beyond that (ms)',
            value=probe.held_ms,
            most=MOST_HELD_MS,
        ),
    ]


def measure_tabs(app: RunningApp, browser: 'Browser', count: int, tokens: int) -> list[Figure]:
    """The same chat in one tab and then in many, each with a text of the same size."""
    first = Tab(browser, app.url)
    first.until_ready()
    chat_id = _begin_chat(first)
    one = _stream(app, [first], tokens, seed=12)
    tabs = [first, *(Tab(browser, f'{app.url}/c/{chat_id}') for _ in range(count - 1))]
    for tab in tabs:
        tab.until_ready()
    many = _stream(app, tabs, tokens, seed=13)
    for tab in tabs:
        tab.close()
    return [
        Figure(key='one_tab_ms_per_token', text='a short chat in one tab: server CPU (ms/token)', value=one.server_ms),
        Figure(key='many_tabs_ms_per_token', text=f'in {count} tabs: server CPU (ms/token)', value=many.server_ms),
        Figure(
            key='many_tabs_ratio',
            text=f'{count} tabs to one: server CPU',
            value=many.server_ms / one.server_ms,
            most=MOST_RATIO,
        ),
    ]


def _begin_chat(tab: Tab) -> str:
    tab.write('A first message')
    chat_id = tab.send()
    tab.wait_for_end(SPARE_SECONDS)
    return chat_id


def _stream(app: RunningApp, tabs: Sequence[Tab], tokens: int, *, seed: int) -> Streamed:
    """Let the engine repeat a text; count from its first word on, when the message is stored and the prompt read."""
    process, tab = app.app_process(), tabs[0]
    time.sleep(SETTLE_SECONDS)
    idle_server, idle_browser = _idle(process, tab)
    text = _text(tokens, seed)
    tab.write(text)
    tab.send()
    _until_streaming(tab)
    cpu, busy, started = _cpu_seconds(process), tab.busy_seconds(), time.monotonic()
    tab.wait_for_end(SPARE_SECONDS + tokens / 20)
    seconds = time.monotonic() - started
    return Streamed(
        tokens=len(text.split()),
        server=_cpu_seconds(process) - cpu - idle_server * seconds,
        browser=tab.busy_seconds() - busy - idle_browser * seconds,
        seconds=seconds,
    )


def _stream_and_type(app: RunningApp, tab: Tab, tokens: int) -> tuple[list[float], LoopProbe]:
    """Type until the reply ends; meanwhile, the app is asked for something tiny again and again."""
    tab.write(_text(tokens, seed=14))
    tab.send()
    _until_streaming(tab)
    tab.page.locator(COMPOSER).click()
    tab.page.evaluate(WATCH_KEYS, COMPOSER)
    with LoopProbe(app.url) as probe:
        while tab.state != 'idle':
            tab.page.keyboard.type(KEYS, delay=KEY_PAUSE_MS)
    keys: list[float] = tab.page.evaluate('window.keys')
    tab.write('')
    return keys, probe


def _text(tokens: int, seed: int) -> str:
    return Writing(seed).markdown(tokens * CHARACTERS_A_WORD)


def _until_streaming(tab: Tab) -> None:
    deadline = time.monotonic() + SPARE_SECONDS
    while tab.state != 'streaming':
        if time.monotonic() > deadline:
            raise CannotLaunch(f'The reply did not begin within {SPARE_SECONDS:.0f} s.')
        time.sleep(POLL / 4)


def _idle(process: psutil.Process, tab: Tab) -> tuple[float, float]:
    """Return the shares of a core that app and page take while nothing happens."""
    cpu, busy = _cpu_seconds(process), tab.busy_seconds()
    time.sleep(IDLE_SECONDS)
    return (_cpu_seconds(process) - cpu) / IDLE_SECONDS, (tab.busy_seconds() - busy) / IDLE_SECONDS


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]
