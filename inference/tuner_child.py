"""The child process of `tuner.py`: tries settings on the plain llama.cpp loop and says what came of it.

Beside each reply works a thread that does as much for every token as the app's page: with all cores to itself, a number
of threads would look better than it will ever be.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Sequence

import psutil
from loguru import logger

from inference.baseline import PlainLoop, PlainModel
from inference.drafting import MOST_DRAFT
from inference.errors import InferenceError
from inference.library import default_threads, supports_gpu, usable_cores
from inference.preflight import die_quietly
from inference.settings import LoadSettings
from inference.tuner import REFUSED, Begun, Note, Plan
from inference.tuning import FILLED, KV_CACHE, TOGETHER, Candidate, Measurements, Run, combined, smaller_cache, stages

N_CTX, ROUNDS = 2048, 3
DEEPEST, MOST_NEW, REPLY = 1536, 256, 16
LEAST_DEPTH, LEAST_NEW = 128, 32
"""Tokens; a slow machine measures with fewer, not for longer."""
FILL_SHARE, READ_SHARE, REPLY_SHARE = 1 / 7, 1 / 100, 1 / 100
"""Of the time there is: for filling a context, for the new tokens of a run and for its reply."""
PAGE_SECONDS = 0.0003
"""CPU time that the page needs for a token."""
TEXT = 'The sailor looked at the waves and thought about the long way home, and the wind began to turn. '


def main() -> None:
    """Measure what the parent asks for."""
    die_quietly()
    logger.remove()
    plan = Plan.model_validate_json(sys.stdin.read())
    try:
        _Tuner(plan).run()
    except InferenceError as error:
        _say(Note(note=str(error)))
        sys.exit(REFUSED)


class _Tuner:
    """The models and contexts in memory, the clock, and what was measured so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._page = plan, _Page()
        self._models: dict[bool, PlainModel] = {}
        self._loops: dict[Candidate, PlainLoop] = {}
        self._default = _default(plan.settings)
        self._tokens = self._model(self._default).tokenize(TEXT, N_CTX)
        self._depth = self._new = 0

    def run(self) -> None:
        """Try one thing after the other, then together what won, until the time is up."""
        self._size_runs()
        self._deadline = time.monotonic() + self._plan.seconds
        measured = Measurements(default=self._default, cpus=len(_cpus()), depth=self._depth)
        _say(Begun(default=measured.default, cpus=measured.cpus, depth=measured.depth))
        if self._depth < FILLED:
            _say(
                Note(
                    note=f'Flash attention was not judged: there was no time or room to read {FILLED:,} tokens before.'
                )
            )
        for stage, candidates in stages(self._default, cores=usable_cores(), depth=self._depth):
            measured = self._stage(measured, stage, candidates)
        best = combined(measured)
        if best not in [self._default, *(candidate for _, candidate in measured.pairs())]:
            measured = self._stage(measured, TOGETHER, [best])
        self._stage(measured, KV_CACHE, [smaller_cache(self._default)])

    def _size_runs(self) -> None:
        """See how fast prompts are read, and decide how much of them there is time for."""
        loop = self._loops[_layout(self._default)] = self._new_loop(self._default)
        loop.set_threads(self._default.n_threads, self._default.n_threads_batch)
        loop.read(self._tokens[:LEAST_NEW])  # pages the weights in
        started = time.perf_counter()
        loop.measure(self._tokens[: 2 * LEAST_NEW], cached_tokens=0, count=1)
        budget = 2 * LEAST_NEW / (time.perf_counter() - started) * self._plan.seconds  # in tokens
        self._new = max(LEAST_NEW, min(MOST_NEW, loop.n_ctx // 4, int(budget * READ_SHARE)))
        room = loop.n_ctx - self._new - REPLY - MOST_DRAFT - 1
        self._depth = max(LEAST_DEPTH, min(DEEPEST, room, int(budget * FILL_SHARE)))
        self._fill(loop)

    def _stage(self, measured: Measurements, stage: str, candidates: Sequence[Candidate]) -> Measurements:
        """Measure candidates and the default in turns, back and forth, so that a change of the machine hits all."""
        entrants = [self._default, *candidates]
        for number in range(ROUNDS):
            for candidate in entrants[:: -1 if number % 2 else 1]:
                if time.monotonic() > self._deadline:
                    return measured
                try:
                    run = self._run(stage, candidate)
                except InferenceError as error:
                    _say(Note(note=f'{stage}: {error}'))
                    return measured
                _say(run)
                measured = measured.model_copy(update={'runs': (*measured.runs, run)})
        self._tidy()
        return measured

    def _run(self, stage: str, candidate: Candidate) -> Run:
        loop, tokens = self._loop(candidate), self._tokens
        loop.set_threads(candidate.n_threads, candidate.n_threads_batch)
        if not loop.cut(self._depth):
            self._fill(loop)
        others, started = _Others(), time.perf_counter()
        loop.read(tokens[self._depth :][: self._new], start=self._depth)
        seconds = self._plan.seconds * REPLY_SHARE
        arrivals = loop.write(REPLY, seconds=seconds, on_token=self._page.work)
        end, written = time.perf_counter(), len(arrivals) - 1
        loop.check(tokens[: MOST_DRAFT + 1], start=self._depth + self._new + written)
        return Run(
            stage=stage,
            candidate=candidate,
            prefill=round(self._new / (arrivals[0] - started), 3),
            decode=round(written / (arrivals[-1] - arrivals[0]), 3),
            check=round(time.perf_counter() - end, 6),
            others=others.cores(),
        )

    def _loop(self, candidate: Candidate) -> PlainLoop:
        layout = _layout(candidate)
        if layout not in self._loops:
            loop = self._loops[layout] = self._new_loop(candidate)
            loop.set_threads(self._default.n_threads, self._default.n_threads_batch)
            if not (self._is_cached_alike(candidate) and loop.copy(self._loops[_layout(self._default)])):
                self._fill(loop)
        return self._loops[layout]

    def _is_cached_alike(self, candidate: Candidate) -> bool:
        default = self._default
        return (candidate.flash_attn, candidate.kv_type) == (default.flash_attn, default.kv_type)

    def _new_loop(self, candidate: Candidate) -> PlainLoop:
        settings = candidate.settings(self._plan.settings).model_copy(update={'n_ctx': N_CTX})
        return PlainLoop(self._model(candidate), settings, n_scores=MOST_DRAFT + 1)

    def _model(self, candidate: Candidate) -> PlainModel:
        key = candidate.use_extra_bufts
        if key not in self._models:
            if self._models and self._plan.size > psutil.virtual_memory().available / 2:
                raise InferenceError('the model does not fit into memory a second time.')
            self._models[key] = PlainModel(self._plan.path, candidate.settings(self._plan.settings))
        return self._models[key]

    def _fill(self, loop: PlainLoop) -> None:
        loop.clear()
        loop.read(self._tokens[: self._depth])
        loop.write(2)  # the first single token takes longer

    def _tidy(self) -> None:
        """Keep the default in memory only."""
        default = _layout(self._default)
        for layout in [one for one in self._loops if one != default]:
            self._loops.pop(layout).close()
        for key in [one for one in self._models if one != default.use_extra_bufts]:
            self._models.pop(key).close()


class _Page:
    """A thread that works for every token, like the page that shows it."""

    def __init__(self) -> None:
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def work(self) -> None:
        """Let a token be shown."""
        self._tokens.put(None)

    def _run(self) -> None:
        while True:
            self._tokens.get()
            end = time.thread_time() + PAGE_SECONDS
            while time.thread_time() < end:
                pass


class _Others:
    """What other programs do from now on."""

    def __init__(self) -> None:
        self._started, self._busy, self._own = time.monotonic(), _busy_seconds(), time.process_time()

    def cores(self) -> float:
        """Return how many of the cores that this process may use they kept busy."""
        busy, own = _busy_seconds() - self._busy, time.process_time() - self._own
        return round(max(0.0, busy - own) / (time.monotonic() - self._started), 3)


def _default(settings: LoadSettings) -> Candidate:
    """Return what a load without any tuning does, as a candidate."""
    on_gpu = supports_gpu() and settings.n_gpu_layers != 0
    n_threads = settings.n_threads or default_threads()
    chosen = settings.flash_attn if settings.flash_attn != 'auto' else 'on' if on_gpu else 'off'
    return Candidate(
        n_threads=n_threads,
        n_threads_batch=settings.n_threads_batch or n_threads,
        flash_attn=chosen,
        n_ubatch=settings.n_ubatch,
        use_extra_bufts=settings.use_extra_bufts,
    )


def _layout(candidate: Candidate) -> Candidate:
    """Return what candidates have in common that can share a context: threads can change any time."""
    return candidate.with_threads(0)


def _cpus() -> list[int]:
    if sys.platform == 'linux':
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _busy_seconds() -> float:
    """Return what the processors that this process may use have worked, for whomever; a host's share counts too."""
    times = psutil.cpu_times(percpu=True)
    return sum(_busy(times[cpu]) for cpu in _cpus() if cpu < len(times))


def _busy(times: object) -> float:
    unused = sum(getattr(times, name, 0.0) for name in ('idle', 'iowait', 'guest', 'guest_nice'))
    return float(sum(times)) - unused  # type: ignore[call-overload]


def _say(message: Begun | Note | Run) -> None:
    sys.stdout.write(f'{message.model_dump_json()}\n')
    sys.stdout.flush()


if __name__ == '__main__':
    main()
