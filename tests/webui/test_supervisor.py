"""The supervisor with stand-ins for the app: real processes that end, crash, hang and start others.

Every stand-in inherits the standard output of its supervisor, so the end of that pipe proves that all of them are gone.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from webui.supervisor import CrashReport, descendants, describe_exit

PROJECT = Path(__file__).parents[2]

SUPERVISE = """
import os, sys
from pathlib import Path
from webui.supervisor import run
command = [sys.executable, '-c', sys.argv[1]]
sys.exit(run(command, environment=os.environ, log_file=Path('the.log'), grace=float(sys.argv[2])))
"""

CRASH_ONCE = """
import os, signal
report = os.environ.get('CHATBOT_CRASH')
print(report or 'first', flush=True)
if not report:
    os.kill(os.getpid(), signal.{signal})
"""

WITH_A_CHILD = """
import subprocess, sys, time
{before}
subprocess.Popen([sys.executable, '-c', 'print("ready", flush=True); import time; time.sleep(600)'])
time.sleep(600)
"""

Supervise = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def supervise() -> Iterator[Supervise]:
    started: list[subprocess.Popen[str]] = []

    def start(app: str, *, grace: float = 30) -> subprocess.Popen[str]:
        command = [sys.executable, '-c', SUPERVISE, app, str(grace)]
        process = subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding='utf-8'
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout
    assert process.stdout.readline().strip() == line


def test_an_app_that_ends_by_itself_ends_the_supervisor(supervise: Supervise) -> None:
    process = supervise('print("bye")')
    output, errors = process.communicate(timeout=20)

    assert (process.returncode, output.strip()) == (0, 'bye')
    assert errors == 'Chatbot WebUI has stopped.\n'


@pytest.mark.parametrize('name', ['SIGSEGV', 'SIGKILL', 'SIGABRT'])
def test_a_crashed_app_is_started_again_and_told_why(supervise: Supervise, name: str) -> None:
    process = supervise(CRASH_ONCE.format(signal=name))
    output, errors = process.communicate(timeout=20)
    first, second = output.splitlines()
    report = json.loads(second)

    assert process.returncode == 0
    assert first == 'first'
    assert report['reason'] == describe_exit(-signal.Signals[name])
    assert report['restarts'] == 1
    assert f'The app {report["reason"]}. Starting it again.' in errors


def test_an_app_that_keeps_crashing_is_given_up(supervise: Supervise) -> None:
    process = supervise('import os; print("started", flush=True); os._exit(7)')
    output, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert output.splitlines() == ['started'] * 3
    last = errors.splitlines()[-1]
    assert last == 'The app ended with exit code 7. It failed 3 times right after its start; see above and the.log.'


def test_a_startup_error_is_passed_on_without_another_try(supervise: Supervise) -> None:
    process = supervise('import sys; sys.exit(2)')
    _, errors = process.communicate(timeout=20)

    assert (process.returncode, errors) == (2, '')


@pytest.mark.parametrize('stop', ['SIGTERM', 'SIGINT', 'SIGHUP'])
def test_a_stop_signal_ends_the_app_and_the_processes_it_started(supervise: Supervise, stop: str) -> None:
    process = supervise(WITH_A_CHILD.format(before=''))
    wait_for_line(process, 'ready')
    process.send_signal(signal.Signals[stop])
    process.communicate(timeout=20)

    assert process.returncode == 0


def test_an_app_that_does_not_listen_is_killed_after_a_while(supervise: Supervise) -> None:
    deaf = 'import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)'
    process = supervise(WITH_A_CHILD.format(before=deaf), grace=0.2)
    wait_for_line(process, 'ready')
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)

    assert process.returncode == 0


def test_a_second_ctrl_c_does_not_wait(supervise: Supervise) -> None:
    heard = 'import signal; signal.signal(signal.SIGTERM, lambda *_: print("heard", flush=True))'
    process = supervise(WITH_A_CHILD.format(before=heard), grace=600)
    wait_for_line(process, 'ready')
    process.send_signal(signal.SIGINT)
    wait_for_line(process, 'heard')
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 0


def test_what_a_crashed_app_started_is_gone_before_it_starts_again(supervise: Supervise) -> None:
    process = supervise("""
import os, subprocess, sys
if 'CHATBOT_CRASH' not in os.environ:
    subprocess.Popen([sys.executable, '-c', 'print("ready", flush=True); import time; time.sleep(600)'],
                     stdin=subprocess.DEVNULL)
    input()  # the supervisor never writes: the test ends this process
""")
    wait_for_line(process, 'ready')
    app = next(child for child in psutil.Process(process.pid).children())
    app.send_signal(signal.SIGSEGV)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 0
    assert 'memory access error' in errors


@pytest.mark.parametrize(
    ('before', 'said'),
    [
        ('', ['interrupted']),
        ('signal.signal(signal.SIGINT, signal.SIG_IGN)', []),
    ],
    ids=['that listens', 'that does not listen'],
)
def test_an_app_ends_when_the_supervisor_is_killed(supervise: Supervise, before: str, said: list[str]) -> None:
    process = supervise(f"""
import signal, subprocess, sys, time
from webui.supervisor import exit_with_parent
{before}
exit_with_parent(grace=0.2)
subprocess.Popen([sys.executable, '-c', 'print("ready", flush=True); import time; time.sleep(600)'])
try:
    time.sleep(600)
except KeyboardInterrupt:
    print('interrupted', flush=True)
""")
    wait_for_line(process, 'ready')
    process.kill()
    output, _ = process.communicate(timeout=20)

    assert output.splitlines() == said


def test_the_crash_report_is_taken_once() -> None:
    environment = {'CHATBOT_CRASH': '{"reason": "fell over", "when": "2026-01-02T03:04:05+00:00", "restarts": 2}'}

    expected = CrashReport(reason='fell over', when='2026-01-02T03:04:05+00:00', restarts=2)
    assert CrashReport.take(environment) == expected
    assert CrashReport.take(environment) is None


@pytest.mark.parametrize(
    ('code', 'words'),
    [
        (-11, 'crashed with a memory access error (SIGSEGV)'),
        (-6, 'gave up after a failed check in a native library (SIGABRT)'),
        (-9, 'was killed, most likely because memory ran out (SIGKILL)'),
        (-4, 'used an instruction this CPU lacks (SIGILL)'),
        (-200, 'was ended by a signal (signal 200)'),
        (0xC0000005, 'crashed with a memory access error (0xC0000005)'),
        (0xC000001D, 'used an instruction this CPU lacks (0xC000001D)'),
        (0xC0000409, 'gave up after a failed check in a native library (0xC0000409)'),
        (0xC0000022, 'ended with a Windows error (0xC0000022)'),
        (3, 'ended with exit code 3'),
    ],
)
def test_an_exit_is_described_in_plain_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_the_tree_below_a_process_is_found_even_when_the_process_itself_is_gone() -> None:
    parents = {11: 10, 12: 11, 13: 10, 20: 1, 21: 20, 1: 0}

    assert sorted(descendants(10, parents)) == [11, 12, 13]
    assert descendants(12, parents) == []


def test_a_process_that_is_its_own_parent_is_no_trap() -> None:
    assert descendants(0, {0: 0, 4: 0}) == [4]
