"""An engine without a model: repeats the last message word by word. For demos, tests and documentation."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

from inference.chat import Finished, FinishReason, GenerationRequest, PromptProgress, Queued, TextDelta, Timings, Usage
from inference.engine import Engine, EngineInfo, EngineStatus, Generation
from inference.errors import ContextLengthExceeded, InvalidRequest
from inference.parsing import TextStream

N_CTX = 100_000
PREFILL_PIECES = 4


class EchoEngine(Engine):
    """Keeps the contract of `Engine`; a token is a word with the space around it. One reply at a time."""

    def __init__(self, *, rate: float = 50) -> None:
        """Take the words to send a second; 0 sends as fast as they are read."""
        self.info = EngineInfo(
            name='Echo', architecture='echo', quantization='', parameters=0, size=0, n_ctx=N_CTX, n_ctx_train=N_CTX,
            memory=0, warnings=('This is the echo engine: it repeats what you write. Pick a model to chat.',),
        )  # fmt: skip
        self._pause = 1 / rate if rate else 0
        self._turn = asyncio.Lock()
        self._tasks: deque[asyncio.Task[None]] = deque()
        self._last_prompt: list[str] = []

    @property
    def status(self) -> EngineStatus:
        """One slot, and those who wait for it."""
        busy = int(self._turn.locked())
        return EngineStatus(slots=1, busy=busy, queued=len(self._tasks) - busy)

    def generate(self, request: GenerationRequest) -> Generation:
        """Repeat the last message."""
        cancelled = asyncio.Event()
        generation = Generation(self.info.name, cancelled.set)
        self._spawn(self._reply(request, generation, cancelled))
        return generation

    async def count_tokens(self, text: str) -> int:
        """Count words."""
        return len(_words(text))

    async def close(self) -> None:
        """Cancel what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    async def _reply(self, request: GenerationRequest, generation: Generation, cancelled: asyncio.Event) -> None:
        queued_at = time.monotonic()
        prompt = [word for message in request.messages for word in _words(message.content)]
        if not prompt:
            generation.publish(InvalidRequest('The message is empty. Write something first.'))
            return
        if len(prompt) >= N_CTX:
            generation.publish(ContextLengthExceeded(prompt_tokens=len(prompt), n_ctx=N_CTX))
            return
        if self._turn.locked():
            generation.publish(Queued(place=len(self._tasks) - 1))
        async with self._turn:
            started = time.monotonic()
            cached = self._read(prompt, generation)
            first = time.monotonic()
            sent, reason = await self._write(request, generation, cancelled)
            timings = Timings(queued=started - queued_at, prefill=first - started, decode=time.monotonic() - first)
        usage = Usage(prompt_tokens=len(prompt), cached_tokens=cached, completion_tokens=sent)
        generation.publish(Finished(reason=reason, usage=usage, timings=timings))

    def _read(self, prompt: list[str], generation: Generation) -> int:
        """Report the prompt as read in pieces; return how much of it the last prompt began with."""
        pairs = zip(prompt[:-1], self._last_prompt, strict=False)
        cached = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt) - 1, len(self._last_prompt)))
        self._last_prompt = prompt
        for piece in range(PREFILL_PIECES + 1):
            done = cached + (len(prompt) - cached) * piece // PREFILL_PIECES
            generation.publish(PromptProgress(done=done, total=len(prompt), cached=cached))
        return cached

    async def _write(
        self, request: GenerationRequest, generation: Generation, cancelled: asyncio.Event
    ) -> tuple[int, FinishReason]:
        text, sent = TextStream(request.sampling.stop), 0
        reason: FinishReason = 'stop'
        words = _words(request.messages[-1].content)
        for word in words[: request.sampling.max_tokens or None]:
            await asyncio.sleep(self._pause)
            if cancelled.is_set():
                reason = 'cancelled'
                break
            sent += 1
            generation.publish(TextDelta(text=text.feed(word.encode('utf-8', 'replace'))))
            if text.stopped:
                break
        else:
            reason = 'stop' if sent == len(words) else 'length'
        generation.publish(TextDelta(text=text.finish(), tokens=0))
        return sent, reason


def _words(text: str) -> list[str]:
    return re.findall(r'\s*\S+\s*$|\s*\S+', text)
