"""Runs the app and llama-server side by side, and lets both do the same in turns."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from inference.baseline import PlainLoop, PlainModel
from inference.catalog import ModelFile
from inference.settings import LoadSettings
from inference.tuner import measure, subject
from inference.tuning import Tuning, apply, choose
from presets.storage import Writer
from presets.tunings import TuningStore
from webui.bench.scenarios import FILLER, SHORT, Alone, Asker, Talk, Together, Turn
from webui.bench.servers import Server, app, llama_server
from webui.bench.tune import save
from webui.config import AppConfig

APP, RIVAL = 'app', 'llama_server'
COST_RUNS = 3


@dataclass(kw_only=True, slots=True)
class Found:
    """What one server did, run by run; a stop is the wait in mid-reply, in mid-prompt, and what one token takes."""

    alone: list[Alone] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    together: dict[int, list[Together]] = field(default_factory=dict)
    pauses: list[float] = field(default_factory=list)
    stops: list[tuple[float, float, float]] = field(default_factory=list)


class Contest:
    """What both are asked; without a `program`, the app alone."""

    def __init__(
        self,
        options: argparse.Namespace,
        model: ModelFile,
        config: AppConfig,
        folder: Path,
        *,
        program: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self._options, self._config, self._folder, self._say = options, config, folder, say
        self.model, self.program = model, program
        self.settings = LoadSettings.model_validate(config.load_settings)
        self.tuning: Tuning | None = None
        self.found = {APP: Found(), **({RIVAL: Found()} if program else {})}
        self.costs: tuple[float, float] = (0.0, 0.0)
        """Seconds that the plain loop takes for what the second and the later turn computed."""

    def run(self) -> None:
        """Tune, then ask; both servers are in memory, but only one at a time has work."""
        self.tuning = asyncio.run(self._tune())
        if self.tuning:
            self.settings = apply(self.settings, self.tuning)
        streams = self._options.streams
        with self._app(n_slots=max(*streams, self.settings.n_slots)) as ours:
            with self._both(ours) as askers:
                self._talk(askers)
            for number in streams:
                with self._both(ours, '-np', str(number)) as askers:
                    self._together(askers, number)
            self._say('What the new tokens cost without a server')
            with ThreadPoolExecutor(max_workers=1) as thread:
                self.costs = thread.submit(self._cost_of_turns).result()
        with self._app(n_slots=1) as ours, self._both(ours, '-np', '1') as askers:
            self._stop(askers)

    def _talk(self, askers: dict[str, Asker]) -> None:
        options = self._options
        for number, name, asker in _turns(askers, options.repeat):
            self._say(f'Run {number} of {options.repeat}: one reply, one conversation ({name})')
            self.found[name].alone.append(asker.alone(SHORT, options.tokens))
            self.found[name].talks.append(asker.talk(options.context, options.tokens, options.others))
        for _, name, asker in _turns(askers, 1):
            self._say(f'A prompt of {options.long:,} tokens beside a reply ({name})')
            self.found[name].pauses.append(asker.pause(options.long))

    def _together(self, askers: dict[str, Asker], count: int) -> None:
        options = self._options
        for number, name, asker in _turns(askers, options.repeat):
            self._say(f'Run {number} of {options.repeat}: {count} replies at once ({name})')
            self.found[name].together.setdefault(count, []).append(asker.together(count, options.tokens))

    def _stop(self, askers: dict[str, Asker]) -> None:
        options = self._options
        for _, name, asker in _turns(askers, 1):
            self._say(f'Clients that leave ({name})')
            first = self.found[name].talks[-1].first
            prefill = first.ttft * options.long / first.prompt_tokens
            self.found[name].stops.append(asker.stop(options.long, prefill))

    async def _tune(self) -> Tuning | None:
        """Return what was measured before, or measure it now; the app finds it in its data folder."""
        tuning, seconds = await self._known(), self._options.tune
        if not tuning and seconds:
            self._say('What suits this machine')
            tuning = choose(await measure(self.model, self.settings, seconds=seconds), datetime.now(UTC))
        if tuning:
            self._data_dir.mkdir()
            await save(AppConfig(data_dir=self._data_dir).tunings_file, self.model, tuning)
        return tuning

    async def _known(self) -> Tuning | None:
        with closing(Writer()) as writer:
            return await TuningStore.open(self._config.tunings_file, writer, self._say).get(subject(self.model))

    @property
    def _data_dir(self) -> Path:
        return self._folder / 'data'

    @contextmanager
    def _app(self, *, n_slots: int) -> Iterator[Server]:
        with app(self._data_dir, self.model, {**self._config.load_settings, 'n_slots': n_slots}) as server:
            yield server

    @contextmanager
    def _both(self, ours: Server, *options: str) -> Iterator[dict[str, Asker]]:
        """Run llama-server beside the app; what each is asked first does not count."""
        with ExitStack() as stack:
            servers = {APP: ours}
            if self.program:
                log = self._folder / 'llama-server.log'
                servers[RIVAL] = stack.enter_context(llama_server(self.program, self.model, log, *options))
            askers = {name: Asker(server) for name, server in servers.items()}
            for asker in askers.values():
                asker.calibrate()
            yield askers

    def _cost_of_turns(self) -> tuple[float, float]:
        """Measure the plain loop where the last conversation of the app was."""
        talk = self.found[APP].talks[-1]
        with (
            closing(PlainModel(self.model.path, self.settings)) as model,
            closing(PlainLoop(model, self.settings)) as loop,
        ):
            words = model.tokenize(FILLER, talk.later.cached + talk.later.computed)
            return _cost(loop, words, talk.second), _cost(loop, words, talk.later)


def _turns(askers: dict[str, Asker], repeat: int) -> Iterator[tuple[int, str, Asker]]:
    """Yield each server once a run, in an order that changes."""
    for number in range(1, repeat + 1):
        for name, asker in [*askers.items()][:: 1 if number % 2 else -1]:
            yield number, name, asker


def _cost(loop: PlainLoop, words: Sequence[int], turn: Turn) -> float:
    """Return the seconds that the new tokens of a turn and its first token take, with the rest in the cache."""
    new = words[turn.cached : turn.cached + turn.computed]
    loop.clear()
    loop.read(words[: turn.cached])
    seconds = []
    for _ in range(COST_RUNS):
        started = time.perf_counter()
        loop.read(new, start=turn.cached)
        loop.write(1)
        seconds.append(time.perf_counter() - started)
        if not loop.cut(turn.cached):
            break
    return statistics.median(seconds)
