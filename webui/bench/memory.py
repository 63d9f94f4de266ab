"""The memory a model will take, estimated from its header, against what llama.cpp then reports and the system gives."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.buffers import read_buffers
from inference.catalog import starter_model
from inference.dry_run import Task, ask
from inference.footprint import estimate
from inference.gguf import Header, read_header
from inference.settings import KVType, LoadSettings
from webui.bench.options import numbers
from webui.bench.report import Cell, Report, Target
from webui.bench.shapes import SHAPES, write_shape

MOST_ERROR = 5.0
SLACK = 1.0
"""MiB; a part this near is right, however small it is."""
N_SLOTS = 4
MIB = 1 << 20
PARTS = ('weights', 'kv_cache', 'compute')


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One load, in MiB: what was expected and found of each part, and how much the process grew."""

    model: str
    settings: LoadSettings
    expected: tuple[float, ...]
    found: tuple[float, ...]
    resident: float

    @property
    def errors(self) -> list[float]:
        """Percent that the expectation of each part, and at the end of all, is off."""
        pairs = [*zip(self.expected, self.found, strict=True), (sum(self.expected), sum(self.found))]
        return [100 * (expected / found - 1) if found else 0.0 for expected, found in pairs]

    @property
    def is_near(self) -> bool:
        """Whether all is within the target, very small parts aside."""
        gaps = [*(abs(one - other) for one, other in zip(self.expected, self.found, strict=True)), 2 * SLACK]
        return all(abs(off) <= MOST_ERROR or gap <= SLACK for off, gap in zip(self.errors, gaps, strict=True))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    names = [shape.name for shape in SHAPES]
    add = parser.add_argument
    add('--model', type=Path, default=starter_model(), help='model file that is measured beside the generated ones')
    add('--shapes', nargs='*', choices=names, default=names, metavar='SHAPE', help=f'some of {", ".join(names)}')
    add('--contexts', type=numbers, default='2048,8192', help='context lengths in tokens')


def run(options: argparse.Namespace) -> Report:
    """Load every model with every combination of settings, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        shapes = [shape for shape in SHAPES if shape.name in options.shapes]
        generated = [write_shape(Path(folder, f'{shape.name}.gguf'), shape) for shape in shapes]
        headers = [read_header(path) for path in [*filter(None, [options.model]), *generated]]
        loads = asyncio.run(_measure_all(headers, options.contexts))
    return _report(loads)


async def _measure_all(headers: Sequence[Header], contexts: Sequence[int]) -> list[Load]:
    loads = []
    for header in headers:
        combinations = list(_combinations(header, contexts))
        for number, settings in enumerate(combinations, 1):
            sys.stderr.write(f'{header.name}: load {number} of {len(combinations)}\n')
            loads.append(await _measure(header, settings))
    return loads


def _combinations(header: Header, contexts: Sequence[int]) -> Iterator[LoadSettings]:
    """Yield contexts, flash attention and KV types that the heads can have.

    The file is read, since a mapping has no size of its own.
    """
    types: Sequence[KVType] = ('f16', 'q8_0') if header.key_length % 32 == 0 else ('f16',)
    for n_ctx in contexts:
        yield LoadSettings(n_ctx=n_ctx, flash_attn='off', n_threads=1, load_mode='read')
        for kind in types:
            yield LoadSettings(n_ctx=n_ctx, flash_attn='on', type_k=kind, type_v=kind, n_threads=1, load_mode='read')


async def _measure(header: Header, settings: LoadSettings) -> Load:
    plan = estimate(header, settings, n_slots=N_SLOTS)
    answer = await ask(Task(path=header.path, settings=settings, n_slots=N_SLOTS, real=True))
    said = read_buffers(answer.lines, [])
    found = (said.weights.total(), said.kv_cache.total(), said.compute.total())
    return Load(
        model=header.name,
        settings=settings,
        expected=tuple(n_bytes / MIB for n_bytes in (plan.weights, plan.kv_cache, plan.compute)),
        found=tuple(n_bytes / MIB for n_bytes in found),
        resident=answer.grown / MIB,
    )


def _report(loads: Sequence[Load]) -> Report:
    worst = max((abs(load.errors[-1]) for load in loads), default=0.0)
    return Report(
        name='memory',
        title=f'Memory of {len(loads)} loads, {N_SLOTS} sequences each',
        columns=(
            '',
            'estimate (MiB)',
            'reported (MiB)',
            'error (%)',
            *(f'{part} (%)' for part in PARTS),
            'grown (MiB)',
        ),
        rows=[_row(load) for load in loads],
        facts={'n_slots': N_SLOTS, 'worst_error': round(worst, 2), 'loads': [_fact(load) for load in loads]},
        targets=[
            Target(text=f'every total within {MOST_ERROR:g} %', met=worst <= MOST_ERROR),
            Target(
                text=f'every part within {MOST_ERROR:g} % or {SLACK:g} MiB', met=all(load.is_near for load in loads)
            ),
        ],
        notes=[
            'Reported is what llama.cpp says of its buffers. Grown is the resident set of the process after one batch:',
            'it has the vocabulary, too, but not the memory for scores of cells that are still empty.',
        ],
    )


def _row(load: Load) -> list[Cell]:
    errors = [round(off, 2) for off in load.errors]
    return [_name(load), sum(load.expected), sum(load.found), errors[-1], *errors[:-1], load.resident]


def _name(load: Load) -> str:
    settings = load.settings
    return f'{load.model}, {settings.n_ctx:,} cells of {settings.type_k}, flash attention {settings.flash_attn}'


def _fact(load: Load) -> dict[str, Any]:
    settings = load.settings
    return {
        'model': load.model,
        'n_ctx': settings.n_ctx,
        'kv_type': settings.type_k,
        'flash_attn': settings.flash_attn,
        'expected_mib': dict(zip(PARTS, (round(part, 3) for part in load.expected), strict=True)),
        'reported_mib': dict(zip(PARTS, (round(part, 3) for part in load.found), strict=True)),
        'error_percent': round(load.errors[-1], 3),
        'grown_mib': round(load.resident, 1),
    }
