"""How a reply is spelled in OpenAI's API, at once and in chunks."""

import secrets
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, assert_never

from inference.chat import (
    Finished,
    FinishReason,
    GenerationEvent,
    LeftOut,
    Likelihood,
    PromptProgress,
    Queued,
    ReasoningDelta,
    TextDelta,
    Timings,
    TokenChoice,
    ToolCall,
    ToolCallDelta,
    Usage,
    decode_rate,
    join_calls,
    prefill_rate,
)
from webui.api.sse import Events, format_event

REASONS: dict[FinishReason, str] = {
    'stop': 'stop', 'length': 'length', 'tool_calls': 'tool_calls', 'cancelled': 'stop',
}  # fmt: skip
LEAST_LOGPROB = -9999.0
"""What OpenAI says of tokens that cannot be; JSON has no infinity."""
DONE = 'data: [DONE]\n\n'


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What every part of one answer repeats, and how much of it is told."""

    model: str
    n_top: int = 0
    parallel_calls: bool = True
    id: str = field(default_factory=lambda: f'chatcmpl-{secrets.token_hex(12)}')
    created: int = field(default_factory=lambda: int(time.time()))

    async def collect(self, events: Events) -> dict[str, Any]:
        """Return the whole answer once it is there."""
        async with aclosing(events):
            told = [event async for event in events if self.tells(event)]
        end = told[-1]
        assert isinstance(end, Finished)
        choices = [choice for event in told if isinstance(event, TextDelta) for choice in event.choices]
        return self.head('chat.completion') | {
            'choices': [
                {
                    'index': 0,
                    'message': _message(told),
                    'logprobs': self.logprobs(choices),
                    'finish_reason': REASONS[end.reason],
                    **_detail(end),
                }
            ],
            'usage': usage_of(end.usage),
            'timings': timings_of(end.usage, end.timings),
        }

    def tells(self, event: GenerationEvent) -> bool:
        """Whether the program wants to know of the event: of several calls, perhaps of the first only."""
        return self.parallel_calls or not isinstance(event, ToolCallDelta) or event.index == 0

    def head(self, kind: str) -> dict[str, Any]:
        """Return the fields that each part begins with."""
        return {'id': self.id, 'object': kind, 'created': self.created, 'model': self.model}

    def logprobs(self, choices: Iterable[TokenChoice]) -> dict[str, Any] | None:
        """Return the tokens with their likelihoods; None without any."""
        content = [choice_of(choice, self.n_top) for choice in choices]
        return {'content': content, 'refusal': None} if content else None


class ChunkWire:
    """Spells events as chunks; waiting, prefill and messages left out have no spelling in OpenAI's API."""

    def __init__(self, completion: Completion, *, include_usage: bool) -> None:
        self._completion, self._include_usage = completion, include_usage
        self._begun = False

    def event(self, event: GenerationEvent) -> str:
        """Return the chunks of an event; the first one says whose message it is."""
        if not self._completion.tells(event):
            return ''
        match event:
            case Queued() | PromptProgress() | LeftOut():
                return ''
            case TextDelta(text=text, choices=choices):
                told = self._completion.logprobs(choices)
                return self._begin() + (self._chunk({'content': text}, logprobs=told) if text or told else '')
            case ReasoningDelta(text=text):
                return self._begin() + (self._chunk({'reasoning_content': text}) if text else '')
            case ToolCallDelta():
                return self._begin() + self._chunk({'tool_calls': [_call_delta(event)]})
            case Finished():
                return self._begin() + self._end(event)
            case _:
                assert_never(event)

    def error(self, body: dict[str, Any]) -> str:
        """Return the error; OpenAI's clients raise it."""
        return format_event(body)

    def _begin(self) -> str:
        if self._begun:
            return ''
        self._begun = True
        return self._chunk({'role': 'assistant', 'content': ''})

    def _end(self, event: Finished) -> str:
        last = {'finish_reason': REASONS[event.reason], **_detail(event)}
        parts = [self._chunk({}, timings=timings_of(event.usage, event.timings), **last)]
        if self._include_usage:
            parts.append(format_event(self._head() | {'choices': [], 'usage': usage_of(event.usage)}))
        return ''.join([*parts, DONE])

    def _chunk(self, delta: dict[str, Any], *, timings: dict[str, float] | None = None, **more: Any) -> str:
        choice = {'index': 0, 'delta': delta, 'logprobs': None, 'finish_reason': None, **more}
        chunk = self._head() | {'choices': [choice]}
        if self._include_usage:
            chunk['usage'] = None
        return format_event(chunk | {'timings': timings} if timings else chunk)

    def _head(self) -> dict[str, Any]:
        return self._completion.head('chat.completion.chunk')


