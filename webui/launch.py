"""Starts the real app as a person would, and finds a browser for it: for the benchmarks and the browser tests."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

PROJECT = Path(__file__).parent.parent
PATIENCE = 60.0
"""Seconds until a start counts as failed."""
END_PATIENCE = 15.0
POLL = 0.02
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome', 'msedge')
NOT_INHERITED = ('CHATBOT_', 'NICEGUI_', 'PYTEST_')


class CannotLaunch(Exception):
    """The app or the browser did not start; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningApp:
    """The app behind its supervisor; `answered_after` are the seconds from the start to the first page."""

    url: str
    data_dir: Path
    supervisor: psutil.Process
    answered_after: float

    def app_process(self) -> psutil.Process:
        """Return the process that is the app now; the supervisor replaces it after a crash."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess):
                if children := self.supervisor.children():
                    return _behind_launcher(children[0])
            time.sleep(POLL)
        raise CannotLaunch('The supervisor has no app process (any more).')


@contextlib.contextmanager
def start_app(data_dir: Path, *options: str) -> Iterator[RunningApp]:
    """Run `run.py serve` on a free port until the block ends; it has answered a first page when the block begins.

    What it writes to the terminal is kept in `terminal.log` of the data folder.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    output = data_dir / 'terminal.log'
    command = [sys.executable, 'run.py', 'serve', '--port', '0', '--no-browser', '--data-dir', str(data_dir), *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    with output.open('wb') as terminal:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
        )
    try:
        url, supervisor = _wait_for_note(process, data_dir / 'instance.json', output)
        _wait_for_page(process, url, output)
        answered_after = time.monotonic() - started
        yield RunningApp(url=url, data_dir=data_dir, supervisor=supervisor, answered_after=answered_after)
    finally:
        _stop(process)


def browser_options(own: str) -> dict[str, Any]:
    """Return what Playwright's `chromium.launch` needs: its `own` browser or, without that, an installed one."""
    path = own if Path(own).exists() else next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path:
        raise CannotLaunch('No browser was found. Install Chromium, or run: uv run playwright install chromium')
    is_root = hasattr(os, 'geteuid') and os.geteuid() == 0  # for whom Chromium has no sandbox
    return {'executable_path': path, 'args': ['--no-sandbox'] if is_root else []}


def _wait_for_note(process: subprocess.Popen[bytes], note: Path, output: Path) -> tuple[str, psutil.Process]:
    """Wait until the supervisor says where the app will be; a note that an earlier one left behind does not count."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        _check_running(process, output)
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            facts = json.loads(note.read_text('utf-8'))
            supervisor = psutil.Process(facts['pid'])
            if process.pid in (supervisor.pid, supervisor.ppid()):
                return facts['url'], supervisor
        time.sleep(POLL)
    raise CannotLaunch(_with_output('The app did not say where it is', output))


def _wait_for_page(process: subprocess.Popen[bytes], url: str, output: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _answers(url):
        _check_running(process, output)
        if time.monotonic() > deadline:
            raise CannotLaunch(_with_output('The app did not answer', output))
        time.sleep(POLL)


def _answers(url: str) -> bool:
    """Ask for the first page; the loopback address needs no proxy, whatever the environment says."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or '', address.port, timeout=PATIENCE)
    try:
        connection.request('GET', '/')
        return connection.getresponse().status < http.HTTPStatus.BAD_REQUEST
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _check_running(process: subprocess.Popen[bytes], output: Path) -> None:
    if process.poll() is not None:
        raise CannotLaunch(_with_output(f'The app ended with exit code {process.returncode}', output))


def _with_output(problem: str, output: Path) -> str:
    lines = output.read_text('utf-8', 'replace').splitlines()[-20:]
    return '\n'.join([f'{problem}. Its last words:', *lines])


def _behind_launcher(process: psutil.Process) -> psutil.Process:
    """On Windows, the python.exe of a virtual environment is a launcher that starts the real one."""
    children = process.children() if sys.platform == 'win32' else []
    return children[0] if children else process


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the supervisor, who ends the app, and whatever is left after that."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_PATIENCE)
    _, left = psutil.wait_procs(family, timeout=END_PATIENCE)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    if process.poll() is None:
        process.kill()
        process.wait()
