"""What a crash costs: the app is killed again and again while a reply streams."""

import argparse
import contextlib
import json
import random
import re
import statistics
import sys
import tempfile
import time
import typing
from dataclasses import dataclass
from pathlib import Path

import psutil

from presets.chat import StoredMessage
from webui.bench.browser import EMPTY_CHAT, NEW_CHAT, REPLY, Tab, open_browser
from webui.bench.report import Report, Target
from webui.launch import RunningApp, start_app
from webui.supervisor import QUICK_CRASHES

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser

RATE = 200
LONGEST = 2.0
"""Seconds after the message was acknowledged within which the kill comes."""
WORDS = int(RATE * LONGEST * 2)
KILLS_A_START = QUICK_CRASHES - 1
"""With one more, the supervisor would give up, as it should."""
POLL = 0.03
BACK_PATIENCE = 30.0
MOST_MISSING = 1.0

# Numbered words, because a page shows Markdown otherwise than it is on disk.
LAST_WORD = f"""() => {{
  const text = [...document.querySelectorAll('{REPLY}')].at(-1)?.textContent ?? '';
  return Number(text.match(/word(\\d+)/g)?.at(-1).slice(4) ?? 0);
}}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One kill; `missing` and `back_after` are seconds, the latter None if the page did not come back by itself."""

    chat: Path
    question: str
    shown: int
    on_disk: int
    damage: str
    missing: float
    back_after: float | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument('--kills', type=int, default=50, help='how often the app is killed')


def run(options: argparse.Namespace) -> Report:
    """Kill the app at random moments; the whole thing starts anew before the supervisor gives up."""
    kills: list[Kill] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        while len(kills) < options.kills:
            kills += _one_start(Path(folder, 'data'), browser, done=len(kills), total=options.kills)
        lost = [kill for kill in kills if not _holds(kill.chat, kill.question)]
    return _report(kills, len(lost), (time.monotonic() - started) / len(kills))


def _one_start(data_dir: Path, browser: 'Browser', *, done: int, total: int) -> list[Kill]:
    kills: list[Kill] = []
    with start_app(data_dir, '--model', f'echo@{RATE}') as app:
        tab = Tab(browser, app.url)
        for number in range(done + 1, min(done + KILLS_A_START, total) + 1):
            kill = _kill(app, tab, number)
            kills.append(kill)
            back = 'not back' if kill.back_after is None else f'back after {kill.back_after:.1f} s'
            sys.stderr.write(
                f'Kill {number} of {total}: {kill.shown} words on the page, {kill.on_disk} on disk, '
                f'{kill.missing:.2f} s missing, {back} {kill.damage}\n'
            )
            if kill.back_after is None:
                break
        tab.close()
    return kills


def _kill(app: RunningApp, tab: Tab, number: int) -> Kill:
    """Ask in a new chat, kill the app while it answers, look at the file before the next app can."""
    tab.page.locator(NEW_CHAT).click()
    tab.page.locator(EMPTY_CHAT).wait_for()  # what is typed before belongs to the chat that is left
    question = _question(number)
    tab.write(question)
    chat = app.data_dir / 'chats' / 'local' / f'{tab.send()}.json'
    loaded = _loaded_at(tab)
    seen = _watch(tab, random.uniform(0, LONGEST))  # noqa: S311 (no secret)
    process = app.app_process()
    process.kill()
    killed_at = time.monotonic()
    psutil.wait_procs([process], timeout=BACK_PATIENCE)
    on_disk, damage = _read(chat)
    seen.append((time.monotonic(), tab.page.evaluate(LAST_WORD)))
    return Kill(
        chat=chat,
        question=question,
        shown=seen[-1][1],
        on_disk=on_disk,
        damage=damage,
        missing=_missing(seen, on_disk, killed_at),
        back_after=_wait_until_back(tab, loaded, on_disk, killed_at),
    )


def _question(number: int) -> str:
    """Return a message that no other kill has, in paragraphs of forty numbered words."""
    words = [f'word{at}' for at in range(1, WORDS + 1)]
    paragraphs = [' '.join(words[at : at + 40]) for at in range(0, WORDS, 40)]
    return '\n\n'.join([f'Message {number}.', *paragraphs])


