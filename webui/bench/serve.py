"""The app over HTTP against llama-server: one reader, several, a second turn, a stop."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from inference.catalog import starter_model
from webui.bench.contest import Contest
from webui.bench.options import find_model, numbers
from webui.bench.report import Report
from webui.bench.serve_report import report
from webui.config import AppConfig
from webui.launch import CannotLaunch

QUICK = {'tokens': 100, 'streams': (4,), 'long': 2048, 'repeat': 1}
QUICK_TUNE = 20.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    add = parser.add_argument
    add('--model', type=Path, default=starter_model(), help='model file')
    add('--llama-server', metavar='PROGRAM', help='what to compare with, the one on the PATH if not said')
    add('--load-settings', metavar='NAME=VALUE', help='how the app loads the model, such as "n_threads=2"')
    add('--tune', type=float, default=60, metavar='SECONDS', help='time to find the best settings first, 0 for none')
    add('--data-dir', metavar='FOLDER', help='where the app keeps what it measured before; then nothing is tuned')
    add('--tokens', type=int, default=200, help='tokens of each reply')
    add('--context', type=int, default=2048, help='tokens of the long conversation')
    add('--long', type=int, default=4096, help='tokens of the prompt that others have to bear')
    add('--streams', type=numbers, default='2,4,8', help='replies at once')
    add('--others', type=int, default=10, help='conversations that come between two turns')
    add('--repeat', type=int, default=3, help='runs of which the median counts; pause and stop are measured once')
    add('--quick', action='store_true', help='one run with small sizes, whatever the options above say')


def run(options: argparse.Namespace) -> Report:
    """Ask both servers the same in turns, because machines are noisy."""
    if options.quick:
        vars(options).update(QUICK, tune=min(options.tune, QUICK_TUNE))
    config = AppConfig.from_sources({'data_dir': options.data_dir, 'load_settings': options.load_settings})
    model, program = find_model(options.model), _program(options.llama_server)
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(options, model, config, Path(folder), program=program, say=_say)
        contest.run()
    return report(options, contest)


def _program(named: str | None) -> Path | None:
    """Return the llama-server to compare with; none is no error, a wrong one is."""
    found = shutil.which(named or 'llama-server')
    if named and not found:
        raise CannotLaunch(f'There is no program {named}. Name llama-server with --llama-server.')
    return Path(found) if found else None


def _say(line: str) -> None:
    sys.stderr.write(f'{line}\n')
