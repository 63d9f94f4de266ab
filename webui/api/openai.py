"""`/v1/…`: as much of OpenAI's API as a chat program needs."""

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from inference.catalog import ModelFile, require_chat
from inference.engine import Engine
from inference.errors import NoModelLoaded
from webui.api.errors import StillLoading
from webui.api.openai_schema import ChatCompletionRequest
from webui.api.openai_wire import ChunkWire, Completion
from webui.api.schema import LimitedRoute, user_of
from webui.api.sse import EventStream, reply, unless_disconnected
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
        completion = Completion(model=model_id, n_top=body.n_top, parallel_calls=body.parallel_tool_calls is not False)
        wanted = body.generation(user_of(request))
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
        """Return the id of the chat model that is meant; without a name, the present one.

        Raises ModelNotFound, or InvalidRequest for a model that cannot write.
        """
        present, engine = self._present(), self._services.host.engine
        if not name or name == present or (engine and name == engine.info.name):
            return present
        model = self._services.catalog.find(name)
        require_chat(model)
        return model.id

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


def _card(model_id: str, model: ModelFile | None = None) -> dict[str, Any]:
    try:
        created = int(model.path.stat().st_mtime) if model else 0
    except OSError:  # it was deleted after the last scan
        created = 0
    return {'id': model_id, 'object': 'model', 'created': created, 'owned_by': 'local'}
