"""Random requests to engines over tiny models of every kind of memory; several at once, some cancelled."""

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
from loguru import logger

from inference.catalog import Catalog, ModelFile
from inference.chat import Finished, GenerationRequest, Message, TextDelta
from inference.engine import Engine, Generation
from inference.errors import DecodeFailed, InferenceError
from inference.fuzzing.requests import random_request
from inference.fuzzing.tiny import MODELS, N_VOCAB
from inference.settings import LoadSettings, SamplingSettings
from webui.bench.fuzz.findings import Plan, Problem, Resources, write_down

AT_ONCE = 6
"""Requests; more than there are slots, so that some wait."""
PATIENCE = 60.0
"""Seconds within which every request must end; most take milliseconds."""
N_CTX, N_SLOTS, CACHE_MIB = 2048, 4, 8
WARM_SHARE = 3
"""Memory is looked at after this part of the requests, and again after all."""
REFERENCE = GenerationRequest(
    messages=(Message(role='user', content='the cat sees a dog'),),
    sampling=SamplingSettings(temperature=0, max_tokens=32, repeat_penalty=1),
)


@dataclass(kw_only=True, slots=True)
class Asked:
    """How requests ended, and by how many bytes the process grew while those of one model were asked, at most."""

    ends: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    growth: int = 0
    slowest: float = 0.0


def run(plan: Plan) -> Asked:
    """Ask everything of the plan; made for a child process."""
    return asyncio.run(_run(plan))


def problems_at_death(plan: Plan, what: str) -> list[Problem]:
    """Return the cases that were being answered when the process ended."""
    cases = []
    with suppress(OSError, ValueError):
        cases = json.loads(_running_file(plan).read_text())
    return [_problem(plan, case, what) for case in cases] or [Problem(part='request', case=-1, what=what)]


def tiny_model(kind: str, folder: Path) -> ModelFile:
    """Write a tiny model and return its entry of the catalogue."""
    catalog = Catalog([], [MODELS[kind]().write(folder / f'{kind}.gguf')])
    catalog.scan()
    return catalog.models[0]


async def _run(plan: Plan) -> Asked:
    asked = Asked()
    kinds = list(MODELS)
    for place, kind in enumerate(kinds):
        if cases := [case for case in plan.cases if case % len(kinds) == place]:
            await _ask_model(plan, kind, cases, asked)
    return asked


async def _ask_model(plan: Plan, kind: str, cases: Sequence[int], asked: Asked) -> None:
    from inference.llama import LlamaEngine  # noqa: PLC0415 (the parent must not load the library)

    settings = LoadSettings(
        n_ctx=N_CTX, n_batch=256, n_threads=1, n_slots=N_SLOTS, cache_ram=CACHE_MIB, use_extra_bufts=False,
        draft='on' if kind == 'bpe' else 'off',
    )  # fmt: skip
    model = tiny_model(kind, plan.folder)
    engine = await LlamaEngine.load(model, settings)
    asking = _Asking(engine, plan, asked)
    reference = await asking.reference_reply()
    warm = len(cases) // WARM_SHARE
    await asking.ask(cases[:warm])
    before = Resources.of(psutil.Process()).rss
    await asking.ask(cases[warm:])
    gc.collect()
    asked.growth = max(asked.growth, Resources.of(psutil.Process()).rss - before)
    if (engine.status.busy, engine.status.queued) != (0, 0):
        asking.blame(cases[-1], f'{engine.status.busy} busy and {engine.status.queued} queued after the last request')
    if (reply := await asking.reference_reply()) != reference:
        asking.blame(cases[-1], f'the reference reply was {reference!r} and is {reply!r}')
    await engine.close()


class _Asking:
    """Asks an engine and notes how it goes."""

    def __init__(self, engine: Engine, plan: Plan, asked: Asked) -> None:
        self._engine, self._plan, self._asked = engine, plan, asked
        self._running: set[int] = set()
        self._turn = asyncio.Semaphore(AT_ONCE)
        logger.remove()
        logger.add(self._logged, filter=lambda record: bool(record['exception']))

    async def ask(self, cases: Sequence[int]) -> None:
        """Ask all of them, a few at once."""
        await asyncio.gather(*map(self._one, cases))

    async def reference_reply(self) -> str:
        """Return what the engine says to a question that is always the same."""
        async with asyncio.timeout(PATIENCE):
            events = [event async for event in self._engine.generate(REFERENCE)]
        return ''.join(event.text for event in events if isinstance(event, TextDelta))

    def blame(self, case: int, what: str) -> None:
        """Note a problem and write its request down."""
        self._asked.problems.append(_problem(self._plan, case, what))

    async def _one(self, case: int) -> None:
        async with self._turn:
            self._note_running(case, True)
            dice = self._plan.dice('requests', case)
            request = random_request(dice, n_vocab=N_VOCAB)
            started = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(PATIENCE):
                    end = await _answer(self._engine, request, dice)
            except TimeoutError:
                end = 'hang'
            except Exception as error:  # that is what this is about
                end = f'{type(error).__name__}: {error}'
            if end not in _SOUND_ENDS:
                self.blame(case, end)
                end = 'problem'
            self._asked.ends[end] += 1
            self._asked.slowest = max(self._asked.slowest, asyncio.get_running_loop().time() - started)
            self._note_running(case, False)

    def _note_running(self, case: int, runs: bool) -> None:
        self._running ^= {case}
        assert (case in self._running) is runs
        _running_file(self._plan).write_text(json.dumps(sorted(self._running)))

    def _logged(self, message: Any) -> None:
        """An error that the engine caught is a defect all the same."""
        self.blame(min(self._running, default=-1), f'while {sorted(self._running)} ran, the engine logged: {message}')


_SOUND_ENDS = ('stop', 'length', 'tool_calls', 'cancelled', 'left', 'refused')


async def _answer(engine: Engine, request: GenerationRequest, dice: Random) -> str:
    """Read a reply to its end, or to a random moment; return how it ended."""
    how = dice.choices(('wait', 'cancel', 'cancel later', 'leave'), (5, 2, 2, 1))[0]
    after, seconds = dice.randint(0, 12), dice.uniform(0, 0.05)
    try:
        async with engine.generate(request) as generation:
            if how == 'cancel later':
                asyncio.get_running_loop().call_later(seconds, generation.cancel)
            return await _end(
                generation, cancel_after=after if how == 'cancel' else -1, leave_after=after if how == 'leave' else -1
            )
    except DecodeFailed:
        raise
    except InferenceError:
        return 'refused'


async def _end(generation: Generation, *, cancel_after: int, leave_after: int) -> str:
    number = 0
    async for event in generation:
        if isinstance(event, Finished):
            return event.reason
        if number == leave_after:
            return 'left'
        if number == cancel_after:
            generation.cancel()
        number += 1
    return 'the events ended without Finished'


def _problem(plan: Plan, case: int, what: str) -> Problem:
    request = random_request(plan.dice('requests', case), n_vocab=N_VOCAB)
    facts = {
        'seed': plan.seed,
        'case': case,
        'what': what,
        'request': {**asdict(request), 'sampling': request.sampling.model_dump()},
    }
    file = write_down(plan.keep / f'request-{case}.json', facts)
    return Problem(part='request', case=case, what=what, file=file)


def _running_file(plan: Plan) -> Path:
    return plan.folder / 'running.json'
