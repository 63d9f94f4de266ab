"""A tiny model loaded and unloaded again and again, and one asked again and again: nothing may be left behind."""

import asyncio
import gc
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from loguru import logger

from inference.catalog import ModelFile
from inference.chat import Finished, GenerationRequest, Message
from inference.engine import Engine
from inference.settings import LoadSettings, SamplingSettings
from webui.bench.fuzz.findings import Plan, Resources
from webui.bench.fuzz.requests import tiny_model

SETTINGS = LoadSettings(n_ctx=512, n_threads=1, cache_ram=1, use_extra_bufts=False)
WINDOW = 100
"""Samples of which the median counts; the first window is left out, because caches fill there."""
MOST_GROWTH, SPARE_BYTES, SPARE_THREADS, SPARE_FILES = 1.02, 4 << 20, 1, 1
FLAT = f'median of the last {WINDOW} <= {MOST_GROWTH} x that of {WINDOW} to {2 * WINDOW} + {SPARE_BYTES >> 20} MiB'


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """Medians of what the process held, early and at the end."""

    count: int
    early: Resources
    late: Resources

    @classmethod
    def of(cls, samples: Sequence[Resources]) -> 'Trend':
        """Compare the second window with the last; of too few samples the thirds."""
        window = min(WINDOW, max(1, len(samples) // 3))
        return cls(count=len(samples), early=_median(samples[window : 2 * window]), late=_median(samples[-window:]))

    @property
    def is_flat(self) -> bool:
        """Whether nothing grew more than by chance."""
        early, late = self.early, self.late
        return (
            late.rss <= early.rss * MOST_GROWTH + SPARE_BYTES
            and late.threads <= early.threads + SPARE_THREADS
            and late.files <= early.files + SPARE_FILES
        )


def run(plan: Plan) -> tuple[Trend, Trend]:
    """Load `count` times, then ask one engine twice as often; made for a child process."""
    logger.remove()
    return asyncio.run(_run(plan))


async def _run(plan: Plan) -> tuple[Trend, Trend]:
    from inference.llama import LlamaEngine  # noqa: PLC0415 (the parent must not load the library)

    model = tiny_model('llama', plan.folder)
    loads = await _repeat(plan.count, lambda number: _load_once(model, number))
    engine = await LlamaEngine.load(model, SETTINGS)
    asks = await _repeat(2 * plan.count, lambda number: _ask(engine, number))
    await engine.close()
    return loads, asks


async def _repeat(count: int, work: Callable[[int], Awaitable[None]]) -> Trend:
    process, samples = psutil.Process(), []
    gc.collect()
    for number in range(count):
        await work(number)
        samples.append(Resources.of(process))
    return Trend.of(samples)


async def _load_once(model: ModelFile, number: int) -> None:
    from inference.llama import LlamaEngine  # noqa: PLC0415

    engine = await LlamaEngine.load(model, SETTINGS)
    try:
        await _ask(engine, number)
    finally:
        await engine.close()


async def _ask(engine: Engine, number: int) -> None:
    """Take turns with what a sampler chain can be made of, so that each kind of sampler is made and freed often."""
    sampling = SamplingSettings.model_validate({'max_tokens': 4, 'seed': number, **_KINDS[number % len(_KINDS)]})
    request = GenerationRequest(messages=(Message(role='user', content=f'hello {number}'),), sampling=sampling)
    end = [event async for event in engine.generate(request)][-1]
    assert isinstance(end, Finished)


_KINDS: tuple[dict[str, Any], ...] = (
    {},
    {'temperature': 0},
    {'mirostat': 'v2'},
    {'xtc_probability': 0.5, 'dry_multiplier': 0.8, 'typical_p': 0.9},
    {'grammar': 'root ::= [a-z ]+', 'logit_bias': {5: -100}, 'n_probs': 3},
)


def _median(samples: Sequence[Resources]) -> Resources:
    return Resources(
        rss=int(statistics.median(sample.rss for sample in samples)),
        threads=int(statistics.median(sample.threads for sample in samples)),
        files=int(statistics.median(sample.files for sample in samples)),
    )
