"""`/api/chat/stream`: a reply without a chat, told event by event."""

from dataclasses import asdict
from typing import Any, assert_never

from fastapi import APIRouter
from starlette.requests import Request

from inference.chat import (
    Finished,
    GenerationEvent,
    LeftOut,
    PromptProgress,
    Queued,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    decode_rate,
    prefill_rate,
)
from webui.api.openai_wire import choice_of
from webui.api.schema import LimitedRoute, StreamRequest, user_of
from webui.api.sse import EventStream, format_event, reply
from webui.services import Services

NAMES: dict[type[GenerationEvent], str] = {
    Queued: 'queued',
    PromptProgress: 'progress',
    LeftOut: 'left_out',
    ReasoningDelta: 'reasoning',
    ToolCallDelta: 'tool_call',
}


class ManageApi:
    """Replies of which nothing is saved."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/api', tags=['Chats'], route_class=LimitedRoute)
        router.post('/chat/stream', status_code=200, response_class=EventStream)(self.stream)
        return router

    async def stream(self, body: StreamRequest, request: Request) -> EventStream:
        """Answer a conversation with server-sent events.

        They are queued, progress, left_out, reasoning, delta and tool_call, and at the end done or error.
        """
        return EventStream(reply(self._services.host.ready, body.generation(user_of(request))), OwnWire())


class OwnWire:
    """Spells events as the engine's own, one name each."""

    def event(self, event: GenerationEvent) -> str:
        """Return the event with its fields as JSON."""
        match event:
            case Finished():
                return format_event(_done(event), 'done')
            case TextDelta(text=text, tokens=tokens, choices=choices):
                told = {'logprobs': [choice_of(choice, len(choice.top)) for choice in choices]} if choices else {}
                return format_event({'text': text, 'tokens': tokens, **told}, 'delta')
            case Queued() | PromptProgress() | LeftOut() | ReasoningDelta() | ToolCallDelta():
                return format_event(asdict(event), NAMES[type(event)])
            case _:
                assert_never(event)

    def error(self, body: dict[str, Any]) -> str:
        """Return the error as an event of that name."""
        return format_event(body, 'error')


def _done(event: Finished) -> dict[str, Any]:
    """Times in seconds, rates in tokens per second."""
    usage, timings = event.usage, event.timings
    measured = {
        **asdict(timings),
        'ttft': timings.ttft,
        'prefill_rate': prefill_rate(usage, timings),
        'decode_rate': decode_rate(usage, timings),
    }
    return {'finish_reason': event.reason, 'detail': event.detail, 'usage': asdict(usage), 'timings': measured}
