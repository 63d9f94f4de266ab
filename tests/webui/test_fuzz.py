"""The fuzzing benchmark in a small size: nothing crashes, hangs or leaks, and what does would be found."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.webui.test_bench import bench
from webui.bench.fuzz.findings import Plan, Problem, Resources
from webui.bench.fuzz.loads import Trend
from webui.bench.fuzz.report import put_together, requests_section
from webui.bench.fuzz.requests import Asked, problems_at_death
from webui.bench.fuzz.worker import Died, Worker

NOTHING = {'headers': 0, 'templates': 0, 'requests': 0, 'bodies': 0, 'loads': 0}


def fuzz(capsys: pytest.CaptureFixture[str], folder: Path, **counts: int) -> dict[str, Any]:
    options = [f'--{name}={count}' for name, count in (NOTHING | counts).items()]
    table, facts = bench(capsys, 'fuzz', '--keep', str(folder / 'kept'), *options)
    assert [line for line in table if line.startswith(('PROBLEM', 'MISSED'))] == []
    assert facts['problems'] == 0
    return facts


def test_damaged_headers_are_answered_and_tried_in_a_child(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = fuzz(capsys, tmp_path, headers=300, trials=12)

    assert sum(facts['headers']['verdicts'].values()) == 300
    assert facts['headers']['verdicts']['accepted'] > 80
    assert sum(facts['headers']['outcomes'].values()) == 12


def test_hostile_templates_stay_within_bounds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = fuzz(capsys, tmp_path, templates=40)

    assert sum(facts['templates']['ends'].values()) == 40
    assert {'used', 'replaced'} <= set(facts['templates']['ends'])


def test_every_random_request_ends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = fuzz(capsys, tmp_path, requests=120)

    ends = facts['requests']['ends']
    assert sum(ends.values()) == 120
    assert {'length', 'refused', 'cancelled'} <= set(ends)


def test_every_random_http_request_is_answered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = fuzz(capsys, tmp_path, bodies=80)

    answers = facts['bodies']['answers']
    assert sum(answers.values()) == 80
    assert {'200', '400', '422'} <= set(answers)


def test_loads_leave_nothing_behind(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = fuzz(capsys, tmp_path, loads=30)

    assert facts['loads']['loads']['count'] == 30
    assert facts['loads']['short requests']['count'] == 60


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no signals to die of')
def test_a_crash_in_the_child_is_told_and_the_next_call_works(tmp_path: Path) -> None:
    with Worker(signal.raise_signal, tmp_path / 'log') as worker:
        with pytest.raises(Died, match='signal SIGABRT'):
            worker(signal.SIGABRT, 20)
        assert worker(0, 20) is None
        assert worker.started == 2


def test_a_hang_and_an_error_in_the_child_are_told(tmp_path: Path) -> None:
    with Worker(time.sleep, tmp_path / 'log') as worker, pytest.raises(Died, match='hang'):
        worker(60, 0.1)
    with Worker(json.loads, tmp_path / 'log') as worker:
        with pytest.raises(Died, match='JSONDecodeError'):
            worker('{', 20)
        assert worker('[1]', 20) == [1]
        assert worker.started == 1


def test_cases_that_ran_when_the_engine_died_are_written_down(tmp_path: Path) -> None:
    plan = Plan(seed=1, first=0, count=9, folder=tmp_path, keep=tmp_path)
    (tmp_path / 'running.json').write_text('[3, 4]')

    problems = problems_at_death(plan, 'the process died: signal SIGSEGV')

    assert [problem.case for problem in problems] == [3, 4]
    assert problems[0].file
    kept = json.loads(problems[0].file.read_text())
    assert (kept['case'], kept['what']) == (3, 'the process died: signal SIGSEGV')
    assert 'temperature' in kept['request']['sampling']


def test_a_problem_is_named_with_its_file_and_misses_the_target(tmp_path: Path) -> None:
    problem = Problem(part='request', case=7, what='hang', file=tmp_path / 'request-7.json')
    sections = {'requests': requests_section(Asked(problems=[problem], growth=1 << 30))}

    text = put_together(3, sections, 1.0).text()

    assert f'PROBLEM request 7: hang ({tmp_path / "request-7.json"})' in text
    assert 'MISSED  requests: no crash' in text
    assert 'MISSED  requests: at most 32 MiB' in text


def test_what_grows_all_the_time_is_not_flat() -> None:
    def held(rss: int) -> Resources:
        return Resources(rss=rss, threads=5, files=9)

    assert Trend.of([held(100 << 20)] * 400).is_flat
    assert not Trend.of([held((100 << 20) + (number << 16)) for number in range(400)]).is_flat
    assert not Trend.of([Resources(rss=1 << 20, threads=number, files=9) for number in range(400)]).is_flat
