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
from inference.chat import GenerationRequest, LeftOut
from inference.embedder import Embedder
from inference.engine import Engine, EngineInfo, EngineStatus, Generation, PromptSize
from inference.engine_thread import EngineThread, Progress, adjust
from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest, ModelUnloaded
from inference.forced_calls import sampling_for
from inference.job import Job
from inference.memory import estimate
from inference.prompts import Prompt, PromptMaker
from inference.reply import ReplyReader
from inference.sampling import check_sampling
from inference.settings import LoadSettings
from inference.step_loop import StepLoop
from inference.template import ChatTemplate
from inference.vectors import Embeddings

LEAST_ROOM = 16
"""Part of the context that leaving out messages must win in the middle of a reply, or it is not worth reading again."""


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
        self._runner.show(self._template.style.markers)
        self._think_end = tuple(
            self._runner.tokenize(self._template.style.closing, add_special=False, parse_special=True)
        )
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

        def replan(job: Job) -> None:
            self._thread.call(self._prepare, job, request)

        generation = self._begin(cancel, gives_way=request.gives_way)
        job = Job(
            prompt=(),
            max_tokens=request.sampling.max_tokens,
            user=request.user,
            generation=generation,
            sampling=request.sampling,
            reader=ReplyReader(self._template.style),
            replan=None if request.overflow == 'stop' else replan,
        )
        self._prepare(job, request)
        return generation

    async def count_tokens(self, text: str) -> int:
        """Tokenize on a worker thread."""
        return await asyncio.to_thread(self._runner.count_tokens, text, parse_special=False)

    async def measure(self, request: GenerationRequest) -> PromptSize:
        """Make the prompt on a worker thread."""
        return await asyncio.to_thread(self._prompts.measure, request)

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Embed between the steps of the replies."""
        with self._embedding():
            return await self._embedder.embed(texts, truncate=truncate)

    async def adjust(self, settings: LoadSettings) -> None:
        """Apply the settings that need no reload. Raises LoadFailed for an adapter that does not fit the model."""
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
        """Make the job's prompt, for the first time or again with fewer messages, and hand it to the thread."""
        task = asyncio.create_task(self._submit(job, request))
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)

    async def _submit(self, job: Job, request: GenerationRequest) -> None:
        try:
            prompt = await asyncio.to_thread(self._prompt_for, job, request)
            if self._thread.closing:
                raise ModelUnloaded
        except ContextLengthExceeded as error:
            job.end(str(error)) if job.said else job.generation.publish(error)
            return
        except InferenceError as error:
            job.generation.publish(error)
            return
        except Exception:  # the task's outermost code: the reply must not wait for ever
            logger.exception('A prompt could not be made')
            job.generation.publish(InvalidRequest('The app could not read this conversation; the log has the details.'))
            return
        if prompt.left_out:
            job.generation.publish(LeftOut(messages=prompt.left_out))
        self._thread.submit(job)

    def _prompt_for(self, job: Job, request: GenerationRequest) -> Prompt:
        """Make the prompt and set the job up for it; runs on a worker thread, while nobody else has the job."""
        if not job.said:
            job.sampling = sampling_for(request, self._template.style)
            check_sampling(job.sampling, self._runner.vocabulary)
        said = [*job.earlier, *job.completion]
        prompt = self._prompts.make(request, said)
        room = self._runner.n_ctx - len(prompt.tokens)
        if said and room < self._runner.n_ctx // LEAST_ROOM:
            raise ContextLengthExceeded(prompt_tokens=len(prompt.tokens), n_ctx=self._runner.n_ctx)
        if not said:
            self._begin_reading(job, request, prompt)
        job.restart(prompt.tokens, said, room=room, checkpoint=prompt.checkpoint)
        job.remember = lambda job: self._prompts.remember(prompt, job.completion)
        return prompt

    def _begin_reading(self, job: Job, request: GenerationRequest, prompt: Prompt) -> None:
        style = self._template.style
        tools = () if request.tool_choice == 'none' else request.tools
        job.reader = ReplyReader(
            style,
            prompt=prompt.text,
            begun=prompt.begun,
            tools=tools,
            stop=request.sampling.stop,
            ends=self._template.stop,
        )
        job.thinks = job.reader.in_reasoning
        job.think_end, job.think_budget = self._think_end, request.sampling.reasoning_budget
