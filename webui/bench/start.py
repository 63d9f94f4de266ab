"""Time from the start of the process to the first page, and the memory it takes, without a model."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from webui.bench.report import Cell, Report, Target
from webui.launch import start_app

MOST_SECONDS = 3.0
MOST_MEGABYTES = 200.0
REST = 2.0
"""Seconds after the first page until the memory is read."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument('--repeat', type=int, default=3, help='starts of which the median counts')


def run(options: argparse.Namespace) -> Report:
    """Start the app again and again, each time with a new data folder."""
    starts = []
    for number in range(1, options.repeat + 1):
        sys.stderr.write(f'Start {number} of {options.repeat}\n')
        starts.append(_start())
    seconds, app, supervisor = (round(statistics.median(values), 3) for values in zip(*starts, strict=True))
    total = round(app + supervisor, 3)
    return Report(
        name='start',
        title=f'Start without a model, median of {options.repeat}',
        columns=('', 'first page (s)', 'app (MB)', 'supervisor (MB)', 'both (MB)'),
        rows=[
            *_rows(starts),
            ['median', seconds, app, supervisor, total],
        ],
        facts={
            'repeat': options.repeat,
            'first_page_seconds': seconds,
            'app_mb': app,
            'supervisor_mb': supervisor,
            'memory_mb': total,
        },
        notes=['Memory is the resident set (MB of 1,000,000 bytes); pages that both share count twice.'],
        targets=[
            Target(text=f'first page within {MOST_SECONDS:g} s', met=seconds <= MOST_SECONDS),
            Target(text=f'at most {MOST_MEGABYTES:g} MB together', met=total <= MOST_MEGABYTES),
        ],
    )


def _rows(starts: list[tuple[float, float, float]]) -> Iterator[list[Cell]]:
    for number, (seconds, app, supervisor) in enumerate(starts, 1):
        yield [f'start {number}', seconds, app, supervisor, app + supervisor]


def _start() -> tuple[float, float, float]:
    """Return the seconds to the first page, and the megabytes of app and supervisor some time after it."""
    with tempfile.TemporaryDirectory() as folder, start_app(Path(folder, 'data'), '--model', 'none') as app:
        time.sleep(REST)
        sizes = [process.memory_info().rss / 1e6 for process in (app.app_process(), app.supervisor)]
        return app.answered_after, sizes[0], sizes[1]
