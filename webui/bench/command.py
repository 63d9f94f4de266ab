"""`run.py bench NAME`: measures the app and prints a table, then one line of JSON."""

import argparse
import sys
from collections.abc import Sequence

from loguru import logger

from inference.errors import InferenceError
from presets.errors import StoreError
from webui.bench import crash, engine, fuzz, memory, page, serve, start, stream, tune
from webui.config import InvalidOption
from webui.launch import CannotLaunch

BENCHMARKS = {
    'tune': tune,
    'engine': engine,
    'serve': serve,
    'memory': memory,
    'stream': stream,
    'page': page,
    'start': start,
    'crash': crash,
    'fuzz': fuzz,
}
FAILED = 1


def main(argv: Sequence[str]) -> int:
    """Run the benchmark that `argv` names. A missed target is a result, not a failure."""
    options = _parser().parse_args(argv)
    logger.disable('inference')  # its lines for every load and reply would hide the progress
    try:
        report = BENCHMARKS[options.benchmark].run(options)
    except (InferenceError, StoreError, InvalidOption, CannotLaunch) as error:
        sys.stderr.write(f'{error}\n')
        return FAILED
    finally:
        logger.enable('inference')
    sys.stdout.write(f'{report.text()}\n{report.json()}\n')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='run.py bench', description=__doc__, allow_abbrev=False)
    names = parser.add_subparsers(dest='benchmark', metavar='NAME', required=True)
    for name, module in BENCHMARKS.items():
        summary = (module.__doc__ or '').partition('\n')[0]
        one = names.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        module.add_options(one)
    return parser
