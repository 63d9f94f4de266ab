"""The thread that makes every llama.cpp call: loads, then steps until it is closed."""

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar

from loguru import logger

from inference.catalog import ModelFile
from inference.chat import ReasoningDelta, TextDelta
from inference.engine import Generation
from inference.errors import DecodeFailed, InferenceError, LoadFailed, ModelUnloaded
from inference.job import Job
from inference.memory import free_memory
from inference.runner import ModelRunner
from inference.settings import LoadSettings
from inference.step_loop import Delivery, StepLoop

SWITCH_SECONDS = 0.0005
"""How long the interpreter lets another thread go on when this one has a result to handle (Python's default: 5 ms)."""

TOGETHER_SECONDS = 0.02
"""Text reaches its readers 50 times a second at most; faster than that is no faster to the eye."""
QUIET_SECONDS = 0.5
"""After this time without work, idle chats are saved; who asks again at once does not wait for that."""

Progress = Callable[[float], None]
Command = Callable[[StepLoop], None]
Result = TypeVar('Result')


class EngineThread:
    """Jobs and commands go in through an inbox; what a step brought crosses back in one call."""

    def __init__(self, model: ModelFile, settings: LoadSettings, on_progress: Progress) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[Job | Command | None] = queue.SimpleQueue()
        self.closing = False
        self._held: list[Delivery] = []
        self._published = 0.0
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

    async def run(self, work: Callable[[StepLoop], Result]) -> Result:
        """Do something between two steps and return what it returns. Raises ModelUnloaded, or what it raises."""
        done: asyncio.Future[Result] = self._loop.create_future()

        def command(steps: StepLoop) -> None:
            try:
                result = work(steps)
            except Exception as error:  # it belongs to the caller, whatever it is
                self.call(_settle, done, error)
            else:
                self.call(_settle, done, result)

        if self.closing:
            raise ModelUnloaded
        self._inbox.put(command)
        return await done

    def call(self, function: Callable[..., None], *args: object) -> None:
        """Call a function on the event loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

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
        sys.setswitchinterval(SWITCH_SECONDS)

        def progress(share: float) -> bool:
            self.call(on_progress, share)
            return not self.closing

        try:
            steps = _load(model, settings, progress)
        except InferenceError as error:
            self.call(_settle, self.ready, error)
            return
        except Exception:  # the thread's outermost code: the load must not wait for ever
            logger.exception('Loading {} failed', model.path)
            failure = LoadFailed(f'The app met an error of its own with {model.path.name}; the log has the details.')
            self.call(_settle, self.ready, failure)
            return
        with closing(steps.runner):
            self.call(_settle, self.ready, steps)
            while not self.closing:
                self._read_inbox(steps)
                self._publish(self._step(steps), steps)
            self._read_inbox(steps)
            self._publish(steps.stop(), steps)

    @staticmethod
    def _step(steps: StepLoop) -> list[Delivery]:
        try:
            return steps.step()
        except Exception:  # the thread's outermost loop: the replies fail, the engine goes on
            logger.exception('A step of the engine failed')
            return steps.fail(DecodeFailed('The engine met an error of its own; the log has the details. Try again.'))

    def _read_inbox(self, steps: StepLoop) -> None:
        """Take what was put in so far, and no more before the next step; with nothing to compute, wait for more."""
        for _ in range(self._inbox.qsize()):
            self._take(steps, self._inbox.get())
        while not (steps.busy or steps.queued or self.closing):
            self._take(steps, self._next(steps))

    @staticmethod
    def _take(steps: StepLoop, item: Job | Command | None) -> None:
        match item:
            case Job() as job:
                steps.submit(job)
            case None:
                pass
            case command:
                command(steps)

    def _next(self, steps: StepLoop) -> Job | Command | None:
        """Take from the inbox; one that stays empty for a moment leaves time to put things away."""
        with suppress(queue.Empty):
            return self._inbox.get(timeout=QUIET_SECONDS)
        while self._inbox.empty() and steps.rest():
            pass
        return self._inbox.get()

    def _publish(self, deliveries: list[Delivery], steps: StepLoop) -> None:
        """Pass on what a step brought; text that comes in quick succession goes together.

        Each crossing takes a little time from a core that computes.
        """
        self._held += deliveries
        only_text = all(isinstance(event, TextDelta | ReasoningDelta) for _, event in self._held)
        soon = only_text and not steps.reading and not steps.queued and self._inbox.empty()
        if self._held and not (soon and time.perf_counter() - self._published < TOGETHER_SECONDS):
            self.call(_deliver, merged(self._held))
            self._held, self._published = [], time.perf_counter()


def _load(model: ModelFile, settings: LoadSettings, on_progress: Callable[[float], bool]) -> StepLoop:
    runner = ModelRunner.load(model.path, settings, on_progress=on_progress)
    try:
        steps = StepLoop(runner)
        adjust(steps, settings)
    except InferenceError:
        runner.close()
        raise
    return steps


def adjust(steps: StepLoop, settings: LoadSettings) -> None:
    """Apply what can change while the engine runs; called on its thread. Raises LoadFailed, and nothing is changed."""
    if settings.n_slots > steps.runner.n_slots:
        raise LoadFailed(f'The model was loaded for {steps.runner.n_slots} replies at once. Load it again for more.')
    if steps.runner.adjust(settings):
        steps.kv_cache.forget()
    scheduler = steps.scheduler
    scheduler.most_running, scheduler.most_per_user = settings.n_slots, settings.slots_per_user
    cache = settings.cache_ram << 20 if settings.cache_ram >= 0 else free_memory() // 4
    steps.kv_cache.saved.limit = cache


def merged(deliveries: list[Delivery]) -> list[Delivery]:
    """Join the pieces of text that follow each other in one reply; those with choices stay as they are."""
    joined: list[Delivery] = []
    last: dict[Generation, int] = {}
    for generation, event in deliveries:
        place = last.get(generation)
        match joined[place][1] if place is not None else None, event:
            case TextDelta(text=text, tokens=tokens, choices=()), TextDelta(choices=()) if place is not None:
                joined[place] = generation, TextDelta(text=text + event.text, tokens=tokens + event.tokens)
            case ReasoningDelta(text=text, tokens=tokens), ReasoningDelta() if place is not None:
                joined[place] = generation, ReasoningDelta(text=text + event.text, tokens=tokens + event.tokens)
            case _:
                last[generation] = len(joined)
                joined.append((generation, event))
    return joined


def _deliver(deliveries: list[Delivery]) -> None:
    for generation, event in deliveries:
        generation.publish(event)


def _settle(future: 'asyncio.Future[Result]', outcome: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
