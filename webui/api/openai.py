"""`/v1/…`: as much of OpenAI's API as a chat program needs."""

import asyncio
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, assert_never

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from inference.catalog import ModelFile
from inference.chat import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    LeftOut,
    PromptProgress,
    Queued,
    ReasoningDelta,
    TextDelta,
    Timings,
    ToolCallDelta,
    Usage,
    decode_rate,
    prefill_rate,
)
from inference.engine import Engine
from inference.errors import NoModelLoaded
from webui.api.errors import StillLoading
from webui.api.schema import ChatCompletionRequest, LimitedRoute
from webui.api.sse import Events, EventStream, format_event, reply, unless_disconnected
from webui.services import Services

CLIENT_LEFT = 499
"""nginx's status for a client that closed the connection; nobody reads it but the log."""


class OpenAIApi:
    """The catalogue as OpenAI's models; a request that names one has it loaded."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turn = asyncio.Lock()

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/v1', tags=['OpenAI-compatible'], route_class=LimitedRoute)
        router.get('/models')(self.models)
        router.get('/models/{model_id:path}')(self.model)
        router.post('/chat/completions', response_model=None)(self.chat_completions)
        return router

    def models(self) -> dict[str, Any]:
        """List the models that can be asked for, and the loaded one."""
        cards = [_card(model.id, model) for model in self._services.catalog.models]
        present = self._present()
        if present and present not in [card['id'] for card in cards]:
            cards.insert(0, _card(present))
        return {'object': 'list', 'data': cards}

    def model(self, model_id: str) -> dict[str, Any]:
        """Describe one model."""
        if model_id and model_id == self._present():
            known = next((model for model in self._services.catalog.models if model.id == model_id), None)
            return _card(model_id, known)
        model = self._services.catalog.find(model_id)
        return _card(model.id, model)

    async def chat_completions(self, body: ChatCompletionRequest, request: Request) -> Response:
        """Answer a conversation, at once or as server-sent events; the named model is loaded if it is not."""
        model_id = self._find(body.model)
        completion = Completion(model=model_id)
        wanted = GenerationRequest(messages=body.prompt(), sampling=body.settings())
        events = reply(partial(self._engine, model_id if body.model else ''), wanted)
        if body.stream:
            return EventStream(events, ChunkWire(completion, include_usage=body.include_usage))
        answer = await unless_disconnected(request.receive, completion.collect(events))
        return JSONResponse(answer) if answer else Response(status_code=CLIENT_LEFT)

    def _present(self) -> str:
        """Return the id of the model that is loaded or being loaded."""
        state = self._services.host.state
        return state.model_id if state.is_busy or state.phase == 'ready' else ''

    def _find(self, name: str) -> str:
        """Return the id of the model that is meant; without a name, the present one. Raises ModelNotFound."""
        present, engine = self._present(), self._services.host.engine
        if not name or name == present or (engine and name == engine.info.name):
            return present
        return self._services.catalog.find(name).id

    async def _engine(self, model_id: str) -> Engine:
        """Return the model's engine, loaded if need be, or the present one; requests for other models take turns."""
        host = self._services.host
        async with self._turn:
            if model_id and model_id != self._present():
                if host.engine:
                    await host.engine.idle()
                host.load(model_id)
            try:
                engine = await host.ready()
            except NoModelLoaded:
                if host.state.is_busy:
                    raise StillLoading from None
                raise
            if model_id and model_id != host.state.model_id:
                raise host.failure or StillLoading
            return engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What every part of one answer repeats."""

    model: str
    id: str = field(default_factory=lambda: f'chatcmpl-{secrets.token_hex(12)}')
    created: int = field(default_factory=lambda: int(time.time()))

    async def collect(self, events: Events) -> dict[str, Any]:
        """Return the whole answer once it is there."""
        texts: list[str] = []
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TextDelta):
                    texts.append(event.text)
                elif isinstance(event, Finished):
                    end = event
        message = {'role': 'assistant', 'content': ''.join(texts), 'refusal': None}
        choice = {'index': 0, 'message': message, 'logprobs': None, 'finish_reason': _reason(end)}
        return self._head('chat.completion') | {
            'choices': [choice],
            'usage': _usage(end.usage),
            'timings': _timings(end.usage, end.timings),
        }

    def chunk(self, *choices: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Return one part of a stream."""
        return self._head('chat.completion.chunk') | {'choices': list(choices), **more}

    def _head(self, kind: str) -> dict[str, Any]:
        return {'id': self.id, 'object': kind, 'created': self.created, 'model': self.model}


class ChunkWire:
    """Spells events as chunks; waiting and prefill have no spelling in OpenAI's API."""

    def __init__(self, completion: Completion, *, include_usage: bool) -> None:
        self._completion, self._include_usage = completion, include_usage
        self._begun = False

    def event(self, event: GenerationEvent) -> str:
        """Return the chunks of an event; the first one says whose message it is."""
        match event:
            case Queued() | PromptProgress() | LeftOut() | ReasoningDelta() | ToolCallDelta():
                return ''
            case TextDelta(text=text):
                return self._begin() + (self._chunk({'content': text}) if text else '')
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
        parts = [self._chunk({}, _reason(event), timings=_timings(event.usage, event.timings))]
        if self._include_usage:
            parts.append(format_event(self._completion.chunk(usage=_usage(event.usage))))
        return ''.join([*parts, 'data: [DONE]\n\n'])

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None, **more: Any) -> str:
        choice = {'index': 0, 'delta': delta, 'logprobs': None, 'finish_reason': finish_reason}
        if self._include_usage:
            more['usage'] = None
        return format_event(self._completion.chunk(choice, **more))


def _card(model_id: str, model: ModelFile | None = None) -> dict[str, Any]:
    try:
        created = int(model.path.stat().st_mtime) if model else 0
    except OSError:  # it was deleted after the last scan
        created = 0
    return {'id': model_id, 'object': 'model', 'created': created, 'owned_by': 'local'}


def _reason(event: Finished) -> str:
    return 'length' if event.reason == 'length' else 'stop'


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        'prompt_tokens': usage.prompt_tokens,
        'completion_tokens': usage.completion_tokens,
        'total_tokens': usage.prompt_tokens + usage.completion_tokens,
        'prompt_tokens_details': {'cached_tokens': usage.cached_tokens},
    }


def _timings(usage: Usage, timings: Timings) -> dict[str, float]:
    """Return the numbers as llama-server names them."""
    return {
        'cache_n': usage.cached_tokens,
        'prompt_n': usage.prompt_tokens - usage.cached_tokens,
        'prompt_ms': timings.prefill * 1000,
        'prompt_per_second': prefill_rate(usage, timings),
        'predicted_n': usage.completion_tokens,
        'predicted_ms': timings.decode * 1000,
        'predicted_per_second': decode_rate(usage, timings),
    }
