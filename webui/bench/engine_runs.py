"""The runs of `bench engine`: the same work for the engine and for the plain loop, one after the other."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TypeVar

from inference.baseline import LibraryClock, PlainLoop, PlainModel, library_clock
from inference.benchmark import Measurement, measure, measure_streams, per_token, total_rate
from inference.catalog import ModelFile
from inference.chat import GenerationEvent, GenerationRequest, Message, PromptProgress, TextDelta
from inference.llama import LlamaEngine
from inference.settings import LoadSettings, SamplingSettings
from webui.bench.stream import SECTION
from webui.markdown import render

TALK = 'Write a very long story about the sea, with many chapters. Never stop.'
FILLER = 'The sailor looked at the waves and thought about the long way home, and the wind began to turn. '
SEEDS = range(1, 9)
"""A reply that ends early is asked for again with the next of these; the prompt is in the cache by then."""
AT_ONCE = 60
"""Messages that the page renders before it lets others have the event loop."""
WARM_UP_TOKENS, STREAM_PROMPT = 8, 64
STOP_AFTER = 0.2
"""Seconds after a piece of the prompt, so that the next one is being computed."""
QUARTERS = ((0, 0.25), (0.75, 1))
Words = Callable[[int], list[int]]
"""Makes a prompt of so many tokens."""
Result = TypeVar('Result')


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The same work, done by the engine and right after it by the plain loop; `talk` has most of the reply."""

    read: Measurement
    talk: Measurement
    plain: Measurement


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonCost:
    """CPU milliseconds a token that are not the library's, in the first and the last quarter of a reply."""

    engine: tuple[float, float]
    loop: tuple[float, float]

    @property
    def both(self) -> tuple[float, float]:
        """Engine thread and event loop together."""
        return self.engine[0] + self.loop[0], self.engine[1] + self.loop[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Tokens a second of the same work, done in two ways."""

    engine: float
    other: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stops:
    """Seconds from `cancel` to the end of the reply: while the prompt was read, and while the reply was written."""

    reading: float
    writing: float


class Runs:
    """One model and how it is loaded; each run loads it anew, so that only one of two is ever in memory."""

    def __init__(self, model: ModelFile, settings: LoadSettings) -> None:
        self._model, self._settings = model, settings

    async def pair(self, size: int, tokens: int) -> Pair:
        """Read a prompt of about `size` tokens and write `tokens`."""
        async with self._engine() as engine:
            tries = await _talk(engine, await _prompt(engine, size), tokens)
        read, talk = tries[0], max(tries, key=lambda one: len(one.arrivals))
        plain = await self._plain(lambda loop, words: _measure_plain(loop, words, read, talk))
        return Pair(read=read, talk=talk, plain=plain)

    async def long(self, size: int, tokens: int) -> tuple[Pair, PythonCost]:
        """Do the same with a long reply, and weigh what Python does for each of its tokens."""
        async with self._engine() as engine:
            text = await _prompt(engine, size)
            with library_clock() as clock:
                tries = await _talk(engine, text, tokens)
        read, talk = tries[0], tries[-1]
        plain = await self._plain(lambda loop, words: _measure_plain(loop, words, read, talk))
        return Pair(read=read, talk=talk, plain=plain), _python_cost(clock, talk)

    async def streams(self, count: int, tokens: int) -> Rates:
        """Write `count` replies at once."""
        async with self._engine(n_slots=count) as engine:
            text = await _prompt(engine, STREAM_PROMPT)
            requests = [_request(f'{number}. {text}', tokens, seed=number) for number in range(1, count + 1)]
            replies = await measure_streams(engine, requests)
        plain = await self._plain(
            lambda loop, words: loop.measure_streams(words(replies[0].prompt_tokens), count=tokens), n_streams=count
        )
        return Rates(engine=total_rate(replies), other=total_rate(plain))

    async def page(self, messages: int, tokens: int) -> Rates:
        """Write a reply alone, and one while a page with so many messages renders on the event loop, over and over."""
        async with self._engine() as engine:
            text = await _prompt(engine, STREAM_PROMPT)
            (*_, quiet) = await _talk(engine, text, tokens)
            rendering = asyncio.create_task(_render(messages))
            try:
                (*_, busy) = await _talk(engine, text, tokens)
            finally:
                rendering.cancel()
        return Rates(engine=_engine_rate(busy), other=_engine_rate(quiet))

    async def stops(self, size: int) -> Stops:
        """Stop one reply in the middle of a batch of its prompt, and one in the middle of its text."""
        async with self._engine() as engine:
            long = await _prompt(engine, size)
            reading = await _stop(engine, _request(f'First. {long}', WARM_UP_TOKENS), PromptProgress)
            writing = await _stop(engine, _request(TALK, size), TextDelta)
        return Stops(reading=reading, writing=writing)

    @asynccontextmanager
    async def _engine(self, *, n_slots: int = 1) -> AsyncIterator[LlamaEngine]:
        engine = await LlamaEngine.load(self._model, self._settings.model_copy(update={'n_slots': n_slots}))
        try:
            yield engine
        finally:
            await engine.close()

    async def _plain(self, work: Callable[[PlainLoop, Words], Result], *, n_streams: int = 1) -> Result:
        """Do the work in a thread of its own, as the engine has one: its helpers of OpenMP end with it."""

        def run() -> Result:
            with (
                closing(PlainModel(self._model.path, self._settings)) as model,
                closing(PlainLoop(model, self._settings, n_streams=n_streams)) as loop,
            ):
                words = partial(model.tokenize, FILLER)
                loop.measure(words(32), cached_tokens=0, count=WARM_UP_TOKENS)
                return work(loop, words)

        with ThreadPoolExecutor(max_workers=1) as thread:
            return await asyncio.get_running_loop().run_in_executor(thread, run)


async def _prompt(engine: LlamaEngine, size: int) -> str:
    """Return a message that makes a prompt of about `size` tokens with the model's template; warms up, too."""
    warm_up = await measure(engine, _request('Hello', WARM_UP_TOKENS))
    wanted = size - warm_up.prompt_tokens + await engine.count_tokens('Hello')
    words = (FILLER * (size // 16 + 1)).split()
    while words and (excess := await engine.count_tokens(_with_filler(words)) - wanted) > 0:
        del words[-max(1, excess // 16) :]  # no word has more tokens than that
    return _with_filler(words)


async def _stop(engine: LlamaEngine, request: GenerationRequest, when: type[GenerationEvent]) -> float:
    """Cancel a little after something new was computed; return the seconds until the reply has ended."""
    cancelled = 0.0
    async with engine.generate(request) as generation:
        async for event in generation:
            begun = not isinstance(event, PromptProgress) or event.cached < event.done < event.total
            if isinstance(event, when) and begun and not cancelled:
                await asyncio.sleep(STOP_AFTER)
                cancelled = time.perf_counter()
                generation.cancel()
    return time.perf_counter() - cancelled


def _with_filler(words: Sequence[str]) -> str:
    return f'{" ".join(words)} {TALK}'.strip()


async def _talk(engine: LlamaEngine, text: str, tokens: int) -> list[Measurement]:
    """Ask until a reply is as long as it was wanted; the first try is the one that reads the prompt."""
    tries: list[Measurement] = []
    for seed in SEEDS:
        tries.append(await measure(engine, _request(text, tokens, seed=seed)))
        if len(tries[-1].arrivals) == tokens:
            break
    return tries


def _request(text: str, tokens: int, *, seed: int = 1) -> GenerationRequest:
    sampling = SamplingSettings(max_tokens=tokens, seed=seed, repeat_penalty=1, ignore_eos=True)
    return GenerationRequest(messages=(Message(role='user', content=text),), sampling=sampling)


def _measure_plain(loop: PlainLoop, words: Words, read: Measurement, talk: Measurement) -> Measurement:
    return loop.measure(words(read.prompt_tokens), cached_tokens=read.cached_tokens, count=len(talk.arrivals))


def _python_cost(clock: LibraryClock, talk: Measurement) -> PythonCost:
    """Weigh the reply that was the last to be written under the clock, a batch for each token after the first."""
    steps = clock.own[-len(talk.arrivals) + 1 :]
    first, last = ((per_token(steps, *quarter), per_token(talk.loop_cpu, *quarter)) for quarter in QUARTERS)
    return PythonCost(engine=(first[0], last[0]), loop=(first[1], last[1]))


def _engine_rate(reply: Measurement) -> float:
    """Return the decode rate by the engine's clock; what arrives at a busy event loop arrives in heaps."""
    return (len(reply.arrivals) - 1) / reply.timings.decode


async def _render(messages: int) -> None:
    """Render messages as the page does, of which no two are alike, until cancelled."""
    for number in count(1):
        render(SECTION.format(number=number % messages))
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
