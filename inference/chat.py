"""The words of a conversation with an engine: what goes in, and the closed set of events that come out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from inference.settings import SamplingSettings

Role = Literal['system', 'user', 'assistant', 'tool']
FinishReason = Literal['stop', 'length', 'tool_calls', 'cancelled']
Overflow = Literal['stop', 'roll', 'middle']
"""What happens when a conversation outgrows the context: it ends; or messages are left out, the oldest ones (the
system prompt stays) or those in the middle (the first question and answer stay too)."""


def clean_text(text: str) -> str:
    """Replace what no tokenizer, file or browser takes: NUL and lone surrogates become U+FFFD."""
    return text.replace('\0', '\ufffd').encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A function the model wants to have called; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A function the model may ask for; `parameters` is a JSON schema."""

    name: str
    description: str = ''
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn as the chat template sees it; a `tool` message answers the call `tool_call_id`."""

    role: Role
    content: str
    reasoning: str = ''
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ''
    name: str = ''


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """Everything an engine needs for one reply.

    `tool_choice` is 'auto', 'none', 'required' or the name of the tool that must be called. `user` says whose request
    it is, for the cap on each. With `continues` the last message is the beginning of the reply, which goes on. What
    `gives_way` is cancelled as soon as another request comes in.
    """

    messages: tuple[Message, ...]
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    tools: tuple[Tool, ...] = ()
    tool_choice: str = 'auto'
    overflow: Overflow = 'stop'
    continues: bool = False
    gives_way: bool = False
    user: str = ''


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Token counts of one reply; `cached_tokens` of the prompt did not have to be computed.

    `reasoning_tokens` are part of the completion; of the `drafted_tokens` that were guessed, `accepted_tokens` were
    right.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


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
class LeftOut:
    """Messages of the request, by their place in it, that the model does not see because the context is full."""

    messages: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """A token and the natural logarithm of its probability; `piece` are its bytes."""

    token: int
    piece: bytes
    logprob: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenChoice:
    """The token that was taken, and the likeliest ones there were to choose from."""

    chosen: Likelihood
    top: tuple[Likelihood, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDelta:
    """Text to append to the reply, made of `tokens` sampled tokens; `choices` on request, one a token."""

    text: str
    tokens: int = 1
    choices: tuple[TokenChoice, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReasoningDelta:
    """Text to append to what the model thinks before it answers."""

    text: str
    tokens: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallDelta:
    """A part of the call number `index`: `id` and `name` come with the first one, `arguments` are to be appended."""

    index: int
    id: str = ''
    name: str = ''
    arguments: str = ''
    tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """Always the last event of a reply that did not fail; `detail` says in sentences why it ended if nobody asked."""

    reason: FinishReason
    usage: Usage
    timings: Timings
    detail: str = ''


GenerationEvent = Queued | PromptProgress | LeftOut | TextDelta | ReasoningDelta | ToolCallDelta | Finished


def join_calls(deltas: Iterable[ToolCallDelta]) -> list[ToolCall]:
    """Return the calls that the deltas of one reply add up to, in their order."""
    heads: dict[int, ToolCallDelta] = {}
    arguments: dict[int, list[str]] = {}
    for delta in deltas:
        heads.setdefault(delta.index, delta)
        arguments.setdefault(delta.index, []).append(delta.arguments)
    return [
        ToolCall(id=heads[index].id, name=heads[index].name, arguments=''.join(arguments[index]))
        for index in sorted(heads)
    ]


def prefill_rate(usage: Usage, timings: Timings) -> float:
    """Prompt tokens computed per second; 0 where nothing was measured."""
    return (usage.prompt_tokens - usage.cached_tokens) / timings.prefill if timings.prefill else 0.0


def decode_rate(usage: Usage, timings: Timings) -> float:
    """Tokens sampled per second after the first one; 0 where nothing was measured."""
    return max(0, usage.completion_tokens - 1) / timings.decode if timings.decode else 0.0
