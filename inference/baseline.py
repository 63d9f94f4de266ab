"""The plain llama.cpp loop, with nothing around it: what the engine is measured against and settings are tried with."""

import ctypes
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import get_ident
from typing import Any

from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.benchmark import Measurement
from inference.errors import DecodeFailed, LoadFailed
from inference.library import context_params, model_params
from inference.settings import LoadSettings

SEED = 1
LEAST_TOKENS = 4
"""Of a reply that is cut off by the clock."""


class PlainModel:
    """The weights; they outlive every loop on them."""

    def __init__(self, path: Path, settings: LoadSettings) -> None:
        C.llama_backend_init()
        self.name = path.name
        self.handle = C.llama_model_load_from_file(os.fsencode(path), model_params(settings))
        if not self.handle:
            raise LoadFailed(f'llama.cpp could not load {path.name}.')

    def tokenize(self, text: str, count: int) -> list[int]:
        """Return `count` tokens: those of the text, over and over."""
        data, vocab = text.encode(), C.llama_model_get_vocab(self.handle)
        size = -C.llama_tokenize(vocab, data, len(data), None, 0, False, False)  # asks for the size
        tokens = (C.llama_token * size)()
        C.llama_tokenize(vocab, data, len(data), tokens, size, False, False)
        ids: list[int] = list(tokens) * (count // size + 1)
        return ids[:count]

    def close(self) -> None:
        """Give the memory back; every loop must be closed before."""
        C.llama_model_free(self.handle)


class PlainLoop:
    """A context and its loop of decode and sample. Everything belongs to the thread that made it."""

    def __init__(self, model: PlainModel, settings: LoadSettings, *, n_streams: int = 1, n_scores: int = 1) -> None:
        params = context_params(model.handle, settings, n_streams)
        params.n_outputs_max = self._n_scores = max(n_streams, n_scores)
        self._context = C.llama_init_from_model(model.handle, params)
        if not self._context:
            raise LoadFailed(f'llama.cpp could not make a context of {params.n_ctx:,} tokens for {model.name}.')
        self._memory = C.llama_get_memory(self._context)
        self._n_streams, self._n_batch = n_streams, C.llama_n_batch(self._context)
        self._batch = C.llama_batch_init(max(n_streams, self._n_batch), 0, 1)
        self._samplers = [_usual_sampler(SEED + stream) for stream in range(n_streams)]

    @property
    def n_ctx(self) -> int:
        """Tokens that fit."""
        size: int = C.llama_n_ctx(self._context)
        return size

    def set_threads(self, n_threads: int, n_threads_batch: int) -> None:
        """Use so many threads from now on, for single tokens and for more at once."""
        C.llama_set_n_threads(self._context, n_threads, n_threads_batch)

    def read(self, prompt: Sequence[int], *, stream: int = 0, start: int = 0) -> None:
        """Compute a prompt that follows at `start`, with scores for its last token."""
        for first in range(0, len(prompt), self._n_batch):
            piece = prompt[first : first + self._n_batch]
            last = len(piece) - 1
            self._decode([(token, start + first + at, stream, at == last) for at, token in enumerate(piece)])

    def clear(self) -> None:
        """Forget everything."""
        C.llama_memory_clear(self._memory, True)

    def cut(self, length: int) -> bool:
        """Forget all but the first `length` tokens; False if this memory cannot, and then nothing is forgotten."""
        return bool(C.llama_memory_seq_rm(self._memory, 0, length, -1))

    def copy(self, other: 'PlainLoop') -> bool:
        """Hold the tokens that another loop on the same model holds; False if the caches are not alike."""
        size = C.llama_state_seq_get_size(other._context, 0)
        state = (ctypes.c_uint8 * size)()
        C.llama_state_seq_get_data(other._context, state, size, 0)
        self.clear()
        return bool(C.llama_state_seq_set_data(self._context, state, size, 0))

    def check(self, tokens: Sequence[int], *, start: int) -> None:
        """Compute tokens that were guessed, with scores for each, at most `n_scores`."""
        assert len(tokens) <= self._n_scores  # llama.cpp would end the process
        self._decode([(token, start + at, 0, True) for at, token in enumerate(tokens)])
        C.llama_synchronize(self._context)

    def write(
        self, count: int, *, seconds: float = float('inf'), on_token: Callable[[], object] = lambda: None
    ) -> list[float]:
        """Sample up to `count` tokens after what was read, or for so many seconds; returns when each of them came."""
        arrivals: list[float] = []
        token = (C.llama_token * 1)()
        batch = C.llama_batch_get_one(token, 1)
        started = time.perf_counter()
        while True:
            token[0] = C.llama_sampler_sample(self._samplers[0], self._context, -1)
            arrivals.append(time.perf_counter())
            on_token()
            if len(arrivals) == count or (arrivals[-1] - started > seconds and len(arrivals) >= LEAST_TOKENS):
                return arrivals
            self._check(C.llama_decode(self._context, batch))

    def measure(self, prompt: Sequence[int], *, cached_tokens: int, count: int) -> Measurement:
        """Read a prompt and sample `count` tokens; those that count as cached are read before the clock starts."""
        self.clear()
        self.read(prompt[:cached_tokens])
        C.llama_synchronize(self._context)
        started = time.perf_counter()
        self.read(prompt[cached_tokens:], start=cached_tokens)
        arrivals = tuple(arrival - started for arrival in self.write(count))
        return Measurement(prompt_tokens=len(prompt), cached_tokens=cached_tokens, arrivals=arrivals)

    def measure_streams(self, prompt: Sequence[int], *, count: int) -> list[Measurement]:
        """Let every stream read the prompt and write `count` tokens, all of them in one batch a step."""
        self.clear()
        streams = range(self._n_streams)
        for stream in streams:
            self.read(prompt[:-1], stream=stream)
        C.llama_synchronize(self._context)
        started = time.perf_counter()
        latest, arrivals = [prompt[-1]] * self._n_streams, []
        for step in range(count):
            position = len(prompt) - 1 + step
            self._decode([(latest[stream], position, stream, True) for stream in streams])
            latest = [C.llama_sampler_sample(self._samplers[row], self._context, row) for row in streams]
            arrivals.append(time.perf_counter() - started)
        one = Measurement(prompt_tokens=len(prompt), cached_tokens=len(prompt) - 1, arrivals=tuple(arrivals))
        return [one] * self._n_streams

    def close(self) -> None:
        """Give the memory back."""
        for sampler in self._samplers:
            C.llama_sampler_free(sampler)
        C.llama_batch_free(self._batch)
        C.llama_free(self._context)

    def _decode(self, rows: Sequence[tuple[int, int, int, bool]]) -> None:
        """Compute rows of token, position, stream and whether its scores are wanted."""
        batch = self._batch
        for row, (token, position, stream, scores) in enumerate(rows):
            batch.token[row], batch.pos[row], batch.logits[row] = token, position, scores
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, stream
        batch.n_tokens = len(rows)
        self._check(C.llama_decode(self._context, batch))

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise DecodeFailed(f'llama.cpp could not compute this step (status {status}).')


@dataclass(slots=True)
class LibraryClock:
    """What each thread spent inside the library.

    `own` holds, for the beginning of every batch, the CPU seconds of its thread that were not the library's.
    """

    inside: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    own: list[float] = field(default_factory=list)


@contextmanager
def library_clock() -> Iterator[LibraryClock]:
    """Time every call of the library while the block runs."""
    clock = LibraryClock()
    kind = type(C.llama_decode)
    functions = {name: function for name, function in vars(C).items() if isinstance(function, kind)}
    try:
        for name, function in functions.items():
            setattr(C, name, _timed(function, clock, is_batch=name == 'llama_decode'))
        yield clock
    finally:
        for name, function in functions.items():
            setattr(C, name, function)


def _timed(function: Callable[..., Any], clock: LibraryClock, *, is_batch: bool) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        thread, started = get_ident(), time.thread_time()
        if is_batch:
            clock.own.append(started - clock.inside[thread])
        try:
            return function(*arguments)
        finally:
            clock.inside[thread] += time.thread_time() - started

    return call


def _usual_sampler(seed: int) -> Any:
    """Return a chain with the steps that most replies are sampled with."""
    chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
    for step in (
        C.llama_sampler_init_top_k(40),
        C.llama_sampler_init_min_p(0.05, 1),
        C.llama_sampler_init_top_p(0.95, 1),
        C.llama_sampler_init_temp(0.7),
        C.llama_sampler_init_dist(seed),
    ):
        C.llama_sampler_chain_add(chain, step)
    return chain
