"""One step of the engine: schedule, decode, sample, and say what came of it. Synchronous; knows no thread."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from inference.chat import FinishReason, GenerationEvent, PromptProgress, Queued, TextDelta
from inference.drafting import Drafter
from inference.engine import Generation
from inference.errors import ContextLost, DecodeFailed, InferenceError, ModelUnloaded
from inference.job import Job
from inference.kv_cache import KVCache
from inference.runner import Decoded, ModelRunner
from inference.sampler import Sampler
from inference.scheduler import Scheduler, Slot, Work

STEP_SECONDS, LONE_STEP_SECONDS = 0.2, 1.0
"""What a step with prefill should take: the first while others write, so that nobody's text pauses for long."""
SMALLEST_PREFILL, FIRST_PREFILL = 32, 128
"""Tokens; the second is for a model whose rate is not known yet."""
ABORT_FROM = 32
"""Tokens from which a batch is worth aborting; a smaller one is over soon."""

Delivery = tuple[Generation, GenerationEvent | InferenceError]


class StepLoop:
    """Scheduler, KV cache and runner, brought together."""

    def __init__(self, runner: ModelRunner) -> None:
        self.runner = runner
        self.scheduler = Scheduler[Job](n_slots=runner.n_slots, n_batch=runner.n_batch, n_cells=runner.n_ctx)
        self.kv_cache = KVCache(runner, self.scheduler)
        self._rate = 0.0
        self._events: list[Delivery] = []
        self._broken: InferenceError | None = None
        self.may_abort = False

    @property
    def busy(self) -> int:
        """How many slots make a reply."""
        return len(self.scheduler.running)

    @property
    def queued(self) -> int:
        """How many requests wait for a slot."""
        return len(self.scheduler.waiting)

    @property
    def reading(self) -> bool:
        """Whether a prompt is being read, so that the next step may take longer than a token."""
        return any(slot.unread for slot in self.scheduler.running)

    @property
    def cells(self) -> int:
        """How many tokens the KV cache holds; shared ones count for each slot."""
        return sum(len(slot.tokens) for slot in self.scheduler.slots)

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn."""
        self.scheduler.submit(job)

    def step(self) -> list[Delivery]:
        """Compute one batch and return what happened, in order."""
        # NOTE: cleared before the cancelled are dropped: a cancel in between stops the batch, never the next one.
        self.runner.clear_abort()
        self._drop_cancelled()
        if self._broken:
            return self._refuse_all(self._broken)
        self._admit()
        if self.reading:
            self._pace()
        if batch := self._schedule():
            self._run(batch)
        if self.busy and not self.reading:
            self.kv_cache.send_one_idle_away()
        return self._take_events()

    def rest(self) -> bool:
        """Do something useful while there is nothing to compute; return whether there may be more of it."""
        return not self.busy and self.kv_cache.save_one_idle()

    def stop(self) -> list[Delivery]:
        """End everything, because the model goes away, and return the last events."""
        self._drop_cancelled()
        return self._refuse_all(ModelUnloaded())

    def fail(self, error: InferenceError) -> list[Delivery]:
        """End every running reply with `error`; what the slots hold is no longer trusted."""
        for slot in self.scheduler.running:
            self._fail(slot, error)
        return self._take_events()

    def _refuse_all(self, error: InferenceError) -> list[Delivery]:
        while self.scheduler.waiting:
            self._report(self.scheduler.waiting.popleft(), error)
        return self.fail(error)

    def _fail(self, slot: Slot[Job], error: InferenceError) -> None:
        assert slot.request
        self._report(slot.request, error)
        self.scheduler.release(slot)
        self.kv_cache.trim(slot, 0)

    def _drop_cancelled(self) -> None:
        for job in self.scheduler.withdraw():
            self._report(job, job.finished('cancelled'))
        for slot in self.scheduler.running:
            if slot.request and slot.request.cancelled:
                self._finish(slot, slot.request, 'cancelled')

    def _admit(self) -> None:
        while job := self.scheduler.admit():
            slot = self.kv_cache.seat(job)
            job.started_at = job.started_at or time.perf_counter()
            self._report(job, PromptProgress(done=job.cached, total=len(job.prompt), cached=job.cached))
            try:
                self._equip(job)
            except InferenceError as error:
                self._fail(slot, error)
        for place, job in enumerate(self.scheduler.waiting, start=1):
            if job.place != place:
                job.place = place
                self._report(job, Queued(place=place))

    def _equip(self, job: Job) -> None:
        """Give a job what it needs to sample, unless it was here before. Raises InvalidRequest."""
        if not job.sampler:
            job.sampler = Sampler(job.sampling, self.runner.vocabulary)
            job.sampler.prime(job.prompt)
        if self.runner.drafts:
            job.drafter = job.drafter or Drafter(job.prompt)
        if job.thinks:
            self._limit_thought(job)  # a budget of 0 leaves no time to think

    def _pace(self) -> None:
        """Size the next prefill by the rate of the last one."""
        writing = any(not slot.unread for slot in self.scheduler.running)
        seconds = STEP_SECONDS if writing else LONE_STEP_SECONDS
        wanted = int(self._rate * seconds) // SMALLEST_PREFILL * SMALLEST_PREFILL if self._rate else FIRST_PREFILL
        self.scheduler.prefill_tokens = max(SMALLEST_PREFILL, min(wanted, self.runner.n_batch))

    def _schedule(self) -> list[Work[Job]]:
        for slot in self.scheduler.running:
            if (job := slot.request) and job.drafter and job.completion and not slot.unread:
                job.draft = () if job.forced else job.drafter.guess(max(0, job.left - 1))
        return self.scheduler.schedule()

    def _run(self, batch: list[Work[Job]]) -> None:
        """Compute a batch; where the library finds it invalid, each part alone, so that only the bad one fails."""
        try:
            self._compute(batch)
        except ContextLost as error:
            self._start_over(error)
        except DecodeFailed as error:
            if len(batch) == 1:
                self._fail(batch[0].slot, error)
            else:
                for work in batch:
                    self._run([work])

    def _start_over(self, error: InferenceError) -> None:
        self._events += self.fail(error)
        for slot in self.scheduler.slots:
            slot.tokens.clear()
        try:
            self.runner.rebuild()
        except InferenceError as failure:
            self._broken = failure

    def _compute(self, batch: list[Work[Job]]) -> None:
        started, n_tokens = time.perf_counter(), sum(len(work.tokens) for work in batch)
        self.may_abort = n_tokens >= ABORT_FROM and (len(batch) == 1 or not self.runner.is_exact)
        decoded = self.runner.decode(batch)
        self.may_abort = False
        if decoded is not Decoded.OK:
            self._give_way(batch, decoded)
            return
        if n_tokens >= SMALLEST_PREFILL:
            self._rate = n_tokens / (time.perf_counter() - started)
        for work, end in zip(batch, _ends(batch), strict=True):
            try:
                self._accept(work, end)
            except InferenceError as error:  # such as a grammar that leads nowhere
                self._fail(work.slot, error)

    def _accept(self, work: Work[Job], end: int) -> None:
        """Note what was computed and sample after it; `end` is the row of the batch after the work's last one."""
        slot, job = work.slot, work.request
        known = len(work.tokens) - max(0, work.samples - 1)
        slot.tokens.extend(work.tokens[:known])
        if not job.completion:
            self._report(job, PromptProgress(done=len(slot.tokens), total=len(job.prompt), cached=job.cached))
        if len(slot.tokens) == job.checkpoint:
            self.kv_cache.save(slot)
        guesses = work.tokens[known:]
        for row, guess in zip(range(end - work.samples, end), [*guesses, None], strict=False):
            token = self._sample(work, row)
            if token is None or token != guess:
                break
            slot.tokens.append(token)
        if guesses:
            self._check_guesses(work, known)

    def _check_guesses(self, work: Work[Job], known: int) -> None:
        """Take wrong guesses out of the memory again."""
        slot, job = work.slot, work.request
        guessed, right = len(work.tokens) - known, len(slot.tokens) - work.position - known
        if job.drafter:
            job.drafter.learn(guessed, right)
        if right < guessed:
            self.kv_cache.trim(slot, len(slot.tokens))

    def _sample(self, work: Work[Job], row: int) -> int | None:
        """Sample a token and tell what it brings; None where it ends the reply."""
        job = work.request
        token = self._choose(job, row, work.slot.tokens)
        job.first_token_at = job.first_token_at or time.perf_counter()
        if token in self.runner.ends:
            self._finish(work.slot, job, 'stop')
            return None
        job.completion.append(token)
        if job.drafter:
            job.drafter.extend((token,))
        self._read(job, token)
        return token if self._goes_on(work.slot, job) else None

    def _choose(self, job: Job, row: int, before: Sequence[int]) -> int:
        assert job.sampler
        if job.forced:
            job.sampler.observe(job.forced[0])
            return job.forced.popleft()
        job.sampler.grammar_waits = job.thinks
        return self.runner.sample(row, job.sampler, before)

    def _read(self, job: Job, token: int) -> None:
        """Turn a token into text, and end the reasoning where it has taken its share."""
        choice = job.sampler.choice if job.sampler else None
        for event in job.reader.feed(self.runner.pieces[token]):
            if choice and isinstance(event, TextDelta) and event.tokens:
                event = replace(event, choices=(choice,))  # noqa: PLW2901 (the same one, told more)
            self._report(job, event)
        job.thinks = job.reader.in_reasoning
        if job.thinks:
            job.thought += 1
            self._limit_thought(job)

    @staticmethod
    def _limit_thought(job: Job) -> None:
        if 0 <= job.think_budget <= job.thought:
            job.forced.extend(job.think_end)
            job.think_budget = -1

    def _goes_on(self, slot: Slot[Job], job: Job) -> bool:
        if job.reader.stopped:
            self._finish(slot, job, 'stop')
        elif job.max_tokens and job.said >= job.max_tokens:
            self._finish(slot, job, 'length')
        elif not job.room_left:
            self._out_of_room(slot, job, f'The context of {self.runner.n_ctx:,} tokens is full.')
        return slot.request is job

    def _out_of_room(self, slot: Slot[Job], job: Job, why: str) -> None:
        """End a reply that has no room left, or let it come back with older messages left out."""
        if job.replan and job.completion:
            self.scheduler.release(slot)
            job.replan(job)
        else:
            way_out = 'A larger context length, or another choice for what happens when it is full, helps.'
            self._finish(slot, job, 'length', f'{why} {way_out}')

    def _give_way(self, batch: list[Work[Job]], decoded: Decoded) -> None:
        """After an aborted or refused batch, go back to before it; a full cache takes from those who lose least."""
        for work in batch:
            self.kv_cache.trim(work.slot, min(len(work.slot.tokens), self.runner.length(work.slot.id)))
        if decoded is Decoded.ABORTED or self.kv_cache.drop_one_idle():
            return
        running = self.scheduler.running
        reading = [slot for slot in running if slot.request and not slot.request.completion]
        if reading and len(running) > 1:
            self.scheduler.put_back(reading[-1])
            return
        largest = max(running, key=lambda slot: len(slot.tokens))
        assert largest.request
        sharing = f'{len(running)} replies share the context of {self.runner.n_ctx:,} tokens, and it is full.'
        self._out_of_room(largest, largest.request, f'{sharing} This chat is the longest of them.')

    def _finish(self, slot: Slot[Job], job: Job, reason: FinishReason, detail: str = '') -> None:
        self.scheduler.release(slot)
        for event in job.reader.finish():
            self._report(job, event)
        if job.remember:
            job.remember(job)
        if reason == 'stop' and job.reader.called_tools:
            reason = 'tool_calls'
        self._report(job, job.finished(reason, detail))

    def _take_events(self) -> list[Delivery]:
        events, self._events = self._events, []
        return events

    def _report(self, job: Job, event: GenerationEvent | InferenceError) -> None:
        self._events.append((job.generation, event))


def _ends(batch: list[Work[Job]]) -> Iterator[int]:
    """Yield for each work the row of the batch after its last one."""
    end = 0
    for work in batch:
        end += len(work.tokens)
        yield end
