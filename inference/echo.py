"""An engine without a model: repeats the last message word by word. For demos, tests and documentation."""

import asyncio
import re
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from inference.chat import Finished, FinishReason, GenerationRequest, PromptProgress, Queued, TextDelta, Timings, Usage
from inference.engine import Engine, EngineInfo, EngineStatus, Generation
from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest, ModelUnloaded
from inference.parsing import TextStream
from inference.vectors import Embeddings, Ranking, Vectors, unit_vectors

N_CTX = 100_000
PREFILL_PIECES = 4
N_EMBD = 64


@dataclass(eq=False, slots=True)
class _Reply:
    request: GenerationRequest
    generation: Generation
    prompt: list[str]
    queued_at: float = field(default_factory=time.perf_counter)
    cancelled: bool = False


class EchoEngine(Engine):
    """Keeps the contract of `Engine`; a token is a word with the space around it. One reply at a time."""

    def __init__(self, *, rate: float = 50) -> None:
        """Take the words to send a second; 0 sends as fast as they are read."""
        super().__init__()
        self.info = EngineInfo(
            name='Echo', architecture='echo', quantization='', parameters=0, size=0, n_ctx=N_CTX, n_ctx_train=N_CTX,
            memory=0, warnings=('This is the echo engine: it repeats what you write. Pick a model to chat.',),
        )  # fmt: skip
        self._pause = 1 / rate if rate else 0
        self._line: dict[_Reply, asyncio.Task[None]] = {}
        self._moved = asyncio.Event()
        self._closed = False
        self._last_prompt: list[str] = []

    @property
    def status(self) -> EngineStatus:
        """One slot, and those who wait for it."""
        busy = min(1, len(self._line))
        return EngineStatus(slots=1, busy=busy, queued=len(self._line) - busy)

    def generate(self, request: GenerationRequest) -> Generation:
        """Repeat the last message."""

        def cancel() -> None:
            reply.cancelled = True
            self._move()

        prompt = [word for message in request.messages for word in _words(message.content)]
        reply = _Reply(request, self._begin(cancel), prompt)
        if refusal := self._refusal(prompt):
            reply.generation.publish(refusal)
        else:
            self._line[reply] = asyncio.create_task(self._answer(reply))
        return reply.generation

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Count the words that are in a text, each in a place of its own, more or less."""
        words = [self._words_to_embed(text, f'Text {number}', truncate) for number, text in enumerate(texts, start=1)]
        if not words:
            raise InvalidRequest('There is no text to embed. Send at least one.')
        return Embeddings(vectors=unit_vectors(_counted(words)), prompt_tokens=sum(map(len, words)))

    async def rerank(self, query: str, documents: Sequence[str], *, truncate: bool = False) -> Ranking:
        """Score the words that a document has in common with the query."""
        both = await self.embed([query, *documents], truncate=truncate)
        scores = both.vectors[1:] @ both.vectors[0]
        return Ranking(scores=tuple(scores.clip(0, 1).tolist()), prompt_tokens=both.prompt_tokens)

    async def count_tokens(self, text: str) -> int:
        """Count words."""
        return len(_words(text))

    async def close(self) -> None:
        """End every reply with ModelUnloaded."""
        self._closed = True
        tasks = [*self._line.values()]
        for reply, task in self._line.items():
            task.cancel()
            reply.generation.publish(ModelUnloaded())
        self._line.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refusal(self, prompt: list[str]) -> InferenceError | None:
        if self._closed:
            return ModelUnloaded()
        if not prompt:
            return InvalidRequest('The message is empty. Write something first.')
        return ContextLengthExceeded(prompt_tokens=len(prompt), n_ctx=N_CTX) if len(prompt) >= N_CTX else None

    def _words_to_embed(self, text: str, name: str, truncate: bool) -> list[str]:
        words = _words(text)
        if self._closed:
            raise ModelUnloaded
        if not words:
            raise InvalidRequest(f'{name} is empty, so there is nothing to embed. Leave it out.')
        if len(words) > N_CTX and not truncate:
            raise InvalidRequest(f'{name} has {len(words):,} tokens, but this model takes {N_CTX:,} at most.')
        return words[:N_CTX]

    async def _answer(self, reply: _Reply) -> None:
        await self._wait(reply)
        started = time.perf_counter()
        cached = 0 if reply.cancelled else self._read(reply)
        first = time.perf_counter()
        sent, reason = await self._write(reply)
        timings = Timings(queued=started - reply.queued_at, prefill=first - started, decode=time.perf_counter() - first)
        usage = Usage(prompt_tokens=len(reply.prompt), cached_tokens=cached, completion_tokens=sent)
        del self._line[reply]
        self._move()
        reply.generation.publish(Finished(reason=reason, usage=usage, timings=timings))

    async def _wait(self, reply: _Reply) -> None:
        """Return when nobody is before this reply, or it is cancelled."""
        told = 0
        while (place := [*self._line].index(reply)) and not reply.cancelled:
            if place != told:
                reply.generation.publish(Queued(place=place))
                told = place
            await self._moved.wait()

    def _move(self) -> None:
        """Let all who wait look at their place."""
        self._moved.set()
        self._moved.clear()

    def _read(self, reply: _Reply) -> int:
        """Report the prompt as read in pieces; return how much of it the last prompt began with."""
        prompt = reply.prompt
        pairs = zip(prompt[:-1], self._last_prompt, strict=False)
        cached = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt) - 1, len(self._last_prompt)))
        self._last_prompt = prompt
        for piece in range(PREFILL_PIECES + 1):
            done = cached + (len(prompt) - cached) * piece // PREFILL_PIECES
            reply.generation.publish(PromptProgress(done=done, total=len(prompt), cached=cached))
        return cached

    async def _write(self, reply: _Reply) -> tuple[int, FinishReason]:
        sampling, text, sent = reply.request.sampling, TextStream(reply.request.sampling.stop), 0
        reason: FinishReason = 'stop'
        words = _words(reply.request.messages[-1].content)
        for word in words[: sampling.max_tokens or None]:
            if not reply.cancelled:
                await asyncio.sleep(self._pause)
            if reply.cancelled:
                reason = 'cancelled'
                break
            sent += 1
            reply.generation.publish(TextDelta(text=text.feed(word.encode('utf-8', 'replace'))))
            if text.stopped:
                break
        else:
            reason = 'stop' if sent == len(words) else 'length'
        if held := text.finish():
            reply.generation.publish(TextDelta(text=held, tokens=0))
        return sent, reason


def _words(text: str) -> list[str]:
    return re.findall(r'\s*\S+(?:\s+$)?', text) if text.strip() else []


def _counted(texts: Sequence[Sequence[str]]) -> Vectors:
    rows = np.zeros((len(texts), N_EMBD), np.float32)
    for row, words in zip(rows, texts, strict=True):
        for word in words:
            row[zlib.crc32(word.strip().lower().encode('utf-8', 'replace')) % N_EMBD] += 1
    return rows
