"""The words of a conversation with an engine: what goes in, and the closed set of events that come out."""

from dataclasses import dataclass, field
from typing import Literal

from inference.settings import SamplingSettings

Role = Literal['system', 'user', 'assistant']
FinishReason = Literal['stop', 'length', 'cancelled']


def clean_text(text: str) -> str:
    """Replace what no tokenizer, file or browser takes: NUL and lone surrogates become U+FFFD."""
    return text.replace('\0', '\ufffd').encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn as the chat template sees it."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """Everything an engine needs for one reply."""

    messages: tuple[Message, ...]
    sampling: SamplingSettings = field(default_factory=SamplingSettings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Token counts of one reply; `cached_tokens` of the prompt did not have to be computed."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Where the time of one reply went, in seconds."""

    queued: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0

    @property
    def ttft(self) -> float:
        """Time to first token: from the request to the first sampled token."""
        return self.queued + self.prefill


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """The request waits; `place` counts from 1."""

    place: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptProgress:
    """`done` of `total` prompt tokens are in the KV cache, `cached` of them from before."""

    done: int
    total: int
    cached: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDelta:
    """Text to append to the reply, made of `tokens` sampled tokens."""

    text: str
    tokens: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """Always the last event of a reply that did not fail."""

    reason: FinishReason
    usage: Usage
    timings: Timings


GenerationEvent = Queued | PromptProgress | TextDelta | Finished


def prefill_rate(usage: Usage, timings: Timings) -> float:
    """Prompt tokens computed per second; 0 where nothing was measured."""
    return (usage.prompt_tokens - usage.cached_tokens) / timings.prefill if timings.prefill else 0.0


def decode_rate(usage: Usage, timings: Timings) -> float:
    """Tokens sampled per second after the first one; 0 where nothing was measured."""
    return max(0, usage.completion_tokens - 1) / timings.decode if timings.decode else 0.0