def _watch(tab: Tab, seconds: float) -> list[tuple[float, int]]:
    """Return moments and the last word on the page then."""
    seen: list[tuple[float, int]] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen.append((time.monotonic(), tab.page.evaluate(LAST_WORD)))
        time.sleep(POLL)
    return seen


def _missing(seen: list[tuple[float, int]], on_disk: int, killed_at: float) -> float:
    """Return how long the page had shown more than is on disk, from the last look at which it had not."""
    if seen[-1][1] <= on_disk:
        return 0.0
    not_yet = [when for when, shown in seen if shown <= on_disk]
    return max(0.0, killed_at - (not_yet[-1] if not_yet else seen[0][0]))


def _read(chat: Path) -> tuple[int, str]:
    """Return the last word of the reply on disk, and what is wrong with the file, if anything is."""
    try:
        messages = _messages(chat)
    except (OSError, ValueError) as error:
        return 0, f'{type(error).__name__}: {error}'
    replies = [message.content for message in messages if message.role == 'assistant']
    words = re.findall(r'word(\d+)', replies[-1]) if replies else []
    return int(words[-1]) if words else 0, ''


def _holds(chat: Path, question: str) -> bool:
    try:
        return any(message.content == question for message in _messages(chat) if message.role == 'user')
    except (OSError, ValueError):
        return False


def _messages(chat: Path) -> list[StoredMessage]:
    tables = json.loads(chat.read_bytes())
    return [StoredMessage.model_validate(message) for message in tables['messages'].values()]


def _wait_until_back(tab: Tab, loaded: float, on_disk: int, killed_at: float) -> float | None:
    """Wait until the page has loaded itself again and shows what is on disk; return the seconds since the kill."""
    from playwright.sync_api import Error  # noqa: PLC0415 (a development tool)

    while time.monotonic() < killed_at + BACK_PATIENCE:
        with contextlib.suppress(Error):  # the page is between two documents
            if _loaded_at(tab) > loaded and tab.state == 'idle' and tab.page.evaluate(LAST_WORD) >= on_disk:
                return time.monotonic() - killed_at
        time.sleep(POLL)
    return None


def _loaded_at(tab: Tab) -> float:
    return float(tab.page.evaluate('performance.timeOrigin'))


def _report(kills: list[Kill], lost: int, seconds_a_kill: float) -> Report:
    damaged = sum(bool(kill.damage) for kill in kills)
    missing = [kill.missing for kill in kills]
    back = [kill.back_after for kill in kills if kill.back_after is not None]
    stranded = len(kills) - len(back)
    worst, median = round(max(missing), 3), round(statistics.median(missing), 3)
    slowest = round(max(back, default=0.0), 3)
    typical = round(statistics.median(back), 3) if back else 0.0
    return Report(
        name='crash',
        title=f'The app killed {len(kills)} times while a reply of {RATE} tokens a second streamed to a browser',
        columns=('', 'result'),
        rows=[
            ['kills', len(kills)],
            ['damaged chat files', damaged],
            ['lost messages', lost],
            ['missing text, worst (s)', worst],
            ['missing text, median (s)', median],
            ['pages that did not come back', stranded],
            ['page back, worst (s)', slowest],
            ['page back, median (s)', typical],
            ['time a kill takes here (s)', round(seconds_a_kill, 1)],
        ],
        facts={
            'kills': len(kills),
            'damaged_files': damaged,
            'lost_messages': lost,
            'worst_missing_seconds': worst,
            'median_missing_seconds': median,
            'pages_not_back': stranded,
            'worst_back_seconds': slowest,
            'median_back_seconds': typical,
        },
        notes=['Missing is what the page had shown and the disk had not, by the time since it was first shown.'],
        targets=[
            Target(text='no damaged file and no lost message', met=not damaged and not lost),
            Target(text=f'at most {MOST_MISSING:g} s of text missing', met=worst <= MOST_MISSING),
            Target(text='every page comes back by itself', met=not stranded),
        ],
    )
