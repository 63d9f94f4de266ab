"""What a streamed token costs the server and the page, for short and long replies."""

import argparse
import sys
import tempfile
import time
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

from webui.bench.browser import Tab, open_browser
from webui.bench.options import numbers
from webui.bench.report import Report, Target
from webui.launch import RunningApp, start_app

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser

MOST_GROWTH = 1.5
SPARE_SECONDS = 60.0
SECTION = """## Section {number}

A reply has *paragraphs* with **strong** words, `code` and [links](https://example.org/{number}) among the plain ones.
Each of them goes on for a while, because that is what models do, and wraps over several lines of the page.

- the first point of list {number}
- the second one, which is somewhat longer than the first
- the third

```python
def section_{number}(values: list[int]) -> int:
    total = 0
    for value in values:  # one after the other
        total += value * {number}
    return total
```

"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streamed:
    """One reply: CPU seconds of the app process, seconds of the page's main thread, and how long it all took."""

    size: int
    tokens: int
    server: float
    browser: float
    wall: float

    @property
    def server_ms(self) -> float:
        """CPU milliseconds of the server a token."""
        return 1000 * self.server / self.tokens

    @property
    def server_percent(self) -> float:
        """The share of one core that the server took."""
        return 100 * self.server / self.wall

    @property
    def browser_ms(self) -> float:
        """Milliseconds of the page's main thread a token."""
        return 1000 * self.browser / self.tokens


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument('--sizes', type=numbers, default='2,20,100', help='sizes of the replies in KB')
    parser.add_argument('--rate', type=int, default=200, help='tokens a second that the model makes')


def run(options: argparse.Namespace) -> Report:
    """Let the echo engine repeat Markdown in front of a real browser; the first reply only warms up."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start_app(Path(folder, 'data'), '--model', f'echo@{options.rate}') as app,
        open_browser() as browser,
    ):
        _stream(app, browser, min(options.sizes), options.rate)
        streamed = [_stream(app, browser, size, options.rate) for size in options.sizes]
    return _report(options.rate, streamed)


def _stream(app: RunningApp, browser: 'Browser', size: int, rate: int) -> Streamed:
    text = ''.join(_markdown(size * 1000)).strip()
    tokens = len(text.split())
    sys.stderr.write(f'Reply of {size} KB, {tokens:,} tokens\n')
    tab, process = Tab(browser, app.url), app.app_process()
    tab.write(text)
    cpu, busy, started = _cpu_seconds(process), tab.busy_seconds(), time.monotonic()
    tab.send()
    tab.wait_for_end(2 * tokens / rate + SPARE_SECONDS)
    cpu, busy, wall = _cpu_seconds(process) - cpu, tab.busy_seconds() - busy, time.monotonic() - started
    tab.close()
    return Streamed(size=size, tokens=tokens, server=cpu, browser=busy, wall=wall)


def _report(rate: int, streamed: list[Streamed]) -> Report:
    smallest, largest = (choose(streamed, key=lambda one: one.size) for choose in (min, max))
    growth = round(largest.server_ms / smallest.server_ms, 3)
    return Report(
        name='stream',
        title=f'Streaming Markdown at {rate} tokens a second to one browser tab',
        columns=('reply', 'tokens', 'server CPU (ms/token)', 'server CPU (%)', 'browser (ms/token)', 'seconds'),
        rows=[
            [f'{one.size} KB', one.tokens, one.server_ms, one.server_percent, one.browser_ms, one.wall]
            for one in streamed
        ],
        facts={
            'rate': rate,
            'replies': [
                {
                    'kb': one.size,
                    'tokens': one.tokens,
                    'server_ms_per_token': round(one.server_ms, 4),
                    'server_percent': round(one.server_percent, 2),
                    'browser_ms_per_token': round(one.browser_ms, 4),
                    'seconds': round(one.wall, 2),
                }
                for one in streamed
            ],
            'growth': growth,
        },
        notes=[
            'Nothing is subtracted: taking and storing the message, the echo engine and saving the reply are in it.',
            f'From {smallest.size} KB to {largest.size} KB the server CPU a token grows {growth:.2f} times.',
        ],
        targets=[Target(text=f'server CPU a token grows at most {MOST_GROWTH} times', met=growth <= MOST_GROWTH)],
    )


def _markdown(size: int) -> Iterator[str]:
    """Yield sections that together have `size` characters; the last one is cut short."""
    left = size
    for number in count(1):
        section = SECTION.format(number=number)[:left]
        left -= len(section)
        yield section
        if not left:
            return


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
