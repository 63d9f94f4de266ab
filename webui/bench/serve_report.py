"""What `bench serve` found: the table, the numbers and what they have to be."""

import argparse
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from webui.bench.contest import APP, RIVAL, Contest, Found
from webui.bench.report import Cell, Report, Target
from webui.bench.scenarios import Turn

FASTER, FASTER_IN_DEPTH, FASTER_TOGETHER, EVEN = 1.3, 2.0, 1.2, 0.8
MOST_TURN_COST, MORE_THAN_NEW = 1.2, 4
"""Times what the plain loop takes; tokens that may be computed besides the new ones, for the last of a reply is not."""
MOST_PAUSE, MOST_STOP, NOISE = 0.3, 0.05, 0.005
"""Seconds; steps beside a reply aim at less than the first, and the third is what the clock of a client is worth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One row: what each server did, and what the app has to reach against the other one."""

    key: str
    text: str
    values: dict[str, float]
    lower_is_better: bool = False
    wanted: float = 0.0

    @property
    def ratio(self) -> float | None:
        """How many times better the app is; None where there is nothing to compare with."""
        if RIVAL not in self.values:
            return None
        ours, theirs = self.values[APP], self.values[RIVAL]
        better, worse = (theirs, ours) if self.lower_is_better else (ours, theirs)
        return round(better / worse, 3) if worse else None


def report(options: argparse.Namespace, contest: Contest) -> Report:
    """Put everything together."""
    lines, found = list(_lines(options, contest.found)), contest.found[APP]
    return Report(
        name='serve',
        title=f'{contest.model.name}, replies of {options.tokens} tokens, median of {options.repeat}',
        columns=('', 'app', 'llama-server', 'times better'),
        rows=[_row(line) for line in lines],
        facts={
            'model': contest.model.id,
            'settings': contest.settings.model_dump(exclude_defaults=True),
            'tuning': contest.tuning.model_dump(mode='json') if contest.tuning else None,
            'compared': contest.program is not None,
            **{line.key: {**line.values, 'ratio': line.ratio} for line in lines},
            'costs': list(contest.costs),
        },
        targets=[*_comparisons(lines), *_own(found, contest.costs)],
        notes=list(_notes(options, contest, found)),
    )


def _lines(options: argparse.Namespace, found: dict[str, Found]) -> Iterator[Line]:
    def line(key: str, text: str, value: Callable[[Found], float], *, wanted: float = 0, lower: bool = False) -> Line:
        values = {name: round(value(one), 4) for name, one in found.items()}
        return Line(key=key, text=text, values=values, wanted=wanted, lower_is_better=lower)

    def talks(value: Callable[[Any], float]) -> Callable[[Found], float]:
        return lambda one: _median(value(talk) for talk in one.talks)

    depth = f'{options.context:,} tokens'
    yield line('alone', 'one reply (tok/s)', lambda one: _median(run.rate for run in one.alone), wanted=FASTER)
    yield line('deep', f'one reply after {depth} (tok/s)', talks(lambda talk: talk.first.rate), wanted=FASTER_IN_DEPTH)
    yield line('ttft', f'first token after {depth} (s)', talks(lambda talk: talk.first.ttft), lower=True)
    for number in options.streams:
        rate, evenness = partial(_rate, number), partial(_evenness, number)
        yield line(f'together_{number}', f'{number} replies at once (tok/s)', rate, wanted=FASTER_TOGETHER)
        yield line(f'evenness_{number}', f'{number} replies at once, slowest by fastest', evenness)
    yield line('second', 'second turn, first token (s)', talks(lambda talk: talk.second.ttft), lower=True)
    yield line('second_computed', 'second turn, tokens computed', talks(lambda talk: talk.second.computed), lower=True)
    later = f'after {options.others} other conversations'
    yield line('later', f'{later}, first token (s)', talks(lambda talk: talk.later.ttft), lower=True)
    yield line('later_computed', f'{later}, tokens computed', talks(lambda talk: talk.later.computed), lower=True)
    yield line('pause', 'pause while a long prompt is read (s)', lambda one: max(one.pauses), lower=True)
    yield line('stop_reply', 'stop in a reply (s)', lambda one: max(stop[0] for stop in one.stops), lower=True)
    yield line('stop_prompt', 'stop in a prompt (s)', lambda one: max(stop[1] for stop in one.stops), lower=True)


def _rate(number: int, found: Found) -> float:
    return _median(run.rate for run in found.together[number])


def _evenness(number: int, found: Found) -> float:
    return _median(run.evenness for run in found.together[number])


def _row(line: Line) -> list[Cell]:
    cells: list[Cell] = [line.text, line.values[APP]]
    return [*cells, line.values.get(RIVAL, 'not measured'), '' if line.ratio is None else line.ratio]


def _comparisons(lines: Sequence[Line]) -> Iterator[Target]:
    """Yield targets against the other server; without one, nothing was missed and nothing met."""
    for line in lines:
        if line.wanted and line.ratio is not None:
            yield Target(text=f'{line.text} >= {line.wanted:g} times', met=line.ratio >= line.wanted)


def _own(found: Found, costs: tuple[float, float]) -> Iterator[Target]:
    """Yield targets that need no other server."""
    for number in found.together:
        even = _evenness(number, found) >= EVEN
        yield Target(text=f'{number} replies are even (slowest >= {EVEN:.0%} of fastest)', met=even)
    seconds, laters = [talk.second for talk in found.talks], [talk.later for talk in found.talks]
    for name, turns, cost in (('second turn', seconds, costs[0]), ('after others', laters, costs[1])):
        yield Target(text=f'{name}: only new tokens are computed', met=all(map(_only_new, turns)))
        ttft = _median(turn.ttft for turn in turns)
        yield Target(text=f'{name}: first token <= {MOST_TURN_COST} times its cost', met=ttft <= MOST_TURN_COST * cost)
    yield Target(text=f'pause <= {MOST_PAUSE:g} s', met=max(found.pauses) <= MOST_PAUSE)
    in_reply, in_prompt, step = (max(values) for values in zip(*found.stops, strict=True))
    yield Target(text='stop in a reply within one token', met=in_reply <= step + NOISE)
    yield Target(text=f'stop in a prompt <= {MOST_STOP:g} s', met=in_prompt <= MOST_STOP + NOISE)


def _only_new(turn: Turn) -> bool:
    return turn.computed <= turn.new + MORE_THAN_NEW


def _notes(options: argparse.Namespace, contest: Contest, found: Found) -> Iterator[str]:
    if not contest.program:
        yield 'There is no llama-server here, so the comparisons are not measured. Name one with --llama-server.'
    shortest = min(run.tokens for one in contest.found.values() for run in one.alone)
    if shortest < options.tokens:
        yield f'A reply ended after {shortest} of {options.tokens} tokens; what came is what counts.'
    used = contest.settings.model_dump(exclude_defaults=True)
    yield f'The app loads with {used or "its defaults"}{"" if contest.tuning else ", nothing was tuned"}.'
    second, later = contest.costs
    yield f'Without a server, the new tokens of the second turn cost {second:.3f} s, after the others {later:.3f} s.'
    yield f'One token takes {1000 * found.stops[-1][2]:.1f} ms; a stop is timed by the wait of the next in the queue.'


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
