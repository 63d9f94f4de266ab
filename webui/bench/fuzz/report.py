"""Puts what the parts found into one report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from webui.bench.fuzz.findings import Problem
from webui.bench.fuzz.headers import Headers
from webui.bench.fuzz.loads import FLAT, Trend
from webui.bench.fuzz.requests import Asked
from webui.bench.fuzz.server import Served
from webui.bench.fuzz.templates import Templates
from webui.bench.report import Cell, Report, Target

MOST_SECONDS, MOST_BYTES = 2.0, 256 << 20
"""How long reading one header may take, and by how much a process may grow that reads hundreds of them."""
TEMPLATE_SECONDS, TEMPLATE_BYTES = 15.0, 1 << 30
"""What a hostile template may take, which is rendered a dozen times; it has two seconds and 256 MiB for each."""
SPARE_BYTES = 32 << 20
"""By how much a process may grow while it answers requests, some of which have half a million characters."""
SHOWN = 20
NO_PROBLEM = 'no crash, no hang, no end but those that are meant'


@dataclass(kw_only=True, slots=True)
class Section:
    """One part's share of the report."""

    rows: list[list[Cell]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: Sequence[Problem] = ()


def put_together(seed: int, sections: Mapping[str, Section], seconds: float) -> Report:
    """Return the report of all parts; the first problems are named, each with its file."""
    problems = [problem for section in sections.values() for problem in section.problems]
    return Report(
        name='fuzz',
        title=f'Fuzzing with seed {seed}, {seconds:.0f} s',
        columns=('', 'result'),
        rows=[row for section in sections.values() for row in section.rows],
        facts={'seed': seed, 'seconds': round(seconds, 1), 'problems': len(problems)}
        | {name: section.facts for name, section in sections.items()},
        notes=[
            *(note for section in sections.values() for note in section.notes),
            *(f'PROBLEM {problem.line()}' for problem in problems[:SHOWN]),
        ],
        targets=[
            *(Target(text=f'{name}: {NO_PROBLEM}', met=not section.problems) for name, section in sections.items()),
            *(target for section in sections.values() for target in section.targets),
        ],
    )


def headers_section(headers: Headers) -> Section:
    """Count verdicts of our reader and outcomes of the trials."""
    crashes = {kind: len(cases) for kind, cases in headers.crashes.items()}
    return Section(
        rows=[
            *_counted('header', headers.verdicts),
            *_counted('trial', headers.outcomes),
            ['header, slowest (s)', round(headers.slowest, 3)],
            ['header, growth of the process (MiB)', headers.growth >> 20],
        ],
        facts={
            'verdicts': headers.verdicts,
            'outcomes': headers.outcomes,
            'crashes': crashes,
            'confirmed': headers.confirmed,
            'slowest_seconds': round(headers.slowest, 4),
            'growth_bytes': headers.growth,
        },
        targets=[
            Target(
                text=f'headers: each read in {MOST_SECONDS:g} s and {MOST_BYTES >> 20} MiB',
                met=headers.slowest <= MOST_SECONDS and headers.growth <= MOST_BYTES,
            )
        ],
        notes=[
            f'In a child crashed, and is no problem: {len(cases)} x {kind}, such as case {cases[0]}'
            for kind, cases in headers.crashes.items()
        ],
        problems=headers.problems,
    )


def templates_section(templates: Templates) -> Section:
    """Count what became of hostile templates."""
    return Section(
        rows=[
            *_counted('template', templates.ends),
            ['template, slowest (s)', round(templates.slowest, 3)],
            ['templates, growth of the process (MiB)', templates.growth >> 20],
        ],
        facts={
            'ends': templates.ends,
            'slowest_seconds': round(templates.slowest, 3),
            'growth_bytes': templates.growth,
        },
        targets=[
            Target(
                text=f'templates: each rendered in {TEMPLATE_SECONDS:g} s and {TEMPLATE_BYTES >> 20:,} MiB',
                met=templates.slowest <= TEMPLATE_SECONDS and templates.growth <= TEMPLATE_BYTES,
            )
        ],
        problems=templates.problems,
    )


def requests_section(asked: Asked) -> Section:
    """Count the ends of replies."""
    return Section(
        rows=[
            *_counted('request', asked.ends),
            ['request, slowest (s)', round(asked.slowest, 3)],
            ['requests, growth of the process (MiB)', asked.growth >> 20],
        ],
        facts={'ends': asked.ends, 'growth_bytes': asked.growth, 'slowest_seconds': round(asked.slowest, 3)},
        targets=[_no_growth('requests', asked.growth)],
        problems=asked.problems,
    )


def bodies_section(served: Served) -> Section:
    """Count the answers of the app."""
    return Section(
        rows=[
            *_counted('HTTP', served.answers),
            ['HTTP, slowest (s)', round(served.slowest, 3)],
            ['HTTP, growth of the app (MiB)', served.growth >> 20],
        ],
        facts={'answers': served.answers, 'growth_bytes': served.growth, 'slowest_seconds': round(served.slowest, 3)},
        targets=[_no_growth('bodies', served.growth)],
        problems=served.problems,
    )


def loads_section(trends: Mapping[str, Trend], problems: Sequence[Problem]) -> Section:
    """Compare what the process held early and late."""
    return Section(
        rows=[
            [f'{trend.count:,} {name}: {what}', f'{early} → {late}']
            for name, trend in trends.items()
            for what, early, late in (
                ('MiB', f'{trend.early.rss / 2**20:.1f}', f'{trend.late.rss / 2**20:.1f}'),
                ('threads, files', *(f'{now.threads}, {now.files}' for now in (trend.early, trend.late))),
            )
        ],
        facts={
            name: {
                'count': trend.count,
                'rss_early': trend.early.rss,
                'rss_late': trend.late.rss,
                'threads': [trend.early.threads, trend.late.threads],
                'files': [trend.early.files, trend.late.files],
            }
            for name, trend in trends.items()
        },
        targets=[
            Target(text=f'{name}: memory, threads and files flat', met=trend.is_flat) for name, trend in trends.items()
        ],
        notes=[f'Flat: {FLAT}; threads and open files at most 1 more.'],
        problems=problems,
    )


def _no_growth(name: str, growth: int) -> Target:
    return Target(text=f'{name}: at most {SPARE_BYTES >> 20} MiB more after the first third', met=growth <= SPARE_BYTES)


def _counted(name: str, counts: Mapping[str, int]) -> list[list[Cell]]:
    return [[f'{name}: {what}', count] for what, count in sorted(counts.items(), key=lambda item: -item[1])]
