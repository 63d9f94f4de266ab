"""The contract of an engine: one loaded model that is ready to generate."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from weakref import WeakSet

from inference.chat import Finished, GenerationEvent, GenerationRequest
from inference.errors import InferenceError, InvalidRequest
from inference.metrics import Meter, Metrics
from inference.settings import LoadSettings
from inference.vectors import Embeddings, Ranking


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """What is loaded; sizes in bytes, `parameters` counted, `warnings` in plain words for the page."""

    name: str
    architecture: str
    quantization: str
    parameters: int
    size: int
    n_ctx: int
    n_ctx_train: int
    memory: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStatus:
    """What the engine is doing now.

    `slots` replies can be written at once. The KV cache has `n_cells` for tokens, of which `cells` are in use; what was
    computed of `cached_chats` more conversations waits in RAM, `cache_bytes` of at most `cache_limit`.
    """

    slots: int
    busy: int
    queued: int
    n_cells: int = 0
    cells: int = 0
    cached_chats: int = 0
    cache_bytes: int = 0
    cache_limit: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSize:
    """What a request takes of the context, in tokens; `counts` are those of each message's text alone.

    Messages at the places `left_out` are not among the `tokens`. `reply` is what messages are left out for, so that a
    reply has it: nothing where none may be. A prompt that is refused is counted roughly where it is far too long.
    """

    tokens: int
    n_ctx: int
    reply: int = 0
    left_out: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the request would be answered."""
        return self.tokens < self.n_ctx


class Generation:
    """One reply as it is made: iterate over its events, or `cancel` it.

    It belongs to one event loop. A cancelled generation still ends with `Finished`, whose usage counts what came.
    Leaving it as a context manager cancels it, so that a consumer that goes away frees its slot.
    """

    def __init__(self, meter: Meter, on_cancel: Callable[[], None]) -> None:
        self._meter, self._on_cancel = meter, on_cancel
        self._events: asyncio.Queue[GenerationEvent | InferenceError] = asyncio.Queue()
        self._finished = False
        self.ended = asyncio.Event()

    def publish(self, event: GenerationEvent | InferenceError) -> None:
        """Hand an event to the consumer, or an error that ends the reply; called by the engine on the event loop."""
        self._meter.take(event)
        if isinstance(event, Finished | InferenceError):
            self.ended.set()
        self._events.put_nowait(event)

    def cancel(self) -> None:
        """Ask the engine to stop; the events that end the reply still come."""
        if not self._finished:
            self._on_cancel()

    async def __aiter__(self) -> AsyncIterator[GenerationEvent]:
        while not self._finished:
            event = await self._events.get()
            self._finished = isinstance(event, Finished | InferenceError)
            if isinstance(event, InferenceError):
                raise event
            yield event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class Engine(ABC):
    """One loaded model. All methods belong to the event loop that loaded it.

    `metrics` may be replaced by those of whoever owns the engine, so that they outlive it.
    """

    info: EngineInfo

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._replies: WeakSet[Generation] = WeakSet()
        self._giving_way: WeakSet[Generation] = WeakSet()
        self._embeddings: set[asyncio.Event] = set()

    async def idle(self) -> None:
        """Return when nothing is being made or waits."""
        while running := [end for end in self._ends() if not end.is_set()]:
            await running[0].wait()

    def _ends(self) -> list[asyncio.Event]:
        return [*(reply.ended for reply in self._replies), *self._embeddings]

    @contextmanager
    def _embedding(self) -> Iterator[None]:
        """Count as busy until the block is left."""
        end = asyncio.Event()
        self._embeddings.add(end)
        try:
            yield
        finally:
            self._embeddings.discard(end)
            end.set()

    def _begin(self, on_cancel: Callable[[], None], *, gives_way: bool = False) -> Generation:
        """Make the handle of a reply, and end those that give way to any other."""
        for other in self._giving_way:
            if not other.ended.is_set():
                other.cancel()
        reply = Generation(self.metrics.follow(self.info.name), on_cancel)
        self._replies.add(reply)
        if gives_way:
            self._giving_way.add(reply)
        return reply

    @property
    @abstractmethod
    def status(self) -> EngineStatus:
        """Return what the engine is doing now."""

    @abstractmethod
    def generate(self, request: GenerationRequest) -> Generation:
        """Start a reply. Errors of the request come out of the iteration."""

    @abstractmethod
    async def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` has, without special tokens added."""

    async def measure(self, request: GenerationRequest) -> PromptSize:
        """Return what `generate` would make of the request now; soon where it differs little from the one before.

        Raises InvalidRequest, InvalidTemplate or ModelUnloaded.
        """
        raise InvalidRequest(f'{self.info.name} writes no replies, so that it has no prompts to measure.')

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Return a vector for each text; too long a one is refused, or read as far as it goes with `truncate`.

        Raises InvalidRequest, ModelUnloaded, DecodeFailed, or LoadFailed where there is no memory for it.
        """
        raise InvalidRequest(f'{self.info.name} cannot turn text into vectors. Name an embedding model in "model".')

    async def rerank(self, query: str, documents: Sequence[str], *, truncate: bool = False) -> Ranking:
        """Return how well each document answers the query. Raises as `embed` does."""
        raise InvalidRequest(f'{self.info.name} cannot rank documents. Name a reranker in "model".')

    @abstractmethod
    async def adjust(self, settings: LoadSettings) -> None:
        """Apply the settings that need no reload, from the next step on."""

    @abstractmethod
    async def close(self) -> None:
        """End what runs and give the memory back."""
