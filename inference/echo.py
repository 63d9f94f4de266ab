"""An engine without a model: repeats the last message word by word. For demos, tests and documentation.

What it repeats can ask for more than text:

- `<think>WORDS</think>` at its beginning is reasoning, unless that is off, and as far as its budget goes;
- a line `/tool NAME {JSON}` is a call, if there is a tool of that name;
- with `n_probs`, each word is as likely as `PROBABILITY`, and so many others are told, each a nat less likely than
  the one before: the word with question marks behind it.
"""

import asyncio
import re
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice

import numpy as np

from inference.chat import (
    Finished,
    FinishReason,
    GenerationRequest,
    LeftOut,
    Likelihood,
    Message,
    PromptProgress,
    Queued,
    ReasoningDelta,
    TextDelta,
    Timings,
    TokenChoice,
    ToolCallDelta,
    Usage,
)
from inference.engine import Engine, EngineInfo, EngineStatus, Generation, PromptSize
from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest, ModelUnloaded
from inference.parsing import TextStream
from inference.settings import LoadSettings
from inference.vectors import Embeddings, Ranking, Vectors, unit_vectors

N_CTX = 100_000
PREFILL_PIECES = 4
CACHED_MESSAGES = 2048
"""Messages of which the words are kept: a draft is measured with all that is before it, again and again."""
N_EMBD = 64
PROBABILITY = -0.1
"""The natural logarithm of it."""
CONTEXT_FULL = f'The context of {N_CTX:,} tokens is full.'

Delta = TextDelta | ReasoningDelta | ToolCallDelta


@dataclass(eq=False, slots=True)
class _Reply:
    request: GenerationRequest
    generation: Generation
    left_out: tuple[int, ...]
    prompt: list[str]
    queued_at: float = field(default_factory=time.perf_counter)
    cancelled: bool = False


class EchoEngine(Engine):
    """Keeps the contract of `Engine`; a token is a word with the space around it."""

    def __init__(self, *, rate: float = 50, slots: int = 1) -> None:
        """Take the words to send a second, 0 for as fast as they are read, and how many replies are made at once."""
        super().__init__()
        self.info = EngineInfo(
            name='Echo', architecture='echo', quantization='', parameters=0, size=0, n_ctx=N_CTX, n_ctx_train=N_CTX,
            memory=0, warnings=('This is the echo engine: it repeats what you write. Pick a model to chat.',),
        )  # fmt: skip
        self._pause = 1 / rate if rate else 0
        self._slots = slots
        self._line: dict[_Reply, asyncio.Task[None]] = {}
        self._moved = asyncio.Event()
        self._closed = False
        self._last_prompts: deque[list[str]] = deque(maxlen=slots)

    @property
    def status(self) -> EngineStatus:
        """The slots, and those who wait for one."""
        busy = min(self._slots, len(self._line))
        return EngineStatus(slots=self._slots, busy=busy, queued=len(self._line) - busy)

    def generate(self, request: GenerationRequest) -> Generation:
        """Repeat the last message."""

        def cancel() -> None:
            reply.cancelled = True
            self._move()

        left_out = _left_out(request)
        prompt = _prompt(request, left_out)
        reply = _Reply(request, self._begin(cancel, gives_way=request.gives_way), left_out, prompt)
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

    async def measure(self, request: GenerationRequest) -> PromptSize:
        """Count the words that would be read."""
        if self._closed:
            raise ModelUnloaded
        if not request.messages:
            raise InvalidRequest('There are no messages to measure. Write one first.')
        left_out = _left_out(request)
        counts = tuple(len(_words(message.content)) for message in request.messages)
        tokens = sum(counts) - sum(counts[place] for place in left_out)
        return PromptSize(tokens=tokens, n_ctx=N_CTX, left_out=left_out, counts=counts)

    async def adjust(self, settings: LoadSettings) -> None:
        """There is nothing to adjust."""

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

    def _words_to_embed(self, text: str, name: str, truncate: bool) -> tuple[str, ...]:
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
        usage = replace(sent, prompt_tokens=len(reply.prompt), cached_tokens=cached)
        is_full = reason == 'length' and len(reply.prompt) + sent.completion_tokens == N_CTX
        del self._line[reply]
        self._move()
        detail = CONTEXT_FULL if is_full else ''
        reply.generation.publish(Finished(reason=reason, usage=usage, timings=timings, detail=detail))

    async def _wait(self, reply: _Reply) -> None:
        """Return when there is a slot for this reply, or it is cancelled."""
        told = 0
        while (place := [*self._line].index(reply) - self._slots + 1) > 0 and not reply.cancelled:
            if place != told:
                reply.generation.publish(Queued(place=place))
                told = place
            await self._moved.wait()

    def _move(self) -> None:
        """Let all who wait look at their place."""
        self._moved.set()
        self._moved.clear()

    def _read(self, reply: _Reply) -> int:
        """Report the prompt as read in pieces; return how much of it one of the last prompts began with."""
        prompt = reply.prompt
        cached = max((_common(prompt[:-1], last) for last in self._last_prompts), default=0)
        self._last_prompts.append(prompt)
        if reply.left_out:
            reply.generation.publish(LeftOut(messages=reply.left_out))
        for piece in range(PREFILL_PIECES + 1):
            done = cached + (len(prompt) - cached) * piece // PREFILL_PIECES
            reply.generation.publish(PromptProgress(done=done, total=len(prompt), cached=cached))
        return cached

    async def _write(self, reply: _Reply) -> tuple[Usage, FinishReason]:
        sampling, sent, thought = reply.request.sampling, 0, 0
        text, script = TextStream(sampling.stop), _script(reply.request)
        room = min(sampling.max_tokens or N_CTX, N_CTX - len(reply.prompt))
        reason: FinishReason = 'stop'
        due = time.perf_counter()
        for delta in islice(script, room):
            due += self._pause
            if not reply.cancelled:
                await asyncio.sleep(due - time.perf_counter())
            if reply.cancelled:
                reason = 'cancelled'
                break
            sent += 1
            thought += isinstance(delta, ReasoningDelta)
            reply.generation.publish(_fed(text, delta) if isinstance(delta, TextDelta) else delta)
            if text.stopped:
                break
            reason = 'tool_calls' if isinstance(delta, ToolCallDelta) else reason
        else:
            reason = 'length' if next(script, None) else reason
        if held := text.finish():
            reply.generation.publish(TextDelta(text=held, tokens=0))
        return Usage(completion_tokens=sent, reasoning_tokens=thought), reason