def choice_of(choice: TokenChoice, n_top: int) -> dict[str, Any]:
    """Return a token with its likelihood and those of `n_top` likely ones."""
    return {**_likelihood(choice.chosen), 'top_logprobs': [_likelihood(other) for other in choice.top[:n_top]]}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Return the token counts as OpenAI names them."""
    return {
        'prompt_tokens': usage.prompt_tokens,
        'completion_tokens': usage.completion_tokens,
        'total_tokens': usage.prompt_tokens + usage.completion_tokens,
        'prompt_tokens_details': {'cached_tokens': usage.cached_tokens},
        'completion_tokens_details': {
            'reasoning_tokens': usage.reasoning_tokens,
            'accepted_prediction_tokens': usage.accepted_tokens,
            'rejected_prediction_tokens': usage.drafted_tokens - usage.accepted_tokens,
        },
    }


def timings_of(usage: Usage, timings: Timings) -> dict[str, float]:
    """Return the numbers as llama-server names them."""
    drafted = {'draft_n': usage.drafted_tokens, 'draft_n_accepted': usage.accepted_tokens}
    return {
        'cache_n': usage.cached_tokens,
        'prompt_n': usage.prompt_tokens - usage.cached_tokens,
        'prompt_ms': timings.prefill * 1000,
        'prompt_per_second': prefill_rate(usage, timings),
        'predicted_n': usage.completion_tokens,
        'predicted_ms': timings.decode * 1000,
        'predicted_per_second': decode_rate(usage, timings),
        **(drafted if usage.drafted_tokens else {}),
    }


def _message(told: list[GenerationEvent]) -> dict[str, Any]:
    text = ''.join(event.text for event in told if isinstance(event, TextDelta))
    reasoning = ''.join(event.text for event in told if isinstance(event, ReasoningDelta))
    calls = join_calls(event for event in told if isinstance(event, ToolCallDelta))
    message: dict[str, Any] = {'role': 'assistant', 'content': text or (None if calls else ''), 'refusal': None}
    if reasoning:
        message['reasoning_content'] = reasoning
    if calls:
        message['tool_calls'] = [_call(call) for call in calls]
    return message


def _call(call: ToolCall) -> dict[str, Any]:
    return {'id': call.id, 'type': 'function', 'function': {'name': call.name, 'arguments': call.arguments}}


def _call_delta(delta: ToolCallDelta) -> dict[str, Any]:
    """Return a part of a call; who it calls comes with the first part only."""
    head = {'id': delta.id, 'type': 'function'} if delta.id else {}
    name = {'name': delta.name} if delta.name else {}
    return {'index': delta.index, **head, 'function': {**name, 'arguments': delta.arguments}}


def _likelihood(likelihood: Likelihood) -> dict[str, Any]:
    return {
        'id': likelihood.token,
        'token': likelihood.piece.decode('utf-8', 'replace'),
        'bytes': list(likelihood.piece),
        'logprob': max(likelihood.logprob, LEAST_LOGPROB),
    }


def _detail(end: Finished) -> dict[str, str]:
    """Return why the reply ended, where OpenAI's word does not say it."""
    return {'finish_detail': end.detail} if end.detail else {}
