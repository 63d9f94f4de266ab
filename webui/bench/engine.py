"""The engine against the plain llama.cpp loop on the same library, model and settings."""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.baseline import Baseline
from inference.benchmark import Measurement, measure
from inference.catalog import Catalog, ModelFile, starter_model
from inference.chat import GenerationRequest, Message
from inference.errors import InvalidModelFile, ModelNotFound
from inference.llama import LlamaEngine
from inference.preflight import preflight
from inference.runner import default_threads
from inference.settings import LoadSettings, SamplingSettings
from webui.bench.options import numbers
from webui.bench.report import Cell, Report, Target

TALK = 'Write a very long story about the sea, with many chapters. Never stop.'
FILLER = 'The sailor looked at the waves and thought about the long way home, and the wind began to turn. '
WARM_UP = SamplingSettings(max_tokens=8, seed=1)
SEEDS = range(1, 9)
"""A reply that ends early is asked for again with the next of these; the prompt is in the cache by then."""
LEAST_RATIO = 0.97
MOST_EXTRA_MS = 0.5


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
    return asyncio.run(_compare(options))


async def _compare(options: argparse.Namespace) -> Report:
    model, settings = _find(options.model), LoadSettings(n_threads=options.threads)
    await preflight(model.path, settings, lambda share: None)
    works = {size: options.tokens for size in sorted({*options.prompts, *options.contexts})}
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
    if not catalog.models:
        raise InvalidModelFile(catalog.problems.get(path, f'{path} is not a model to chat with.'))
    return catalog.models[0]


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
    while words and await engine.count_tokens(_with_filler(words)) > wanted:
        del words[-max(1, len(words) // 50) :]
    return _with_filler(words)


def _with_filler(words: Sequence[str]) -> str:
    return f'{" ".join(words)} {TALK}'.strip()


async def _talk(engine: LlamaEngine, text: str, tokens: int) -> list[Measurement]:
    """Ask until a reply is as long as it was wanted; the first try is the one that reads the prompt."""
    tries: list[Measurement] = []
    for seed in SEEDS:
        tries.append(await measure(engine, _request(text, SamplingSettings(max_tokens=tokens, seed=seed))))
        if len(tries[-1].arrivals) == tokens:
            break
    return tries


def _request(text: str, sampling: SamplingSettings) -> GenerationRequest:
    return GenerationRequest(messages=(Message(role='user', content=text),), sampling=sampling)


def _measure_plain(
    path: Path, settings: LoadSettings, text: str, read: Measurement, talk: Measurement
) -> Measurement:
    baseline = Baseline(path, settings)
    try:
        baseline.measure(text, WARM_UP, prompt_tokens=read.prompt_tokens // 2, cached_tokens=0, count=8)
        return baseline.measure(
            text,
            SamplingSettings(seed=1),
            prompt_tokens=read.prompt_tokens,
            cached_tokens=read.cached_tokens,
            count=len(talk.arrivals),
        )
    finally:
        baseline.close()
