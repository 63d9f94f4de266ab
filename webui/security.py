"""Who may talk to the server: its own pages, and, where it is open to others, those who know the access code.

Plain ASGI all the way: requests, streams and sockets pass the same doors, and nothing is buffered.
"""

import ipaddress
import os
import re
import secrets
import socket
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webui.access import SAFE_METHODS, AccessCode, access_error, refuse
from webui.config import AppConfig


def install(app: Starlette, config: AppConfig, secret: bytes) -> None:
    """Put the doors in front of `app`; the last one added is the first a request meets."""
    if config.access_code:
        app.add_middleware(AccessCode, code=config.access_code, secret=secret)
    app.add_middleware(SameOrigin)
    app.add_middleware(KnownHost, config=config)
    app.add_middleware(SecurityHeaders)


def close_sockets_to_foreign_origins() -> None:
    """Let Socket.IO, too, accept its own origin only; NiceGUI opens it to all."""
    from nicegui import core  # noqa: PLC0415 - heavy, and only the app process needs it

    core.sio.eio.cors_allowed_origins = None


def load_secret(path: Path) -> bytes:
    """Return the 32 bytes that sign cookies, made on first use and readable by their owner only."""
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = b''
    return secret if len(secret) == 32 else _make_secret(path)


class SecurityHeaders:
    """Tells browsers what a page may load and who may frame it; headers that are set already stay."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        added = _security_headers(Headers(scope=scope).get('host', ''))

        async def send_with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class KnownHost:
    """Refuses names this machine does not have: a foreign name that was made to point here (DNS rebinding)."""

    def __init__(self, app: ASGIApp, config: AppConfig) -> None:
        self._app = app
        self._names = _own_names(config)
        self._any_address = config.is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] not in {'http', 'websocket'} or self._knows(Headers(scope=scope).get('host', '')):
            await self._app(scope, receive, send)
            return
        text = 'This server does not answer to that name. Open it by the address it printed when it started.\n'
        await refuse(scope, receive, send, PlainTextResponse(text, 400))

    def _knows(self, authority: str) -> bool:
        name = host_name(authority)
        return name in self._names or (self._any_address and _is_address(name))


class SameOrigin:
    """Refuses sockets and changes that a page of another site asks for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        checked = scope['type'] == 'websocket' or (scope['type'] == 'http' and scope['method'] not in SAFE_METHODS)
        if checked and _is_foreign(Headers(scope=scope)):
            response = access_error(403, 'foreign_origin', 'A page of another site asked for this; that is refused.')
            await refuse(scope, receive, send, response)
            return
        await self._app(scope, receive, send)


def host_name(authority: str) -> str:
    """Return the host of a `Host` header in lower case, without the port; empty if it is malformed."""
    found = re.fullmatch(r'(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d{1,5})?', authority.lower())
    return found[1] if found else ''


def _own_names(config: AppConfig) -> set[str]:
    names = {'localhost', '127.0.0.1', '[::1]', f'[{config.host}]' if ':' in config.host else config.host.lower()}
    if config.is_public:
        machine = socket.gethostname().lower()
        short = machine.partition('.')[0]
        names |= {machine, short, f'{short}.local'}
    return names


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip('[]'))
    except ValueError:
        return False
    return True


def _is_foreign(headers: Headers) -> bool:
    """A client that is no browser sends neither header; a browser cannot be made to lie in them."""
    if headers.get('sec-fetch-site') == 'cross-site':
        return True
    origin = headers.get('origin')
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get('host', '').lower()


def _make_secret(path: Path) -> bytes:
    secret = secrets.token_bytes(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix('.tmp')
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
        file.write(secret)
    new.replace(path)
    return secret


def _security_headers(host: str) -> dict[str, str]:
    """NiceGUI needs inline scripts and eval; older Safari does not count sockets as 'self'."""
    sockets = f' ws://{host} wss://{host}' if host_name(host) else ''
    policy = (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'{sockets}; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    return {
        'Content-Security-Policy': policy,
        'X-Content-Type-Options': 'nosniff',
        'Referrer-Policy': 'no-referrer',
        'X-Frame-Options': 'DENY',
    }
