"""Runs the app in a child process, restarts it after a crash, and leaves no process behind."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Self

CRASH_VARIABLE = 'CHATBOT_CRASH'
STARTUP_ERROR = 2  # the app printed what is wrong; starting it again would not help
QUICK = 15.0  # seconds; a crash this soon after its start counts towards giving up
QUICK_CRASHES = 3
GRACE = 5.0  # seconds the app has to end by itself


@dataclass(frozen=True, kw_only=True, slots=True)
class CrashReport:
    """Why the app was started again, told by the supervisor to the new app process; `when` is ISO 8601."""

    reason: str
    when: str
    restarts: int

    @classmethod
    def take(cls, environment: MutableMapping[str, str] = os.environ) -> Self | None:
        """Read the report and remove it, so that processes the app starts do not see it."""
        text = environment.pop(CRASH_VARIABLE, None)
        return cls(**json.loads(text)) if text else None


def run(command: Sequence[str], *, environment: Mapping[str, str], log_file: Path, grace: float = GRACE) -> int:
    """Keep `command` running until it ends by itself, fails for good or a signal stops it; return the exit code."""
    return _Supervisor(command, environment, log_file, grace).run()


class _Supervisor:
    """The signal handlers act at once, because the main thread is blocked in `wait`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log_file: Path, grace: float) -> None:
        self._command = command
        self._environment = dict(environment)
        self._log_file = log_file
        self._grace = grace
        self._child: subprocess.Popen[bytes] | None = None
        self._killer: threading.Timer | None = None
        self._stopping = False

    def run(self) -> int:
        for number in _stop_signals():
            signal.signal(number, self._on_signal)
        quick = restarts = 0
        while True:
            started = time.monotonic()
            code = self._run_once()
            if self._stopping or code == 0:
                _say('Chatbot WebUI has stopped.')
                return 0
            if code == STARTUP_ERROR and restarts == 0:
                return code
            reason = describe_exit(code)
            quick = quick + 1 if time.monotonic() - started < QUICK else 0
            if quick >= QUICK_CRASHES:
                _say(
                    f'The app {reason}. It failed {quick} times right after its start; see above and {self._log_file}.'
                )
                return 1
            restarts += 1
            _say(f'The app {reason}. Starting it again.')
            self._environment[CRASH_VARIABLE] = _report(reason, restarts)

    def _run_once(self) -> int:
        """Start the child, wait for its end and end what it left behind."""
        started = time.time()
        self._child = child = _start(self._command, self._environment)
        if self._stopping:  # the signal came while the child was being started
            self._ask_to_end(child)
        code = _wait(child)
        if self._killer:
            self._killer.cancel()
        self._child = None
        if child.stdin:
            child.stdin.close()
        kill_tree(child.pid, started)
        return code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self._stopping = self._stopping, True
        if (child := self._child) is None:
            return
        if again:
            child.kill()
        else:
            self._ask_to_end(child)

    def _ask_to_end(self, child: subprocess.Popen[bytes]) -> None:
        """Windows knows no polite signal that always arrives; there the closed pipe says it."""
        self._killer = threading.Timer(self._grace, child.kill)
        self._killer.daemon = True
        self._killer.start()
        if sys.platform != 'win32':
            child.terminate()
        elif child.stdin:
            child.stdin.close()


def exit_with_parent(grace: float = GRACE) -> None:
    """End this process when the supervisor is gone: as if by Ctrl+C first, then, after `grace` seconds, at once.

    The supervisor holds the other end of the standard input and never writes to it, so its end is the supervisor's.
    The original is replaced: on Windows a child that inherits a pipe someone is reading from hangs at its start.
    """
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    orphaned = threading.Event()
    since = time.time()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(pipe, 64):
                pass
        orphaned.set()
        _interrupt_main_thread()
        time.sleep(grace)
        _end_own_tree(since)

    def after_everything_else() -> None:
        if orphaned.is_set():
            _end_own_tree(since)

    atexit.register(after_everything_else)
    threading.Thread(target=watch, name='exit-with-parent', daemon=True).start()


def describe_exit(returncode: int) -> str:
    """Say in plain words, to follow 'the app', how a process ended."""
    if returncode < 0:
        name = _signal_name(-returncode)
        return f'{_SIGNALS.get(name, "was ended by a signal")} ({name})'
    if returncode >= 0xC0000000:
        return f'{_WINDOWS.get(returncode, "ended with a Windows error")} (0x{returncode:08X})'
    return f'ended with exit code {returncode}'


def kill_tree(pid: int, since: float) -> None:
    """Kill what is left of a process started by `_start` at `since` and of its children, dead or alive itself."""
    if sys.platform != 'win32':
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        return
    import psutil  # noqa: PLC0415 - only Windows needs it here, and the supervisor stays small

    # A process keeps the number of its parent; a number may be used again, but not by an older process.
    processes = {p.pid: p for p in psutil.process_iter(['ppid', 'create_time']) if p.info['create_time'] >= since - 1}
    for number in descendants(pid, {p.pid: p.info['ppid'] for p in processes.values()}):
        with contextlib.suppress(psutil.Error):
            processes[number].kill()


def descendants(root: int, parents: Mapping[int, int]) -> list[int]:
    """Return every process below `root`, given the parent of each."""
    found = [root]
    for parent in found:
        found.extend(pid for pid, of in parents.items() if of == parent and pid not in found)
    return found[1:]


_SIGNALS = {
    'SIGSEGV': 'crashed with a memory access error',
    'SIGBUS': 'crashed with a memory access error',
    'SIGABRT': 'gave up after a failed check in a native library',
    'SIGKILL': 'was killed, most likely because memory ran out',
    'SIGILL': 'used an instruction this CPU lacks',
    'SIGFPE': 'crashed in a calculation',
    'SIGTERM': 'was ended by another program',
}
_WINDOWS = {
    0xC0000005: 'crashed with a memory access error',
    0xC0000017: 'ran out of memory',
    0xC000001D: 'used an instruction this CPU lacks',
    0xC00000FD: 'crashed with a stack overflow',
    0xC0000135: 'could not find a DLL it needs',
    0xC000013A: 'was ended by Ctrl+C',
    0xC0000374: 'crashed because its memory was damaged',
    0xC0000409: 'gave up after a failed check in a native library',
}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


def _stop_signals() -> list[signal.Signals]:
    if sys.platform == 'win32':
        return [signal.SIGINT, signal.SIGTERM, signal.SIGBREAK]
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # as under nohup
    return [signal.SIGINT, signal.SIGTERM] + ([] if ignored else [signal.SIGHUP])


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a child that no Ctrl+C reaches but ours; it leads a group of its own."""
    if sys.platform == 'win32':
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, creationflags=flags)
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the end; on Windows in steps, because there no signal handler runs during the wait."""
    while True:
        try:
            return child.wait(0.25 if sys.platform == 'win32' else None)
        except subprocess.TimeoutExpired:
            continue


def _interrupt_main_thread() -> None:
    if sys.platform == 'win32':
        signal.raise_signal(signal.SIGINT)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _end_own_tree(since: float) -> None:
    """Only a process that leads its group, as the supervisor starts it, may end the whole group."""
    if sys.platform == 'win32' or os.getpgrp() == os.getpid():
        kill_tree(os.getpid(), since)
    os._exit(1)


def _report(reason: str, restarts: int) -> str:
    now = datetime.now().astimezone().isoformat('T', 'seconds')
    return json.dumps(asdict(CrashReport(reason=reason, when=now, restarts=restarts)))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        sys.stderr.write(line + '\n')
        sys.stderr.flush()
