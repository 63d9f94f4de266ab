"""The access code: who shows it comes in, who guesses has to wait.

The code itself is kept out of logs, URLs after the first, and cookies.
"""

import hashlib
import hmac
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

COOKIE = 'chatbot_access'
COOKIE_AGE = 365 * 24 * 3600
FREE_TRIES = 5
FIRST_DELAY, LONGEST_DELAY = 5.0, 15 * 60.0  # seconds
MOST_ADDRESSES = 1024
FORM_LIMIT = 4096  # bytes
PROGRAM_PATHS = ('/api/', '/v1/', '/metrics', '/_nicegui')  # nobody reads a form here
OPEN_PATHS = ('/diagrams/',)  # nothing in there is anybody's, and the frame that asks for it has no cookie
SAFE_METHODS = {'GET', 'HEAD', 'OPTIONS'}


class AccessCode:
    """Lets in who shows the code: once in the form or the URL (a cookie remembers it), or in every API request."""

    def __init__(self, app: ASGIApp, code: str, secret: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._code = code.encode()
        self._ticket = hmac.new(secret, self._code, hashlib.sha256).hexdigest()
        self._throttle = Throttle(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] not in {'http', 'websocket'} or _is_open(scope):
            await self._app(scope, receive, send)
            return
        if (answer := await self._answer(scope, receive)) is None:
            await self._app(scope, receive, send)
        else:
            await refuse(scope, receive, send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return what to say instead of letting the request through."""
        connection = HTTPConnection(scope)
        reads_page = scope['type'] == 'http' and scope['method'] == 'GET' and not _is_for_programs(scope['path'])
        if scope['type'] == 'http' and scope['path'] == '/access' and scope['method'] == 'POST':
            return await self._submitted(Request(scope, receive))
        if reads_page and 'code' in connection.query_params:
            return self._followed(connection)
        if reads_page and scope['path'] == '/access':
            target = local_path(connection.query_params.get('next', '/'))
            return RedirectResponse(target, 303) if self._has_ticket(connection) else _page(target)
        return None if self._has_ticket(connection) else self._with_header(connection)

    async def _submitted(self, request: Request) -> Response:
        fields = await _read_form(request)
        return self._decide(request, fields.get('code', ''), local_path(fields.get('next', '/')))

    def _followed(self, connection: HTTPConnection) -> Response:
        """Take the code out of the address of a link, so that it is not seen or saved there."""
        others = [(name, value) for name, value in connection.query_params.multi_items() if name != 'code']
        target = local_path(quote(connection.url.path)) + (f'?{urlencode(others)}' if others else '')
        if self._has_ticket(connection):
            return RedirectResponse(target, 303)
        return self._decide(connection, connection.query_params['code'], target)

    def _decide(self, connection: HTTPConnection, code: str, target: str) -> Response:
        wait = self._try(connection, code.strip())
        if wait is not None:
            return _page(target, wait, failed=True)
        response = RedirectResponse(target, 303)
        response.set_cookie(COOKIE, self._ticket, max_age=COOKIE_AGE, httponly=True, samesite='strict')
        return response

    def _with_header(self, connection: HTTPConnection) -> Response | None:
        scheme, _, code = connection.headers.get('authorization', '').partition(' ')
        if scheme.lower() != 'bearer':
            return _closed(connection.scope)
        wait = self._try(connection, code.strip())
        if wait:
            return access_error(429, 'too_many_tries', f'Too many wrong codes. Try again in {math.ceil(wait)} s.', wait)
        return None if wait is None else _closed(connection.scope)

    def _has_ticket(self, connection: HTTPConnection) -> bool:
        return _same(connection.cookies.get(COOKIE, ''), self._ticket.encode())

    def _try(self, connection: HTTPConnection, code: str) -> float | None:
        """Return None for the right code, 0 for a wrong one, or the seconds until the next try is looked at."""
        address = connection.client.host if connection.client else ''
        if wait := self._throttle.wait(address):
            return wait
        if not _same(code, self._code):
            self._throttle.failed(address)
            return 0
        self._throttle.succeeded(address)
        return None


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0


class Throttle:
    """Makes guessing slow: after five wrong tries an address waits, twice as long each time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, _Failures] = {}

    def wait(self, address: str) -> float:
        """Return the seconds until a try of this address is looked at."""
        failures = self._failures.get(address)
        return max(0.0, failures.until - self._clock()) if failures else 0.0

    def failed(self, address: str) -> None:
        """Count a wrong try; the address that failed longest ago is forgotten when there are too many."""
        failures = self._failures.pop(address, None) or _Failures()
        failures.count += 1
        if failures.count >= FREE_TRIES:
            failures.until = self._clock() + min(FIRST_DELAY * 2.0 ** (failures.count - FREE_TRIES), LONGEST_DELAY)
        self._failures[address] = failures
        if len(self._failures) > MOST_ADDRESSES:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, address: str) -> None:
        """Forget the wrong tries of an address."""
        self._failures.pop(address, None)


