"""The engine against the plain llama.cpp loop on the same library, model and settings."""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.catalog import ModelFile, starter_model
from inference.library import default_threads
from inference.preflight import preflight
from inference.settings import LoadSettings
from webui.bench.engine_runs import QUARTERS, Pair, PythonCost, Rates, Runs, Stops
from webui.bench.options import find_model, numbers
from webui.bench.report import Cell, Report, Target

LEAST_RATIO, LEAST_BESIDE_PAGE = 0.97, 0.8
MOST_PYTHON_MS, MOST_GROWTH, MOST_STOP_MS = 0.15, 1.25, 50
QUICK = {'prompts': (512,), 'contexts': (64,), 'streams': (4,), 'long': 256, 'repeat': 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the runs brought, by the size of the prompt or the number of replies."""

    pairs: dict[int, list[Pair]]
    streams: dict[int, list[Rates]]
    page: list[Rates] = field(default_factory=list)
    stops: list[Stops] = field(default_factory=list)
    long: list[tuple[Pair, PythonCost]] = field(default_factory=list)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    add = parser.add_argument
    add('--model', type=Path, default=starter_model(), help='model file')
    add('--threads', type=int, default=default_threads(), help='threads that compute')
    add('--prompts', type=numbers, default='512,2048', help='prompt lengths to read, in tokens')
    add('--contexts', type=numbers, default='64,2048', help='context lengths to decode at, in tokens')
    add('--tokens', type=int, default=64, help='tokens to decode at each context')
    add('--streams', type=numbers, default='4,8', help='replies at once')
    add('--messages', type=int, default=1000, help='messages of the page that renders beside a reply')
    add('--long', type=int, default=1024, help='tokens of the reply whose first and last quarter are compared')
    add('--repeat', type=int, default=3, help='runs of which the median counts')
    add('--quick', action='store_true', help='one run with small sizes, whatever the options above say')


def run(options: argparse.Namespace) -> Report:
    """Measure in turns, because machines are noisy: engine, plain loop, engine, plain loop ..."""
    if options.quick:
        vars(options).update(QUICK)
    return asyncio.run(_compare(options))


async def _compare(options: argparse.Namespace) -> Report:
    model = find_model(options.model)
    n_ctx = max(8192, options.long + 256, *options.prompts, *options.contexts)
    settings = LoadSettings(n_threads=options.threads, n_ctx=n_ctx, draft='off')
    await preflight(model.path, settings, lambda share: None)
    runs, sizes = Runs(model, settings), sorted({*options.prompts, *options.contexts})
    found = Found(pairs={size: [] for size in sizes}, streams={count: [] for count in options.streams})
    for number in range(1, options.repeat + 1):
        for size in sizes:
            _say(f'Run {number} of {options.repeat}: prompt of {size:,} tokens, reply of {options.tokens:,}')
            found.pairs[size].append(await runs.pair(size, options.tokens))
        for count in options.streams:
            _say(f'Run {number} of {options.repeat}: {count} replies at once')
            found.streams[count].append(await runs.streams(count, options.tokens))
        _say(f'Run {number} of {options.repeat}: a page renders {options.messages:,} messages')
        found.page.append(await runs.page(options.messages, 3 * options.tokens))
        found.stops.append(await runs.stops(max(options.prompts)))
    _say(f'Reply of {options.long:,} tokens')
    found.long.append(await runs.long(min(sizes), options.long))
    return _report(options, model, found)


def _report(options: argparse.Namespace, model: ModelFile, found: Found) -> Report:
    prefill = [_prefill(size, found.pairs[size]) for size in options.prompts]
    decode = [_decode(size, found.pairs[size]) for size in options.contexts]
    streams = [_streams(count, found.streams[count]) for count in options.streams]
    page, flatness, python = _page(found.page), _flatness(found.long[0][0]), _python(found.long[0][1])
    long, stops = flatness['completion_tokens'], _stops(found.stops)
    return Report(
        name='engine',
        title=f'{model.name}, {options.threads} threads, median of {options.repeat}',
        columns=('', 'engine', 'plain loop', 'engine, own clock', 'ratio'),
        rows=[
            *(_row(f'prefill, {fact["prompt_tokens"]:,} tokens (tok/s)', fact) for fact in prefill),
            *(_row(f'decode, {fact["prompt_tokens"]:,} in context (tok/s)', fact) for fact in decode),
            *(_row(f'decode, {fact["streams"]} replies at once (tok/s)', fact) for fact in streams),
            *_quarters(f'of {long:,} (ms/token)', flatness['engine_ms'], flatness['plain_ms']),
            ['decode while a page renders, against alone (tok/s)', page['rendering'], '', '', page['ratio']],
            *_python_rows(python),
            ['stop while a prompt is read (ms)', stops['reading_ms'], '', '', ''],
            ['stop while a reply is written (ms)', stops['writing_ms'], '', '', ''],
        ],
        facts={
            'model': model.id,
            'threads': options.threads,
            'repeat': options.repeat,
            'prefill': prefill,
            'decode': decode,
            'streams': streams,
            'page': page,
            'flatness': flatness,
            'python': python,
            'stops': stops,
        },
        targets=[
            *_targets(prefill, decode, streams, page, python),
            Target(text=f'a stop in a prompt takes <= {MOST_STOP_MS} ms', met=stops['reading_ms'] <= MOST_STOP_MS),
        ],
        notes=[
            'The engine is measured where its tokens arrive: template, tokenizer, queue, thread and text included.',
            'Python is the CPU time of the engine thread outside of the library, and of the event loop.',
            *_shortfalls(options, decode, flatness),
        ],
    )


def _targets(
    prefill: list[dict[str, Any]],
    decode: list[dict[str, Any]],
    streams: list[dict[str, Any]],
    page: dict[str, Any],
    python: dict[str, Any],
) -> list[Target]:
    first, last = python['both_ms']
    return [
        *(
            Target(text=f'{name} ratio >= {LEAST_RATIO}', met=all(fact['ratio'] >= LEAST_RATIO for fact in facts))
            for name, facts in (('prefill', prefill), ('decode', decode), ('replies at once', streams))
        ),
        Target(text=f'beside a page decode keeps >= {LEAST_BESIDE_PAGE:.0%}', met=page['ratio'] >= LEAST_BESIDE_PAGE),
        Target(text=f'Python <= {MOST_PYTHON_MS} ms a token', met=max(first, last) <= MOST_PYTHON_MS),
        Target(text=f'Python grows <= {MOST_GROWTH} times', met=last <= MOST_GROWTH * first),
    ]


def _prefill(size: int, pairs: list[Pair]) -> dict[str, Any]:
    return {
        'size': size,
        'prompt_tokens': pairs[0].read.prompt_tokens,
        'cached_tokens': pairs[0].read.cached_tokens,
        'engine': _median(pair.read.prefill_rate for pair in pairs),
        'engine_clock': _median(
            (pair.read.prompt_tokens - pair.read.cached_tokens) / pair.read.timings.prefill for pair in pairs
        ),
        'plain': _median(pair.plain.prefill_rate for pair in pairs),
        'ratio': _median(pair.read.prefill_rate / pair.plain.prefill_rate for pair in pairs),
    }


def _decode(size: int, pairs: list[Pair]) -> dict[str, Any]:
    return {
        'size': size,
        'prompt_tokens': pairs[0].talk.prompt_tokens,
        'completion_tokens': min(len(pair.talk.arrivals) for pair in pairs),
        'engine': _median(pair.talk.decode_rate for pair in pairs),
        'engine_clock': _median((len(pair.talk.arrivals) - 1) / pair.talk.timings.decode for pair in pairs),
        'plain': _median(pair.plain.decode_rate for pair in pairs),
        'ratio': _median(pair.talk.decode_rate / pair.plain.decode_rate for pair in pairs),
    }


def _streams(count: int, rates: list[Rates]) -> dict[str, Any]:
    return {
        'streams': count,
        'engine': _median(one.engine for one in rates),
        'engine_clock': '',
        'plain': _median(one.other for one in rates),
        'ratio': _median(one.engine / one.other for one in rates),
    }


def _page(rates: list[Rates]) -> dict[str, Any]:
    return {
        'rendering': _median(one.engine for one in rates),
        'alone': _median(one.other for one in rates),
        'ratio': _median(one.engine / one.other for one in rates),
    }


def _stops(stops: list[Stops]) -> dict[str, Any]:
    """Return the longest milliseconds."""
    reading, writing = max(stop.reading for stop in stops), max(stop.writing for stop in stops)
    return {'reading_ms': round(1000 * reading, 2), 'writing_ms': round(1000 * writing, 2)}


def _flatness(pair: Pair) -> dict[str, Any]:
    """Return milliseconds a token in the first and the last quarter."""
    return {
        'completion_tokens': len(pair.talk.arrivals),
        'engine_ms': [round(pair.talk.milliseconds(*quarter), 4) for quarter in QUARTERS],
        'plain_ms': [round(pair.plain.milliseconds(*quarter), 4) for quarter in QUARTERS],
    }


def _python(cost: PythonCost) -> dict[str, Any]:
    """Return CPU milliseconds a token in the first and the last quarter."""
    parts = {'engine_ms': cost.engine, 'loop_ms': cost.loop, 'both_ms': cost.both}
    return {name: [round(value, 4) for value in part] for name, part in parts.items()}


def _quarters(what: str, engine: list[float], plain: list[float]) -> Iterable[list[Cell]]:
    for name, mine, theirs in zip(('first', 'last'), engine, plain, strict=True):
        yield [f'decode, {name} quarter {what}', mine, theirs, '', theirs / mine]


def _python_rows(python: dict[str, Any]) -> Iterable[list[Cell]]:
    for name, engine, loop, both in zip(('first', 'last'), *python.values(), strict=True):
        yield [f'Python, {name} quarter: engine {engine:.3f} + loop {loop:.3f} (ms/token)', both, '', '', '']


def _shortfalls(options: argparse.Namespace, decode: list[dict[str, Any]], flatness: dict[str, Any]) -> list[str]:
    """Say where the model ended its replies before they were as long as they should have been."""
    wanted = [(fact['completion_tokens'], options.tokens) for fact in decode]
    wanted.append((flatness['completion_tokens'], options.long))
    return [
        f'The model ended a reply after {came:,} of {tokens:,} tokens, with every seed; what came is what counts.'
        for came, tokens in wanted
        if came < tokens
    ]


def _row(name: str, fact: dict[str, Any]) -> list[Cell]:
    return [name, fact['engine'], fact['plain'], fact['engine_clock'], fact['ratio']]


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 4)


def _say(line: str) -> None:
    sys.stderr.write(f'{line}\n')