def _script(request: GenerationRequest) -> Iterator[Delta]:
    """Yield what a whole reply to the request is made of, one token each."""
    text, thought_before, done = _spoken(request)
    sampling, calls = request.sampling, 0
    if thought := re.match(r'\s*<think>(.*?)</think>\s*', text, re.DOTALL):
        text = text[thought.end() :]
        budget = 0 if sampling.reasoning == 'off' else sampling.reasoning_budget
        words = _words(thought[1])[thought_before : None if budget < 0 else thought_before + budget]
        yield from (ReasoningDelta(text=word) for word in words)
    names = {tool.name for tool in request.tools} if request.tool_choice != 'none' else set()
    for part in re.split(r'^(/tool .*\n?)', text, flags=re.MULTILINE):
        called = re.match(r'/tool (\S+) *(.*)', part)
        if called and called[1] in names:
            yield from _call(calls, called[1], called[2])
            calls += 1
            continue
        for word in _words(part)[done:]:
            yield TextDelta(text=word, choices=_choices(word, sampling.n_probs))


def _spoken(request: GenerationRequest) -> tuple[str, int, int]:
    """Return the text to repeat, and how many words of its reasoning and of the rest are there already."""
    *before, last = request.messages
    if not request.continues or not before:
        return last.content, 0, 0
    text = before[-1].content
    return text, len(_words(text if last.content else last.reasoning)), len(_words(last.content))


def _fed(stream: TextStream, delta: TextDelta) -> TextDelta:
    text = stream.feed(delta.text.encode('utf-8', 'replace'))
    return TextDelta(text=text, tokens=delta.tokens, choices=delta.choices)


def _call(index: int, name: str, arguments: str) -> Iterator[ToolCallDelta]:
    yield ToolCallDelta(index=index, id=f'call_{index + 1}', name=name, tokens=1)
    for word in _words(arguments):
        yield ToolCallDelta(index=index, arguments=word, tokens=1)


def _choices(word: str, n_probs: int) -> tuple[TokenChoice, ...]:
    top = tuple(_likelihood(word + '?' * rank, PROBABILITY - rank) for rank in range(n_probs))
    return (TokenChoice(chosen=top[0], top=top),) if top else ()


def _likelihood(word: str, logprob: float) -> Likelihood:
    piece = word.encode('utf-8', 'replace')
    return Likelihood(token=zlib.crc32(piece) & 0xFFFF, piece=piece, logprob=logprob)


def _left_out(request: GenerationRequest) -> tuple[int, ...]:
    """Return the places of the messages that have to go for the rest and the reply to fit, as the policy wants it."""
    if request.overflow == 'stop':
        return ()
    sizes = [len(_words(message.content)) for message in request.messages]
    kept = _beginning(request.messages) + (2 if request.overflow == 'middle' else 0)
    total = sum(sizes) + min(sizes[-1], request.sampling.max_tokens or N_CTX)
    out: list[int] = []
    for place in range(kept, len(sizes) - 1):
        if total <= N_CTX:
            break
        total -= sizes[place]
        out.append(place)
    return tuple(out)


def _prompt(request: GenerationRequest, left_out: tuple[int, ...]) -> list[str]:
    read = [message for place, message in enumerate(request.messages) if place not in left_out]
    return [word for message in read for word in _words(message.content)]


def _beginning(messages: tuple[Message, ...]) -> int:
    """Return how many messages there are before the first that is not the system's."""
    return next((place for place, message in enumerate(messages) if message.role != 'system'), len(messages))


def _common(prompt: list[str], other: list[str]) -> int:
    """Return how many words two prompts begin with together."""
    pairs = zip(prompt, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(other)))


@lru_cache(CACHED_MESSAGES)
def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r'\s*\S+(?:\s+$)?', text)) if text.strip() else ()


def _counted(texts: Sequence[Sequence[str]]) -> Vectors:
    rows = np.zeros((len(texts), N_EMBD), np.float32)
    for row, words in zip(rows, texts, strict=True):
        for word in words:
            row[zlib.crc32(word.strip().lower().encode('utf-8', 'replace')) % N_EMBD] += 1
    return rows
