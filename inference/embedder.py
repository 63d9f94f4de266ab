"""Embedding between the steps of an engine, and the engine for models that only embed or rank."""

import asyncio
import time
from collections.abc import Sequence
from typing import Self

from inference.catalog import ModelFile, require_chat
from inference.chat import GenerationRequest
from inference.embedding import EmbeddingContext, EmbeddingJob, pair_format
from inference.embedding_prompts import EmbeddingPrompts
from inference.engine import Engine, EngineInfo, EngineStatus, Generation
from inference.engine_thread import EngineThread, Progress
from inference.errors import InvalidRequest
from inference.memory import estimate
from inference.runner import ModelRunner
from inference.settings import LoadSettings
from inference.step_loop import StepLoop
from inference.vectors import Embeddings, Ranking, Vectors, unit_vectors

PIECE_SECONDS, LONE_PIECE_SECONDS = 0.2, 0.5
"""What a piece should take: the first while replies are written, so that no text pauses for long."""


class Embedder:
    """Reads texts on worker threads, then has them computed piece by piece between the steps of the engine's thread.

    Requests take turns after every piece; a text that comes in parts has all of them in one turn.
    """

    def __init__(self, thread: EngineThread, runner: ModelRunner, model: ModelFile, settings: LoadSettings) -> None:
        self._thread, self._model = thread, model
        self._context = EmbeddingContext(runner, model.header, settings)
        self._prompts = EmbeddingPrompts(runner, pair_format(runner.model), self._context.limit)
        self._turn = asyncio.Lock()
        self._jobs: set[EmbeddingJob] = set()

    @property
    def limit(self) -> int:
        """The longest text in tokens."""
        return self._context.limit

    @property
    def n_jobs(self) -> int:
        """How many requests are computed or wait."""
        return len(self._jobs)

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        """Return a vector for each text."""
        if self._model.kind == 'reranker':
            raise InvalidRequest(f'{self._model.name} ranks documents, it gives no vectors. Name an embedding model.')
        if not texts:
            raise InvalidRequest('There is no text to embed. Send at least one.')
        self._context.check()
        tokens = await asyncio.to_thread(self._prompts.texts, texts, truncate=truncate)
        rows = await self._compute(tokens)
        return Embeddings(vectors=unit_vectors(rows), prompt_tokens=sum(map(len, tokens)))

    async def rank(self, query: str, documents: Sequence[str], *, truncate: bool) -> Ranking:
        """Return a score for each document."""
        if not documents:
            raise InvalidRequest('There is no document to rank. Send at least one.')
        self._context.check()
        tokens = await asyncio.to_thread(self._prompts.pairs, query, documents, truncate=truncate)
        scores = self._context.scores(await self._compute(tokens))
        return Ranking(scores=scores, prompt_tokens=sum(map(len, tokens)))

    async def adjust(self, settings: LoadSettings) -> None:
        """Apply the settings that need no reload."""
        await self._thread.run(lambda steps: self._context.adjust(settings))

    def stop(self) -> None:
        """End every request, because the model goes away."""
        for job in self._jobs:
            job.stop()

    async def _compute(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        job = EmbeddingJob(tokens)
        self._jobs.add(job)
        try:
            while not job.is_done:
                async with self._turn:
                    await self._take_turn(job)
        finally:
            job.stop()  # where the caller went away, also the piece that is being computed
            self._jobs.remove(job)
        return job.rows

    async def _take_turn(self, job: EmbeddingJob) -> None:
        """Compute a piece, or all pieces of a long text; while replies are written, each leaves them as much time."""

        def step(steps: StepLoop) -> float:
            started, others = time.perf_counter(), bool(steps.busy or steps.queued)
            self._context.step(job, PIECE_SECONDS if others else LONE_PIECE_SECONDS)
            return time.perf_counter() - started if others else 0

        while True:
            await asyncio.sleep(await self._thread.run(step))
            if not job.position:
                return


class EmbeddingEngine(Engine):
    """One loaded model that only embeds or ranks; made by `load`. A chat model may be loaded like this, too."""

    def __init__(self, thread: EngineThread, runner: ModelRunner, model: ModelFile, settings: LoadSettings) -> None:
        super().__init__()
        self._thread, self._runner, self._model = thread, runner, model
        self._embedder = Embedder(thread, runner, model, settings)
        self.info = EngineInfo(
            name=model.name,
            architecture=model.header.architecture,
            quantization=model.header.quantization,
            parameters=model.header.parameters,
            size=model.header.size,
            n_ctx=self._embedder.limit,
            n_ctx_train=model.header.n_ctx_train,
            memory=estimate(model.header, settings.for_reading()).total,
        )

    @classmethod
    async def load(cls, model: ModelFile, settings: LoadSettings, on_progress: Progress = lambda share: None) -> Self:
        """Load `model`; `on_progress` is called on the event loop with the share done (0 to 1).

        Cancelling the call stops the load. Raises LoadFailed.
        """
        thread = EngineThread(model, settings.for_reading(), on_progress)
        try:
            steps = await thread.ready
            return cls(thread, steps.runner, model, settings)
        except BaseException:
            await thread.close()
            raise

    @property
    def status(self) -> EngineStatus:
        """One request is computed at a time."""
        busy = min(1, self._embedder.n_jobs)
        return EngineStatus(slots=1, busy=busy, queued=self._embedder.n_jobs - busy)

    def generate(self, request: GenerationRequest) -> Generation:
        """Refuse."""
        generation = self._begin(lambda: None)
        try:
            require_chat(self._model)
            raise InvalidRequest(f'{self._model.name} is loaded for embeddings only. Load it to chat with it.')
        except InvalidRequest as refusal:
            generation.publish(refusal)
        return generation

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Return vectors, unless the model is a reranker."""
        with self._embedding():
            return await self._embedder.embed(texts, truncate=truncate)

    async def rerank(self, query: str, documents: Sequence[str], *, truncate: bool = False) -> Ranking:
        """Return scores, if the model is a reranker."""
        if self._model.kind != 'reranker':
            return await super().rerank(query, documents, truncate=truncate)
        with self._embedding():
            return await self._embedder.rank(query, documents, truncate=truncate)

    async def count_tokens(self, text: str) -> int:
        """Tokenize on a worker thread."""
        return await asyncio.to_thread(self._runner.count_tokens, text, parse_special=False)

    async def adjust(self, settings: LoadSettings) -> None:
        """Apply the settings that need no reload."""
        await self._embedder.adjust(settings)

    async def close(self) -> None:
        """End every request with ModelUnloaded, end the thread, free the model."""
        self._thread.closing = True
        self._embedder.stop()
        await self._thread.close()
