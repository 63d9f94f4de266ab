"""What a program reads when something goes wrong."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from loguru import logger
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from inference.errors import (
    ContextLengthExceeded,
    DecodeFailed,
    InferenceError,
    InvalidModelFile,
    InvalidTemplate,
    ModelNotFound,
    NoModelLoaded,
    NotEnoughMemory,
    PreflightFailed,
)
from presets.errors import DamagedFile, NotFound, StoreError
from webui.api import errors
from webui.api.errors import StillLoading


def client(error: Exception) -> httpx.AsyncClient:
    """Return a client of an app with pages of its own, where `error` happens on a page and in the API."""
    app = FastAPI()

    @app.exception_handler(404)
    @app.exception_handler(Exception)
    async def page(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse('a page for people')

    @app.get('/v1/failing')
    @app.get('/page')
    async def fail() -> None:
        raise error

    errors.install(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url='http://test')


@pytest.mark.parametrize(
    ('error', 'status'),
    [
        (ModelNotFound('gone'), 404),
        (InvalidModelFile('broken'), 422),
        (NotEnoughMemory('too big'), 503),
        (PreflightFailed('crashed'), 503),
        (NoModelLoaded(), 503),
        (ContextLengthExceeded(prompt_tokens=9, n_ctx=8), 400),
        (InvalidTemplate('no such role'), 400),
        (DecodeFailed('gave up'), 500),
        (NotFound('no such chat'), 404),
        (DamagedFile('set aside'), 500),
        (StoreError('disk full'), 507),
    ],
)
async def test_each_error_has_a_status_and_a_body_as_openai_sends_it(
    error: InferenceError | StoreError, status: int
) -> None:
    async with client(error) as api:
        response = await api.get('/v1/failing')

    assert response.status_code == status
    kind = 'invalid_request_error' if status < 500 else 'server_error'
    assert response.json() == {'error': {'message': str(error), 'type': kind, 'param': None, 'code': error.code}}
    assert 'retry-after' not in response.headers


async def test_while_a_model_is_on_its_way_the_client_learns_when_to_come_back() -> None:
    async with client(StillLoading()) as api:
        response = await api.get('/v1/failing')

    assert response.status_code == 503
    assert int(response.headers['retry-after']) > 0


async def test_an_unforeseen_error_keeps_its_details_to_the_log(log: list[str]) -> None:
    async with client(RuntimeError('the password is swordfish')) as api:
        response = await api.get('/v1/failing')

    assert response.status_code == 500
    assert response.json()['error']['code'] == 'internal_error'
    assert 'swordfish' not in response.text
    assert 'swordfish' in ''.join(log)


async def test_unknown_paths_and_methods_are_told_to_programs_as_json() -> None:
    async with client(NoModelLoaded()) as api:
        unknown = await api.get('/v1/embeddings')
        wrong = await api.post('/v1/failing')

    assert (unknown.status_code, unknown.json()['error']['code']) == (404, 'not_found')
    assert unknown.json()['error']['message'] == 'There is no GET /v1/embeddings here.'
    assert (wrong.status_code, wrong.json()['error']['code']) == (405, 'method_not_allowed')
    assert wrong.json()['error']['message'] == '/v1/failing does not take POST, only GET.'


async def test_pages_keep_their_own_handlers() -> None:
    async with client(RuntimeError('oops')) as api:
        assert (await api.get('/nowhere')).text == 'a page for people'
        assert (await api.get('/page')).text == 'a page for people'


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Collect what is logged."""
    lines: list[str] = []

    def keep(message: Any) -> None:
        lines.append(str(message))

    number = logger.add(keep)
    yield lines
    logger.remove(number)
