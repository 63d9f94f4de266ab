"""The engine that runs a GGUF file in this process: one thread, one step loop, one crossing back.

Everything llama.cpp does with the context happens on the engine's thread. Templates and tokenizing happen before it,
on a worker thread; what a step brought crosses to the event loop in one call.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Self

from loguru import logger

from inference.catalog import ModelFile
from inference.chat import GenerationRequest
from inference.embedder import Embedder
from inference.engine import Engine, EngineInfo, EngineStatus, Generation
from inference.engine_thread import EngineThread, Progress, adjust
from inference.errors import InferenceError, InvalidRequest, ModelUnloaded
from inference.job import Job
from inference.memory import estimate
from inference.parsing import ReplyReader
from inference.prompts import PromptMaker
from inference.settings import LoadSettings
from inference.step_loop import StepLoop
from inference.template import ChatTemplate
from inference.vectors import Embeddings


class LlamaEngine(Engine):
    """One loaded model; made by `load`."""

    def __init__(
        self,
        thread: EngineThread,
        steps: StepLoop,
        model: ModelFile,
        settings: LoadSettings,
        template: tuple[ChatTemplate, str | None],
    ) -> None:
        super().__init__()
        self._thread, self._steps, self._runner = thread, steps, steps.runner
        self._template, warning = template
        self._prompts = PromptMaker(self._runner, self._template)
        self._embedder = Embedder(thread, self._runner, model, settings)
        self._preparing: set[asyncio.Task[None]] = set()
        self.info = EngineInfo(
            name=model.name,
            architecture=model.header.architecture,
            quantization=model.header.quantization,
            parameters=model.header.parameters,
            size=model.header.size,
            n_ctx=self._runner.n_ctx,
            n_ctx_train=model.header.n_ctx_train,
            memory=estimate(model.header, settings, n_slots=self._runner.n_slots).total,
            warnings=(warning,) if warning else (),
        )

    @classmethod
    async def load(cls, model: ModelFile, settings: LoadSettings, on_progress: Progress = lambda share: None) -> Self:
        """Load `model`; `on_progress` is called on the event loop with the share done (0 to 1).

        Cancelling the call stops the load. Raises LoadFailed.
        """
        thread = EngineThread(model, settings, on_progress)
        try:
            steps = await thread.ready
            runner = steps.runner
            # A template is tried here, which may take it a moment.
            trial = asyncio.to_thread(ChatTemplate.load, runner.chat_template, bos=runner.bos, eos=runner.eos)
            return cls(thread, steps, model, settings, await trial)
        except BaseException:
            await thread.close()
            raise

    @property
    def status(self) -> EngineStatus:
        """What the slots do now."""
        saved = self._steps.kv_cache.saved
        return EngineStatus(
            slots=min(self._steps.scheduler.most_running, self._runner.n_slots),
            busy=self._steps.busy,
            queued=self._steps.queued + len(self._preparing),
            n_cells=self._runner.n_ctx,
            cells=self._steps.cells,
            cached_chats=len(saved),
            cache_bytes=saved.bytes,
            cache_limit=saved.limit,
        )

    def generate(self, request: GenerationRequest) -> Generation:
        """Start a reply; its prompt is made on a worker thread first."""

        def cancel() -> None:
            job.cancelled = True
            if self._steps.may_abort:
                self._runner.abort()
            self._thread.wake()

        generation = self._begin(cancel)
        job = Job(
            prompt=(),
            max_tokens=request.sampling.max_tokens,
            user=request.user,
            generation=generation,
            sampling=request.sampling,
            reader=ReplyReader((*request.sampling.stop, *self._template.stop)),
        )
        self._prepare(job, request)
        return generation

    async def count_tokens(self, text: str) -> int:
        """Tokenize on a worker thread."""
        return await asyncio.to_thread(self._runner.count_tokens, text, parse_special=False)

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Embed between the steps of the replies."""
        with self._embedding():
            return await self._embedder.embed(texts, truncate=truncate)

    async def adjust(self, settings: LoadSettings) -> None:
        """Apply the settings that need no reload."""
        await self._thread.run(partial(adjust, settings=settings))
        await self._embedder.adjust(settings)

    async def forget(self) -> None:
        """Empty the KV cache and the cache of idle chats; a reply that runs is read again."""
        await self._thread.run(lambda steps: steps.kv_cache.forget())

    async def close(self) -> None:
        """End every reply with ModelUnloaded, end the thread, free the model."""
        self._thread.closing = True
        self._runner.abort()
        self._embedder.stop()
        await self._thread.close()
        if self._preparing:
            await asyncio.wait(self._preparing)

    def _prepare(self, job: Job, request: GenerationRequest) -> None:
        task = asyncio.create_task(self._make_prompt(job, request))
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)

    async def _make_prompt(self, job: Job, request: GenerationRequest) -> None:
        try:
            prompt = await asyncio.to_thread(self._prompts.make, request)
            if self._thread.closing:
                raise ModelUnloaded
        except InferenceError as error:
            job.generation.publish(error)
            return
        except Exception:  # the task's outermost code: the reply must not wait for ever
            logger.exception('A prompt could not be made')
            job.generation.publish(InvalidRequest('The app could not read this conversation; the log has the details.'))
            return
        job.prompt, job.checkpoint = prompt.tokens, prompt.checkpoint
        job.room = self.info.n_ctx - len(job.prompt)
        job.remember = lambda job: self._prompts.remember(prompt, job.completion)
        self._thread.submit(job)
