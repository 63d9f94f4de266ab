"""Damaged model files, random requests and thousands of loads under a seed: no crash, no hang, no leak."""

import argparse
import tempfile
import time
from pathlib import Path

from webui.bench.fuzz import headers, loads, report, requests, server, templates
from webui.bench.fuzz.findings import Plan, Problem, say
from webui.bench.fuzz.report import Section
from webui.bench.fuzz.requests import Asked
from webui.bench.fuzz.worker import Died, Worker
from webui.bench.report import Report

PATIENCE = 3600.0
"""Seconds until a part counts as hung; within it, each case has a limit of its own."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark; `--first N` with a count of 1 does case N again."""
    add = parser.add_argument
    add('--seed', type=int, default=1, help='what all cases are made from')
    add('--first', type=int, default=0, help='number of the first case of each kind')
    add('--headers', type=int, default=10_000, help='damaged model files that are read')
    add('--trials', type=int, default=1_500, help='of those that pass, how many are loaded in a child process')
    add('--templates', type=int, default=400, help='hostile chat templates that are rendered')
    add('--requests', type=int, default=1_000, help='random requests to engines')
    add('--bodies', type=int, default=1_000, help='random HTTP requests to the app')
    add('--loads', type=int, default=1_000, help='loads of a tiny model; twice as many short requests follow')
    add('--keep', type=Path, default=Path('test-results', 'fuzz'), help='folder for the cases that fail')


def run(options: argparse.Namespace) -> Report:
    """Do every part whose count is not 0; what can crash does so in a child process."""
    started = time.monotonic()
    options.keep.mkdir(parents=True, exist_ok=True)
    sections: dict[str, Section] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:

        def plan(count: int) -> Plan:
            return Plan(seed=options.seed, first=options.first, count=count, folder=Path(folder), keep=options.keep)

        if options.headers:
            sections['headers'] = report.headers_section(headers.run(plan(options.headers), options.trials))
        if options.templates:
            sections['templates'] = report.templates_section(templates.run(plan(options.templates)))
        if options.requests:
            sections['requests'] = report.requests_section(_ask(plan(options.requests)))
        if options.bodies:
            sections['bodies'] = report.bodies_section(server.run(plan(options.bodies)))
        if options.loads:
            sections['loads'] = _load(plan(options.loads))
    return report.put_together(options.seed, sections, time.monotonic() - started)


def _ask(plan: Plan) -> Asked:
    say(f'Requests: {plan.count:,} are asked')
    with Worker(requests.run, plan.folder / 'requests.log') as worker:
        try:
            return worker(plan, PATIENCE)
        except Died as death:
            return Asked(problems=requests.problems_at_death(plan, f'the process died: {death}'))


def _load(plan: Plan) -> Section:
    say(f'Loads: {plan.count:,} of them, then {2 * plan.count:,} short requests')
    with Worker(loads.run, plan.folder / 'loads.log') as worker:
        try:
            loaded, asked = worker(plan, PATIENCE)
        except Died as death:
            return report.loads_section({}, [Problem(part='load', case=-1, what=f'the process died: {death}')])
    return report.loads_section({'loads': loaded, 'short requests': asked}, [])
