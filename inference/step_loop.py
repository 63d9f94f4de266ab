"""One step of the engine: schedule, decode, sample, and say what came of it. Synchronous; knows no thread."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from inference.chat import Finished, FinishReason, GenerationEvent, PromptProgress, Queued, TextDelta, Timings, Usage
from inference.engine import Generation
from inference.errors import DecodeFailed, InferenceError, ModelUnloaded
from inference.parsing import TextStream
from inference.runner import Decoded, ModelRunner
from inference.sampler import Sampler
from inference.scheduler import Request, Scheduler, Slot, Work
from inference.settings import SamplingSettings

STEP_SECONDS = 0.25
"""What a prefill step should take: short enough for live progress, long enough to cost nothing."""
SMALLEST_PREFILL, FIRST_PREFILL = 32, 128
"""Tokens; the second is for a model whose rate is not known yet."""


@dataclass(eq=False, kw_only=True, slots=True)
class Job(Request):
    """A request with what it takes to answer it; times are `time.perf_counter()` seconds."""

    generation: Generation
    sampling: SamplingSettings
    text: TextStream
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float = 0.0
    first_token_at: float = 0.0
    place: int = 0
    sampler: Sampler | None = None


Delivery = tuple[Generation, GenerationEvent | InferenceError]


class StepLoop:
    """Scheduler and runner, brought together."""

    def __init__(self, runner: ModelRunner, *, n_slots: int) -> None:
        self.runner = runner
        self._scheduler = Scheduler[Job](n_slots=n_slots, n_batch=runner.n_batch)
        self._scheduler.prefill_tokens = min(FIRST_PREFILL, runner.n_batch)
        self._events: list[Delivery] = []

    @property
    def busy(self) -> int:
        """How many slots make a reply."""
        return len(self._scheduler.running)

    @property
    def queued(self) -> int:
        """How many requests wait for a slot."""
        return len(self._scheduler.waiting)

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn."""
        self._scheduler.submit(job)

    def step(self) -> list[Delivery]:
        """Compute one batch and return what happened, in order."""
        # NOTE: cleared before the cancelled are dropped: a cancel in between stops the batch, never the next one.
        self.runner.clear_abort()
        self._drop_cancelled()
        self._admit()
        batch = self._scheduler.schedule()
        if batch:
            try:
                self._compute(batch)
            except DecodeFailed as error:
                return self.fail(error)
        return self._take_events()

    def stop(self) -> list[Delivery]:
        """End everything, because the model goes away, and return the last events."""
        self._drop_cancelled()
        while self._scheduler.waiting:
            self._report(self._scheduler.waiting.popleft(), ModelUnloaded())
        return self.fail(ModelUnloaded())

    def fail(self, error: InferenceError) -> list[Delivery]:
        """End every running reply with `error`; what the slots hold is no longer trusted."""
        for slot in self._scheduler.running:
            assert slot.request
            self._report(slot.request, error)
            self._scheduler.release(slot)
            self._trim(slot, 0)
        return self._take_events()

    def _drop_cancelled(self) -> None:
        for job in self._scheduler.withdraw():
            self._report(job, self._finished(job, 'cancelled'))
        for slot in self._scheduler.running:
            if slot.request and slot.request.cancelled:
                self._finish(slot, slot.request, 'cancelled')

    def _admit(self) -> None:
        for slot, job, reusable in self._scheduler.admit():
            job.cached = self._trim(slot, reusable)
            job.started_at = time.perf_counter()
            job.sampler = Sampler(job.sampling, self.runner.vocabulary)
            self._report(job, PromptProgress(done=job.cached, total=len(job.prompt), cached=job.cached))
        for place, job in enumerate(self._scheduler.waiting, start=1):
            if job.place != place:
                job.place = place
                self._report(job, Queued(place=place))

    def _compute(self, batch: list[Work[Job]]) -> None:
        started = time.perf_counter()
        decoded = self.runner.decode(batch)
        if decoded is not Decoded.OK:
            self._give_way(batch, decoded)
            return
        self._pace(batch, time.perf_counter() - started)
        for work, row in zip(batch, _last_rows(batch), strict=True):
            work.slot.tokens.extend(work.tokens)
            if not work.request.completion:
                self._report_progress(work)
            if work.samples:
                self._sample(work, row)

    def _sample(self, work: Work[Job], row: int) -> None:
        job = work.request
        assert job.sampler
        token = self.runner.sample(row, job.sampler, work.slot.tokens)
        job.first_token_at = job.first_token_at or time.perf_counter()
        if token in self.runner.ends:
            self._finish(work.slot, job, 'stop')
            return
        job.completion.append(token)
        text = job.text.feed(self.runner.pieces[token])
        self._report(job, TextDelta(text=text))
        if job.text.stopped:
            self._finish(work.slot, job, 'stop')
        elif len(job.completion) >= job.max_tokens:
            self._finish(work.slot, job, 'length')

    def _give_way(self, batch: list[Work[Job]], decoded: Decoded) -> None:
        """After an aborted or refused batch, go back to before it; a full cache ends the largest request."""
        for work in batch:
            self._trim(work.slot, min(len(work.slot.tokens), self.runner.length(work.slot.id)))
        if decoded is Decoded.FULL:
            largest = max(batch, key=lambda work: len(work.slot.tokens))
            self._finish(largest.slot, largest.request, 'length')

    def _trim(self, slot: Slot[Job], length: int) -> int:
        kept = self.runner.keep(slot.id, length)
        del slot.tokens[kept:]
        return kept

    def _pace(self, batch: list[Work[Job]], seconds: float) -> None:
        """Size the next prefill so that its step takes about `STEP_SECONDS`."""
        tokens = sum(len(work.tokens) for work in batch)
        if tokens >= SMALLEST_PREFILL:
            wanted = int(tokens / seconds * STEP_SECONDS) // SMALLEST_PREFILL * SMALLEST_PREFILL
            self._scheduler.prefill_tokens = max(SMALLEST_PREFILL, min(wanted, self.runner.n_batch))

    def _report_progress(self, work: Work[Job]) -> None:
        job = work.request
        self._report(job, PromptProgress(done=len(work.slot.tokens), total=len(job.prompt), cached=job.cached))

    def _finish(self, slot: Slot[Job], job: Job, reason: FinishReason) -> None:
        self._scheduler.release(slot)
        if text := job.text.finish():
            self._report(job, TextDelta(text=text, tokens=0))
        self._report(job, self._finished(job, reason))

    def _finished(self, job: Job, reason: FinishReason) -> Finished:
        now = time.perf_counter()
        started = job.started_at or now
        first = job.first_token_at or now
        return Finished(
            reason=reason,
            usage=Usage(prompt_tokens=len(job.prompt), cached_tokens=job.cached, completion_tokens=len(job.completion)),
            timings=Timings(queued=started - job.queued_at, prefill=first - started, decode=now - first),
        )

    def _take_events(self) -> list[Delivery]:
        events, self._events = self._events, []
        return events

    def _report(self, job: Job, event: GenerationEvent | InferenceError) -> None:
        self._events.append((job.generation, event))


def _last_rows(batch: list[Work[Job]]) -> Iterator[int]:
    """Yield the row of each work's last token in the batch."""
    end = 0
    for work in batch:
        end += len(work.tokens)
        yield end - 1
