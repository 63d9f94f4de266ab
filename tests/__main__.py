"""Runs the lanes of the tests: `python -m tests [lint types unit browser]`; without a name, all of them.

The browser lane is a process of its own: Playwright's event loop and that of the other tests exclude each other.
The last line counts what passed and failed; of the lanes without tests, each command counts as one check.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

from webui.launch import CannotLaunch, browser_options

PROJECT = Path(__file__).parent.parent
BROWSER_TESTS = 'tests/browser'
ROOMS = ('inference', 'presets', 'runtimes', 'webui')
NO_BROWSER = (
    'No browser could be started, and none could be installed. Install Chromium or Google Chrome, '
    'or run: uv run --group dev playwright install --with-deps chromium'
)


@dataclass(frozen=True, slots=True)
class Score:
    """What came out of a lane."""

    passed: int = 0
    failed: int = 0

    def __add__(self, other: 'Score') -> 'Score':
        return Score(self.passed + other.passed, self.failed + other.failed)


def main() -> int:
    """Run the lanes that were asked for; every one of them runs, whatever the others found."""
    lanes: dict[str, Callable[[], Score]] = {'lint': _lint, 'types': _types, 'unit': _unit}
    names = [*lanes, 'browser']
    parser = argparse.ArgumentParser(prog='python -m tests', description=__doc__)
    parser.add_argument('lane', nargs='*', help=f'one or more of {", ".join(names)} (default: all)')
    chosen = parser.parse_args().lane or names
    if unknown := [name for name in chosen if name not in names]:
        parser.error(f'there is no lane {unknown[0]}; there are {", ".join(names)}')
    with ThreadPoolExecutor(max_workers=1) as beside:
        # The browser lane waits for pages most of the time, so it runs beside the others; what it says comes after.
        browser = beside.submit(_browser) if 'browser' in chosen else None
        total = Score()
        for name in chosen:
            if name != 'browser':
                _say(f'== {name} ==')
                total += lanes[name]()
        if browser:
            score, said = browser.result()
            _say(f'== browser ==\n{said}')
            total += score
    _say(f'{total.passed} passed, {total.failed} failed')
    return 1 if total.failed else 0


def _lint() -> Score:
    return _check('ruff', 'check', '.') + _check('ruff', 'format', '--check', '.')


def _types() -> Score:
    windows = _check('mypy', '--platform', 'win32', *(f'--package={room}' for room in ROOMS))
    return _check('mypy') + windows


def _unit() -> Score:
    return _pytest('tests', f'--ignore={BROWSER_TESTS}')


def _browser() -> tuple[Score, str]:
    """Return the score, and what the lane has to say."""
    if not _find_browser():
        return Score(failed=1), NO_BROWSER
    with tempfile.TemporaryFile('w+', encoding='utf-8') as output:
        score = _pytest(BROWSER_TESTS, '--timeout=180', '--screenshot=only-on-failure', output=output)
        output.seek(0)
        return score, output.read()


def _check(module: str, *arguments: str) -> Score:
    return Score(passed=1) if _run(sys.executable, '-m', module, *arguments) == 0 else Score(failed=1)


def _pytest(*arguments: str, output: IO[str] | None = None) -> Score:
    """Run tests and count them in the report they write; a run without one, or without a test, is a failure."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, 'report.xml')
        code = _run(sys.executable, '-m', 'pytest', *arguments, f'--junitxml={report}', output=output)
        score = _read(report) if report.exists() else Score()
    return score if score.failed or (score.passed and code == 0) else score + Score(failed=1)


def _read(report: Path) -> Score:
    """Count test cases: one that failed and then could not clean up either is in the report twice."""
    failed: dict[tuple[str, str], bool] = {}
    for case in ElementTree.parse(report).iter('testcase'):
        if case.find('skipped') is None:
            name = case.get('classname', ''), case.get('name', '')
            failed[name] = failed.get(name, False) or len(case.findall('failure') + case.findall('error')) > 0
    return Score(passed=list(failed.values()).count(False), failed=list(failed.values()).count(True))


def _find_browser() -> bool:
    """Start a browser once, after installing one if it must be."""
    installs: list[Sequence[Sequence[str]]] = [[], [[sys.executable, '-m', 'playwright', 'install', 'chromium']]]
    if sys.platform == 'linux' and os.geteuid() == 0 and shutil.which('apt-get'):
        installs.append([['apt-get', 'update'], ['apt-get', 'install', '--yes', 'chromium']])
    return any(all(_run(*command) == 0 for command in commands) and _browser_starts() for commands in installs)


def _browser_starts() -> bool:
    with sync_playwright() as playwright:
        try:
            playwright.chromium.launch(**browser_options(playwright.chromium.executable_path)).close()
        except (BrowserError, CannotLaunch) as problem:
            _say(str(problem))
            return False
    return True


def _run(*command: str, output: IO[str] | None = None) -> int:
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    said: dict[str, Any] = {'stdout': output, 'stderr': subprocess.STDOUT} if output else {}
    return subprocess.run(command, cwd=PROJECT, env=environment, check=False, **said).returncode


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    raise SystemExit(main())
