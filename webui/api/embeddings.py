"""`/v1/embeddings` and `/v1/rerank`: texts to vectors as OpenAI's API spells it, documents in order as Jina's does."""

import asyncio
import base64
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from inference.engine import Engine
from inference.vectors import Embeddings, Ranking, Vectors
from webui.api.schema import LimitedRoute, Text
from webui.api.sse import unless_disconnected
from webui.services import Services

CLIENT_LEFT = 499
Truncate = Annotated[bool, Field(description='Leave out the end of what is too long for the model.')]


def _texts(value: Any) -> Any:
    """Take one text for a list of one, and refuse what other programs made of text."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and any(isinstance(item, int | list) for item in value):
        raise ValueError(
            'token ids mean something else to each model, so send the text itself. '
            'LangChain does with check_embedding_ctx_length=False'
        )
    return value


def _documents(value: Any) -> Any:
    """Take the text out of documents that are objects."""
    if not isinstance(value, list):
        return value
    return [item['text'] if isinstance(item, dict) and 'text' in item else item for item in value]


class EmbeddingRequest(BaseModel):
    """`POST /v1/embeddings`. Fields that change nothing here are let through and ignored."""

    model: Annotated[Text, BeforeValidator(lambda value: value or '')] = Field('', description='Empty: the loaded one.')
    input: Annotated[list[Text], BeforeValidator(_texts)] = Field(min_length=1)
    encoding_format: Literal['float', 'base64'] = 'float'
    dimensions: int | None = Field(None, ge=1, description='Keep so many of the first numbers, scaled to length 1.')
    truncate: Truncate = False


class RerankRequest(BaseModel):
    """`POST /v1/rerank`. Fields that change nothing here are let through and ignored."""

    model: Annotated[Text, BeforeValidator(lambda value: value or '')] = Field('', description='Empty: the loaded one.')
    query: Text
    documents: Annotated[list[Text], BeforeValidator(_documents)] = Field(min_length=1)
    top_n: int | None = Field(None, ge=1, description='Answer with so many of the best ones.')
    return_documents: bool = False
    truncate: Truncate = False


class EmbeddingsApi:
    """What programs ask that search by meaning; a model that is named is loaded beside the one that chats."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/v1', tags=['OpenAI-compatible'], route_class=LimitedRoute)
        router.post('/embeddings', response_model=None)(self.embeddings)
        router.post('/rerank', response_model=None)(self.rerank)
        return router

    async def embeddings(self, body: EmbeddingRequest, request: Request) -> Response:
        """Turn texts into vectors of length 1, of which those of texts alike in meaning point the same way."""
        return await _answer(request, self._embed(body))

    async def rerank(self, body: RerankRequest, request: Request) -> Response:
        """Put documents in the order in which they answer a query, each with a score from 0 to 1."""
        return await _answer(request, self._rank(body))

    async def _embed(self, body: EmbeddingRequest) -> bytes:
        engine, name = await self._engine(body.model)
        embeddings = await engine.embed(body.input, truncate=body.truncate)
        return await asyncio.to_thread(_embeddings, body, name, embeddings)

    async def _rank(self, body: RerankRequest) -> bytes:
        engine, name = await self._engine(body.model)
        ranking = await engine.rerank(body.query, body.documents, truncate=body.truncate)
        return orjson.dumps(_ranking(body, name, ranking))

    async def _engine(self, name: str) -> tuple[Engine, str]:
        """Return the engine that is meant, loaded if need be, and the id of its model."""
        host = self._services.host
        if host.engine and name == host.engine.info.name:
            name = ''
        engine = await host.embedder(name)
        return engine, name or host.state.model_id


async def _answer(request: Request, work: Coroutine[Any, Any, bytes]) -> Response:
    answer = await unless_disconnected(request.receive, work)
    return Response(answer, media_type='application/json') if answer else Response(status_code=CLIENT_LEFT)


def _embeddings(body: EmbeddingRequest, model: str, embeddings: Embeddings) -> bytes:
    vectors = embeddings.shortened(body.dimensions) if body.dimensions else embeddings.vectors
    data = [
        {'object': 'embedding', 'index': index, 'embedding': _spelled(vector, body.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    answer = {'object': 'list', 'data': data, 'model': model, 'usage': _usage(embeddings.prompt_tokens)}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _spelled(vector: Vectors, encoding: Literal['float', 'base64']) -> Vectors | str:
    return vector if encoding == 'float' else base64.b64encode(vector.astype('<f4').tobytes()).decode()


def _ranking(body: RerankRequest, model: str, ranking: Ranking) -> dict[str, Any]:
    best = sorted(enumerate(ranking.scores), key=lambda scored: -scored[1])[: body.top_n]
    results = [{'index': index, 'relevance_score': score, **_document(body, index)} for index, score in best]
    return {'object': 'list', 'results': results, 'model': model, 'usage': _usage(ranking.prompt_tokens)}


def _document(body: RerankRequest, index: int) -> dict[str, Any]:
    return {'document': {'text': body.documents[index]}} if body.return_documents else {}


def _usage(prompt_tokens: int) -> dict[str, int]:
    return {'prompt_tokens': prompt_tokens, 'total_tokens': prompt_tokens}
