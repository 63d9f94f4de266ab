"""From errors to HTTP, once: a status for each class and one body for all, shaped as OpenAI's clients read it."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loguru import logger
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from inference.chat import clean_text
from inference.errors import (
    ContextLengthExceeded,
    DecodeFailed,
    InferenceError,
    InvalidModelFile,
    InvalidRequest,
    InvalidTemplate,
    LoadFailed,
    ModelNotFound,
    ModelUnloaded,
    NoModelLoaded,
)
from presets.errors import DamagedFile, InvalidImport, NewerSchema, NotFound, StoreError
from webui.documents.reader import TooLarge, Unreadable
from webui.replying import ReplyRunning

PATHS = ('/api/', '/v1/', '/metrics')
STATUS: dict[type[Exception], int] = {
    InferenceError: 500,
    ModelNotFound: 404,
    InvalidModelFile: 422,
    LoadFailed: 503,
    NoModelLoaded: 503,
    ContextLengthExceeded: 400,
    InvalidTemplate: 400,
    InvalidRequest: 400,
    ReplyRunning: 409,
    Unreadable: 422,
    TooLarge: 413,
    DecodeFailed: 500,
    ModelUnloaded: 503,
    StoreError: 507,
    NotFound: 404,
    NewerSchema: 500,
    DamagedFile: 500,
    InvalidImport: 422,
}
CODES = {400: 'invalid_request', 404: 'not_found', 405: 'method_not_allowed', 413: 'body_too_large'}
RETRY_SECONDS = '5'
ErrorBody = dict[str, Any]

Handler = Callable[[Request, Any], Response | Awaitable[Response]]


class StillLoading(NoModelLoaded):
    """The model is on its way, or another took its place while the request waited."""

    def __init__(self) -> None:
        super().__init__('Another model is being loaded at the moment. Try again in a few seconds.')


def install(app: FastAPI) -> None:
    """Answer what goes wrong under our paths; every other path keeps the handlers it has."""
    kinds: list[Any] = [HTTPException, RequestValidationError, InferenceError, StoreError, Exception]
    # A handler for a number would come before the one for the class; NiceGUI's shows its page for 404.
    for kind in [404, *kinds]:
        app.add_exception_handler(kind, _ours_or(app.exception_handlers.get(kind)))


def answer(request: Request, error: Exception) -> Response:
    """Return the response for an error of any kind."""
    path = _path(request)
    status, headers = 500, {}
    match error:
        case RequestValidationError():
            status = 400 if path.startswith('/v1/') else 422
        case HTTPException():
            status, headers = error.status_code, dict(error.headers or {})
            error = HTTPException(status, _in_words(request, error))
        case InferenceError() | StoreError():
            status = status_of(error)
    if isinstance(error, StillLoading):
        headers['Retry-After'] = RETRY_SECONDS
    return JSONResponse(body_of(error), status, headers)


def status_of(error: InferenceError | StoreError) -> int:
    """Return the HTTP status of an error of ours."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def body_of(error: Exception) -> ErrorBody:
    """Return what a program is told; an error nobody foresaw goes to the log and says nothing of itself."""
    match error:
        case RequestValidationError():
            message, param = _explain(error.errors()[0])
            return _body(message, 400, 'invalid_request', param)
        case HTTPException():
            return _body(error.detail, error.status_code, CODES.get(error.status_code, 'http_error'))
        case InferenceError() | StoreError():
            return _body(str(error), status_of(error), error.code)
    logger.opt(exception=error).error('A request failed')
    return _body('The app met an error of its own; its log has the details.', 500, 'internal_error')


def _body(message: str, status: int, code: str, param: str | None = None) -> ErrorBody:
    kind = 'invalid_request_error' if status < 500 else 'server_error'
    param = clean_text(param) if param else None
    return {'error': {'message': clean_text(message), 'type': kind, 'param': param, 'code': code}}


def _in_words(request: Request, error: HTTPException) -> str:
    """Say more than the framework does where the error is its own."""
    match error.status_code:
        case 400:
            return 'The body cannot be read. Send JSON, encoded as UTF-8 and not nested deeply.'
        case 404:
            return f'There is no {request.method} {_path(request)} here.'
        case 405:
            allowed = Headers(error.headers).get('allow', 'others')
            return f'{_path(request)} does not take {request.method}, only {allowed}.'
    return error.detail


def _explain(problem: dict[str, Any]) -> tuple[str, str | None]:
    """Say which field cannot be used and why; return that and the field as OpenAI spells it."""
    if problem['type'] == 'json_invalid':
        return f'The body is not valid JSON: {problem["ctx"]["error"]} at character {problem["loc"][-1]}.', None
    field = _field(problem['loc'][1:])
    if not field:
        return 'The body must be a JSON object, sent with "Content-Type: application/json".', None
    if problem['type'] == 'missing':
        return f"The field '{field}' is missing.", field
    if problem['type'] == 'extra_forbidden':
        return f"The field '{field}' is unknown. Correct its name or leave it out.", field
    reason = str(problem['msg']).removeprefix('Value error, ').rstrip('.')
    return f"The field '{field}' cannot be used: {reason[:1].lower()}{reason[1:]}.", field


def _field(location: Sequence[int | str]) -> str:
    parts = (f'[{part}]' if isinstance(part, int) else f'.{part}' for part in location)
    return ''.join(parts).removeprefix('.')


def _ours_or(others: Handler | None) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        if _path(request).startswith(PATHS):
            return answer(request, error)
        if others is None:
            raise error
        response = others(request, error)
        return await response if inspect.isawaitable(response) else response

    return handle


def _path(request: Request) -> str:
    return request.url.path.removeprefix(request.scope.get('root_path', ''))
