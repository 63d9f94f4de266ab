"""Which settings make a model fast on this machine; the app loads it with them from then on."""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from inference.catalog import ModelFile, starter_model
from inference.drafting import MOST_DRAFT
from inference.settings import LoadSettings
from inference.tuner import measure, subject
from inference.tuning import KV_CACHE, NEW_TOKENS, REPLY_TOKENS, Candidate, Measurements, Run, Tuning, choose, is_out
from presets.storage import Writer
from presets.tunings import TuningStore
from webui.bench.options import find_model
from webui.bench.report import Cell, Report
from webui.config import AppConfig

NAMES = {
    'n_threads': 'threads',
    'n_threads_batch': 'threads for prompts',
    'flash_attn': 'flash attention',
    'n_ubatch': 'physical batch',
    'use_extra_bufts': 'repacked weights',
    'drafting': 'guessing ahead',
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    add = parser.add_argument
    add('--model', type=Path, default=starter_model(), help='model file')
    add('--seconds', type=float, default=60, help='time to measure; what it cuts off stays as it is')
    add('--load-settings', metavar='NAME=VALUE', help='how the model is loaded besides, such as "n_gpu_layers=20"')
    add('--data-dir', metavar='FOLDER', help='where the app keeps its settings, to remember the result for it')
    add('--no-save', action='store_true', help='only show the result')


def run(options: argparse.Namespace) -> Report:
    """Measure, choose and remember. Nothing else should be at work meanwhile, the app's own model included."""
    config = AppConfig.from_sources({'data_dir': options.data_dir, 'load_settings': options.load_settings})
    model, settings = find_model(options.model), LoadSettings.model_validate(config.load_settings)
    measured = asyncio.run(measure(model, settings, seconds=options.seconds, on_run=_say))
    tuning = choose(measured, datetime.now(UTC))
    if not options.no_save:
        config.data_dir.mkdir(parents=True, exist_ok=True)
        asyncio.run(save(config.tunings_file, model, tuning))
    return _report(model, measured, tuning, saved=not options.no_save)


async def save(path: Path, model: ModelFile, tuning: Tuning) -> None:
    """Remember a tuning in the file at `path`."""
    with closing(Writer()) as writer:
        await TuningStore.open(path, writer, _complain).put(subject(model), tuning)


def _report(model: ModelFile, measured: Measurements, tuning: Tuning, *, saved: bool) -> Report:
    return Report(
        name='tune',
        title=f'{model.name}, {measured.depth:,} tokens in the context, '
        f'a turn of {NEW_TOKENS} new tokens and a reply of {REPLY_TOKENS}',
        columns=('', 'runs', 'prefill (tok/s)', 'decode (tok/s)', 'turn (s)', 'gain', ''),
        rows=list(_rows(measured)),
        facts={
            'model': model.id,
            'default': measured.default.model_dump(),
            'depth': measured.depth,
            'tuning': tuning.model_dump(mode='json'),
            'runs': [run.model_dump(exclude_defaults=True) for run in measured.runs],
        },
        notes=[*measured.notes, *_notes(measured, tuning, saved=saved)],
    )


def _rows(measured: Measurements) -> Iterator[list[Cell]]:
    default = [run for run in measured.runs if run.candidate == measured.default]
    yield [f'as it is: {measured.default.n_threads} threads', *_medians(default), 1.0, '']
    for stage, candidate in measured.pairs():
        runs, others = measured.of(stage, candidate), measured.of(stage, measured.default)
        gain = _turn(others) / _turn(runs) if others else 0.0
        yield [_name(candidate, measured.default), *_medians(runs), gain, _remark(measured, stage, candidate)]


def _remark(measured: Measurements, stage: str, candidate: Candidate) -> str:
    if stage == KV_CACHE:
        return 'for you to choose'
    other_threads = candidate.n_threads != measured.default.n_threads
    return 'unsteady' if other_threads and is_out(measured, stage, candidate) else ''


def _medians(runs: Sequence[Run]) -> list[Cell]:
    rates = (statistics.median(run.prefill for run in runs), statistics.median(run.decode for run in runs))
    return [len(runs), *rates, _turn(runs)]


def _turn(runs: Sequence[Run]) -> float:
    return statistics.median(run.turn for run in runs)


def _name(candidate: Candidate, default: Candidate) -> str:
    """Name what a candidate changes."""
    changed = {name: value for name, value in candidate if value != getattr(default, name)}
    if 'kv_type' in changed:
        return f'KV cache {candidate.kv_type}, with flash attention'
    return ', '.join(f'{NAMES[name]} {str(value).lower()}' for name, value in changed.items())


def _notes(measured: Measurements, tuning: Tuning, *, saved: bool) -> Iterator[str]:
    if tuning.contended:
        yield 'The machine has other work, so thread counts were not judged. Measure again when it is idle.'
    changed = [
        f'{NAMES[name]} {str(getattr(tuning, name)).lower()}'
        for name, field in Tuning.model_fields.items()
        if name in NAMES and getattr(tuning, name) != field.default
    ]
    yield f'Chosen: {", ".join(changed) or "everything as it is"}; a turn is {tuning.gain:.2f} times as fast.'
    checks = [run.check * run.decode for run in measured.runs if run.check]
    yield f'Checking a draft of {MOST_DRAFT} tokens costs as much as {statistics.median(checks):.1f} tokens.'
    yield 'The app uses this from the next load of the model on.' if saved else 'Nothing was saved.'


def _say(run: Run) -> None:
    sys.stderr.write(f'{run.stage}: {run.prefill:,.0f} and {run.decode:,.1f} tok/s\n')


def _complain(problem: str) -> None:
    sys.stderr.write(f'{problem}\n')