def local_path(target: str) -> str:
    """Return `target` if it stays on this server, else '/'; browsers read backslashes and '//' as another host."""
    stays = re.fullmatch(r'/(?![/\\])[^\\\x00-\x20\x7f]*', target)
    return target if stays else '/'


async def refuse(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    """Answer in place of the app; a socket is closed instead."""
    answer: ASGIApp = WebSocketClose(1008) if scope['type'] == 'websocket' else response
    await answer(scope, receive, send)


def access_error(status: int, code: str, message: str, wait: float = 0) -> Response:
    """Return what a program is told; `wait` are the seconds until the next try."""
    headers = {401: {'WWW-Authenticate': 'Bearer'}, 429: {'Retry-After': str(math.ceil(wait))}}.get(status)
    return JSONResponse({'error': {'message': message, 'type': 'access_error', 'code': code}}, status, headers)


def _is_open(scope: Scope) -> bool:
    return scope['type'] == 'http' and scope['method'] in SAFE_METHODS and scope['path'].startswith(OPEN_PATHS)


def _is_for_programs(path: str) -> bool:
    return path.startswith(PROGRAM_PATHS)


def _same(given: str, expected: bytes) -> bool:
    return hmac.compare_digest(given.encode(), expected)


def _closed(scope: Scope) -> Response:
    if scope['type'] == 'http' and scope['method'] in SAFE_METHODS and not _is_for_programs(scope['path']):
        query = scope['query_string'].decode('latin-1')
        target = local_path(quote(scope['path']) + (f'?{query}' if query else ''))
        return RedirectResponse('/access' if target == '/' else f'/access?{urlencode({"next": target})}', 303)
    message = 'The access code is missing or wrong. Send it as "Authorization: Bearer CODE".'
    return access_error(401, 'access_code_required', message)


async def _read_form(request: Request) -> dict[str, str]:
    body = b''
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_LIMIT:
            return {}
    return dict(parse_qsl(body.decode('utf-8', 'replace')))


def _page(target: str, wait: float = 0, *, failed: bool = False) -> Response:
    problem = ''
    if failed:
        seconds = math.ceil(wait)
        problem = f'Too many wrong codes. Try again in {seconds} s.' if wait else 'That is not the code.'
    # Under no-referrer, browsers send a form with "Origin: null", which is refused as foreign.
    headers = {'Referrer-Policy': 'same-origin', 'Cache-Control': 'no-store'}
    if wait:
        headers['Retry-After'] = str(math.ceil(wait))
    text = _FORM.replace('TARGET', escape(target)).replace('PROBLEM', problem)
    return HTMLResponse(text, (429 if wait else 403) if failed else 200, headers)


_FORM = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Chatbot WebUI</title>
<style>
  :root { --page: #fff; --line: #e7e6e3; --text: #1d1d1b; --muted: #6c6b66; --accent: #c2410c; --on: #fff;
          --bad: #b42318 }
  @media (prefers-color-scheme: dark) {
    :root { --page: #161615; --line: #32312e; --text: #ececea; --muted: #a09f99; --accent: #fb923c; --on: #161615;
            --bad: #f97066 }
  }
  body { margin: 0; min-height: 100dvh; display: grid; place-items: center; background: var(--page); color: var(--text);
         font: 15.5px/1.6 system-ui, sans-serif }
  form { width: min(20rem, calc(100vw - 3rem)); display: grid; gap: 12px }
  h1 { margin: 0; font-size: 1.25em; font-weight: 600 }
  p { margin: 0; font-size: 13px; color: var(--muted) }
  [role=alert] { color: var(--bad) }
  input, button { box-sizing: border-box; width: 100%; height: 40px; border-radius: 8px; font: inherit }
  input { padding: 0 12px; border: 1px solid var(--line); background: none; color: inherit }
  button { border: 0; background: var(--accent); color: var(--on); cursor: pointer }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
</style>
<form method="post" action="/access">
  <h1>Chatbot WebUI</h1>
  <p id="hint">The access code is shown in the terminal where the server was started.</p>
  <input type="hidden" name="next" value="TARGET">
  <input name="code" aria-label="Access code" aria-describedby="hint" placeholder="Access code" required autofocus
         autocomplete="off" autocapitalize="off" spellcheck="false">
  <button>Open</button>
  <p role="alert">PROBLEM</p>
</form>
</html>
"""
