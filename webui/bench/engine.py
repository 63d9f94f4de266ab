"""The engine against the plain llama.cpp loop on the same library, model and settings."""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from inference.baseline import Baseline
from inference.benchmark import Measurement, measure
from inference.catalog import Catalog, ModelFile, starter_model
from inference.chat import GenerationRequest, Message
from inference.errors import InvalidModelFile, ModelNotFound
from inference.library import default_threads
from inference.llama import LlamaEngine
from inference.preflight import preflight
from inference.settings import LoadSettings, SamplingSettings
from webui.bench.options import numbers
from webui.bench.report import Cell, Report, Target

TALK = 'Write a very long story about the sea, with many chapters. Never stop.'
FILLER = 'The sailor looked at the waves and thought about the long way home, and the wind began to turn. '
WARM_UP = SamplingSettings(max_tokens=8, seed=1, repeat_penalty=1)
SEEDS = range(1, 9)
"""A reply that ends early is asked for again with the next of these; the prompt is in the cache by then."""
LEAST_RATIO = 0.97


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The same work, done by the engine and right after it by the plain loop; `talk` has most of the reply."""

    read: Measurement
    talk: Measurement
    plain: Measurement


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    add = parser.add_argument
    add('--model', type=Path, default=starter_model(), help='model file')
    add('--threads', type=int, default=default_threads(), help='threads that compute')
    add('--prompts', type=numbers, default='512,2048', help='prompt lengths to read, in tokens')
    add('--contexts', type=numbers, default='64,2048', help='context lengths to decode at, in tokens')
    add('--tokens', type=int, default=64, help='tokens to decode at each context')
    add('--long', type=int, default=1024, help='tokens of the reply whose first and last quarter are compared')
    add('--repeat', type=int, default=3, help='runs of which the median counts')


def run(options: argparse.Namespace) -> Report:
    """Measure in turns, because machines are noisy: engine, plain loop, engine, plain loop ..."""
    logger.disable('inference')  # a line for each reply would hide the progress
    try:
        return asyncio.run(_compare(options))
    finally:
        logger.enable('inference')


async def _compare(options: argparse.Namespace) -> Report:
    model, settings = _find(options.model), LoadSettings(n_threads=options.threads)
    await preflight(model.path, settings, lambda share: None)
    works = dict.fromkeys(sorted({*options.prompts, *options.contexts}), options.tokens)
    pairs: dict[int, list[Pair]] = {size: [] for size in works}
    long: list[Pair] = []
    for number in range(1, options.repeat + 1):
        for size, tokens in works.items():
            _say(f'Run {number} of {options.repeat}: prompt of {size:,} tokens, reply of {tokens:,}')
            pairs[size].append(await _pair(model, settings, size, tokens))
        _say(f'Run {number} of {options.repeat}: reply of {options.long:,} tokens')
        long.append(await _pair(model, settings, min(works), options.long))
    return _report(options, model, pairs, long)


def _find(path: Path | None) -> ModelFile:
    if path is None:
        raise ModelNotFound('The starter model is not installed. Name a model file with --model.')
    if not path.is_file():
        raise ModelNotFound(f'There is no file {path}. Name a model file with --model.')
    catalog = Catalog([], [path])
    catalog.scan()
    if not catalog.chat_models:
        raise InvalidModelFile(catalog.problems.get(path, f'{path} is not a model to chat with.'))
    return catalog.chat_models[0]


async def _pair(model: ModelFile, settings: LoadSettings, size: int, tokens: int) -> Pair:
    """Load, warm up and measure one after the other, so that only one of the two is ever in memory."""
    engine = await LlamaEngine.load(model, settings)
    try:
        text = await _prompt(engine, size)
        tries = await _talk(engine, text, tokens)
    finally:
        await engine.close()
    read, talk = tries[0], max(tries, key=lambda one: len(one.arrivals))
    # A thread of its own, as the engine has one: its helpers of OpenMP end with it.
    with ThreadPoolExecutor(max_workers=1) as thread:
        loop = asyncio.get_running_loop()
        plain = await loop.run_in_executor(thread, _measure_plain, model.path, settings, text, read, talk)
    return Pair(read=read, talk=talk, plain=plain)


async def _prompt(engine: LlamaEngine, size: int) -> str:
    """Return a message that makes a prompt of about `size` tokens with the model's template; warms up, too."""
    warm_up = await measure(engine, _request('Hello', WARM_UP))
    wanted = size - warm_up.prompt_tokens + await engine.count_tokens('Hello')
    words = (FILLER * (size // 16 + 1)).split()
    while words and (excess := await engine.count_tokens(_with_filler(words)) - wanted) > 0:
        del words[-max(1, excess // 16) :]  # no word has more tokens than that
    return _with_filler(words)


def _with_filler(words: Sequence[str]) -> str:
    return f'{" ".join(words)} {TALK}'.strip()


async def _talk(engine: LlamaEngine, text: str, tokens: int) -> list[Measurement]:
    """Ask until a reply is as long as it was wanted; the first try is the one that reads the prompt."""
    tries: list[Measurement] = []
    for seed in SEEDS:
        tries.append(
            await measure(engine, _request(text, SamplingSettings(max_tokens=tokens, seed=seed, repeat_penalty=1)))
        )
        if len(tries[-1].arrivals) == tokens:
            break
    return tries


def _request(text: str, sampling: SamplingSettings) -> GenerationRequest:
    return GenerationRequest(messages=(Message(role='user', content=text),), sampling=sampling)


def _measure_plain(path: Path, settings: LoadSettings, text: str, read: Measurement, talk: Measurement) -> Measurement:
    baseline = Baseline(path, settings)
    try:
        baseline.measure(text, WARM_UP, prompt_tokens=32, cached_tokens=0, count=8)
        return baseline.measure(
            text,
            SamplingSettings(seed=1, repeat_penalty=1),
            prompt_tokens=read.prompt_tokens,
            cached_tokens=read.cached_tokens,
            count=len(talk.arrivals),
        )
    finally:
        baseline.close()


def _report(options: argparse.Namespace, model: ModelFile, pairs: dict[int, list[Pair]], long: list[Pair]) -> Report:
    prefill = [_prefill(size, pairs[size]) for size in options.prompts]
    decode = [_decode(size, pairs[size]) for size in options.contexts]
    flatness = _flatness(long)
    rows: list[list[Cell]] = [
        *(_row(f'prefill, {fact["prompt_tokens"]:,} tokens (tok/s)', fact) for fact in prefill),
        *(_row(f'decode, {fact["prompt_tokens"]:,} in context (tok/s)', fact) for fact in decode),
        *([f'decode, {name} quarter of {flatness["completion_tokens"]:,} (ms/token)', engine, plain, '', plain / engine]
          for name, engine, plain in zip(('first', 'last'), flatness['engine_ms'], flatness['plain_ms'], strict=True)),
    ]  # fmt: skip
    first, last = flatness['extra_ms']
    return Report(
        name='engine',
        title=f'{model.name}, {options.threads} threads, median of {options.repeat}',
        columns=('', 'engine', 'plain loop', 'engine, own clock', 'ratio'),
        rows=rows,
        facts={
            'model': model.id,
            'threads': options.threads,
            'repeat': options.repeat,
            'prefill': prefill,
            'decode': decode,
            'flatness': flatness,
        },
        targets=[
            Target(text=f'{name} ratio >= {LEAST_RATIO}', met=all(fact['ratio'] >= LEAST_RATIO for fact in facts))
            for name, facts in (('prefill', prefill), ('decode', decode))
        ],
        notes=[
            'The engine is measured where its tokens arrive: template, tokenizer, queue, thread and text included.',
            f'It adds {first:.3f} ms a token in the first quarter of the long reply and {last:.3f} ms in the last.',
            *_shortfalls(options, decode, flatness),
        ],
    )


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


def _flatness(pairs: list[Pair]) -> dict[str, Any]:
    """Return milliseconds a token in the first and the last quarter; `extra_ms` is the engine's minus the loop's."""
    quarters = ((0, 0.25), (0.75, 1))
    return {
        'completion_tokens': min(len(pair.talk.arrivals) for pair in pairs),
        'engine_ms': [_median(pair.talk.milliseconds(*quarter) for pair in pairs) for quarter in quarters],
        'plain_ms': [_median(pair.plain.milliseconds(*quarter) for pair in pairs) for quarter in quarters],
        'extra_ms': [
            _median(pair.talk.milliseconds(*quarter) - pair.plain.milliseconds(*quarter) for pair in pairs)
            for quarter in quarters
        ],
    }


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
