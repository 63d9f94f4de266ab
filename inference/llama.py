"""The engine that runs a GGUF file in this process: one thread, one step loop, one crossing back.

Everything llama.cpp does with the context happens on the engine's thread. Templates and tokenizing happen before it,
on a worker thread; what a step brought crosses to the event loop in one call.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Self

from loguru import logger

from inference.catalog import ModelFile
from inference.chat import GenerationRequest
from inference.engine import Engine, EngineInfo, EngineStatus, Generation
from inference.errors import (
    ContextLengthExceeded,
    DecodeFailed,
    InferenceError,
    InvalidRequest,
    LoadFailed,
    ModelUnloaded,
)
from inference.memory import estimate
from inference.parsing import TextStream
from inference.runner import ModelRunner
from inference.settings import LoadSettings
from inference.step_loop import Delivery, Job, StepLoop
from inference.template import ChatTemplate

N_SLOTS = 1
LONG_PROMPT, FAR_TOO_LONG = 32_768, 1.2
"""Characters from which a prompt is counted roughly first, and the share of the context that is refused by that."""
Progress = Callable[[float], None]


class LlamaEngine(Engine):
    """One loaded model; made by `load`."""

    def __init__(
        self,
        thread: '_EngineThread',
        steps: StepLoop,
        model: ModelFile,
        settings: LoadSettings,
        template: tuple[ChatTemplate, str | None],
    ) -> None:
        super().__init__()
        self._thread, self._steps, self._runner = thread, steps, steps.runner
        self._template, warning = template
        self._preparing: set[asyncio.Task[None]] = set()
        self.info = EngineInfo(
            name=model.name,
            architecture=model.header.architecture,
            quantization=model.header.quantization,
            parameters=model.header.parameters,
            size=model.header.size,
            n_ctx=self._runner.n_ctx,
            n_ctx_train=model.header.n_ctx_train,
            memory=estimate(model.header, settings, n_slots=N_SLOTS).total,
            warnings=(warning,) if warning else (),
        )

    @classmethod
    async def load(cls, model: ModelFile, settings: LoadSettings, on_progress: Progress = lambda share: None) -> Self:
        """Load `model`; `on_progress` is called on the event loop with the share done (0 to 1).

        Cancelling the call stops the load. Raises LoadFailed.
        """
        thread = _EngineThread(model, settings, on_progress)
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
        return EngineStatus(slots=N_SLOTS, busy=self._steps.busy, queued=self._steps.queued + len(self._preparing))

    def generate(self, request: GenerationRequest) -> Generation:
        """Start a reply; its prompt is made on a worker thread first."""

        def cancel() -> None:
            job.cancelled = True
            self._runner.abort()
            self._thread.wake()

        text = TextStream((*request.sampling.stop, *self._template.stop))
        generation = self._begin(cancel)
        job = Job(prompt=(), max_tokens=0, generation=generation, sampling=request.sampling, text=text)
        task = asyncio.create_task(self._prepare(job, request))
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)
        return generation

    async def count_tokens(self, text: str) -> int:
        """Tokenize on a worker thread."""
        return await asyncio.to_thread(self._runner.count_tokens, text, parse_special=False)

    async def close(self) -> None:
        """End every reply with ModelUnloaded, end the thread, free the model."""
        self._thread.closing = True
        self._runner.abort()
        await self._thread.close()
        if self._preparing:
            await asyncio.wait(self._preparing)

    async def _prepare(self, job: Job, request: GenerationRequest) -> None:
        try:
            job.prompt = await asyncio.to_thread(self._read_prompt, request)
            if self._thread.closing:
                raise ModelUnloaded
        except InferenceError as error:
            job.generation.publish(error)
            return
        except Exception:  # the task's outermost code: the reply must not wait for ever
            logger.exception('A prompt could not be made')
            job.generation.publish(InvalidRequest('The app could not read this conversation; the log has the details.'))
            return
        room = self.info.n_ctx - len(job.prompt)
        job.max_tokens = min(request.sampling.max_tokens or room, room)
        self._thread.submit(job)

    def _read_prompt(self, request: GenerationRequest) -> list[int]:
        """Return the tokens of the conversation; runs on a worker thread."""
        text = self._template.render(request.messages)
        about = self._runner.count_tokens(text, parse_special=True) if len(text) > LONG_PROMPT else 0
        if about > FAR_TOO_LONG * self.info.n_ctx:
            raise ContextLengthExceeded(prompt_tokens=about, n_ctx=self.info.n_ctx)
        add_special = not self._template.begins_with_bos
        tokens = self._runner.tokenize(text, add_special=add_special, parse_special=True)
        if len(tokens) >= self.info.n_ctx:
            raise ContextLengthExceeded(prompt_tokens=len(tokens), n_ctx=self.info.n_ctx)
        if not tokens:
            raise InvalidRequest('The chat template of this model makes nothing of these messages. Write another one.')
        return tokens


class _EngineThread:
    """The thread that makes every llama.cpp call: loads, then steps until it is closed."""

    def __init__(self, model: ModelFile, settings: LoadSettings, on_progress: Progress) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.closing = False
        self.ready: asyncio.Future[StepLoop] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(model, settings, on_progress), name='engine', daemon=True
        )
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn."""
        self._inbox.put(job)

    def wake(self) -> None:
        """Make the thread look at what changed."""
        self._inbox.put(None)

    async def close(self) -> None:
        """Stop loading or stepping, and return when the memory is given back.

        A caller that is cancelled meanwhile waits all the same: the next model needs that memory.
        """
        self.closing = True
        self.wake()
        ended = asyncio.create_task(asyncio.to_thread(self._thread.join))
        cancelled: asyncio.CancelledError | None = None
        while not ended.done():
            try:
                await asyncio.shield(ended)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled:
            raise cancelled

    def _run(self, model: ModelFile, settings: LoadSettings, on_progress: Progress) -> None:
        def progress(share: float) -> bool:
            self._call(on_progress, share)
            return not self.closing

        try:
            runner = ModelRunner.load(model.path, settings, n_slots=N_SLOTS, on_progress=progress)
        except InferenceError as error:
            self._call(_settle, self.ready, error)
            return
        except Exception:  # the thread's outermost code: the load must not wait for ever
            logger.exception('Loading {} failed', model.path)
            failure = LoadFailed(f'The app met an error of its own with {model.path.name}; the log has the details.')
            self._call(_settle, self.ready, failure)
            return
        with closing(runner):
            steps = StepLoop(runner, n_slots=N_SLOTS)
            self._call(_settle, self.ready, steps)
            while not self.closing:
                self._read_inbox(steps)
                self._publish(self._step(steps))
            self._read_inbox(steps)
            self._publish(steps.stop())

    @staticmethod
    def _step(steps: StepLoop) -> list[Delivery]:
        try:
            return steps.step()
        except Exception:  # the thread's outermost loop: the replies fail, the engine goes on
            logger.exception('A step of the engine failed')
            return steps.fail(DecodeFailed('The engine met an error of its own; the log has the details. Try again.'))

    def _read_inbox(self, steps: StepLoop) -> None:
        """Take the jobs that were submitted; with nothing to compute, wait for one."""
        while not self._inbox.empty() or not (steps.busy or steps.queued or self.closing):
            job = self._inbox.get()
            if job:
                steps.submit(job)

    def _publish(self, deliveries: list[Delivery]) -> None:
        if deliveries:
            self._call(_deliver, deliveries)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)


def _deliver(deliveries: list[Delivery]) -> None:
    for generation, event in deliveries:
        generation.publish(event)


def _settle(future: asyncio.Future[StepLoop], outcome: StepLoop | InferenceError) -> None:
    if future.done():
        return
    if isinstance(outcome, InferenceError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
