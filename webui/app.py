"""Puts the app together: services, doors, pages, API; then serves until the end."""

import gc
import os
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from loguru import logger
from nicegui import app, ui
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from webui import api, diagrams, formulas, security
from webui.api import errors
from webui.config import AppConfig
from webui.pages.chat import ChatPage
from webui.pages.trash import TrashPage
from webui.person import welcome
from webui.services import Services
from webui.supervisor import CrashReport

STATIC = Path(__file__).parent / 'static'
STYLES = (
    'theme.css',
    'app.css',
    'messages.css',
    'composer.css',
    'markdown.css',
    'palette.css',
    'transfer.css',
    'chats.css',
    'touch.css',
)
SCRIPTS = ('page.js', 'focus.js', 'copy.js', 'upload.js', 'diagrams.js')
RECONNECT_SECONDS = 30.0
"""How long a tab may be offline and still go on where it was."""
VIEWPORT = 'width=device-width, initial-scale=1, interactive-widget=resizes-content'


def serve(config: AppConfig, crash: CrashReport | None) -> None:
    """Run the app until it is stopped."""
    _write_log(config)
    services = Services(config, crash)
    app.on_startup(partial(_start, services))
    app.on_startup(formulas.warm_up)
    app.on_shutdown(services.close)
    secret = security.load_secret(config.secret_file)
    app.add_middleware(AfterStart, services=services)
    security.install(app, config, secret)
    security.close_sockets_to_foreign_origins()
    create(services)
    if config.native:
        _prepare_window(config)
    ui.run(
        host=config.host, port=config.port, title='Chatbot WebUI', favicon=STATIC / 'icon.svg', viewport=VIEWPORT,
        dark=None, tailwind=False, reload=False, show=_address_to_show(config), native=config.native,
        window_size=(1240, 820) if config.native else None, reconnect_timeout=RECONNECT_SECONDS,
        binding_refresh_interval=None, storage_secret=secret.hex(), show_welcome_message=False,
        session_middleware_kwargs={'same_site': 'strict'}, access_log=False, timeout_graceful_shutdown=2,
        # Near machines: to pack small messages, or anything as small as it gets, takes longer than to send it.
        ws_per_message_deflate=False, gzip_middleware_factory=partial(GZipMiddleware, compresslevel=1),
    )  # fmt: skip


async def _start(services: Services) -> None:
    await services.start()
    # What is there now stays, so let the garbage collector not look through it again and again: all waits meanwhile.
    gc.collect()
    gc.freeze()


class AfterStart:
    """Lets requests wait until the app has started: the first look at ten thousand chats takes its time."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._started = app, services.started

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer when there is something to answer with."""
        if scope['type'] == 'http':
            await self._started.wait()
        await self._app(scope, receive, send)


def create(services: Services) -> None:
    """Register pages and API."""
    app.add_static_files('/static', STATIC)
    diagrams.install(app)
    app.include_router(api.create_router(services))
    errors.install(app)
    app.openapi_url = '/openapi.json'
    app.setup()
    app.colors(primary='var(--accent)', secondary='var(--muted)', negative='var(--danger)', positive='var(--ok)')
    ui.add_head_html(_head(), shared=True)

    @ui.page('/')
    @ui.page('/c/{chat_id}')
    async def chat(request: Request, chat_id: str = '', message: str = '') -> None:
        welcome(request)
        page = ChatPage(services)
        await page.visit(f'/c/{chat_id}?{urlencode({"message": message})}' if chat_id else '/')

    @ui.page('/trash')
    def trash(request: Request) -> None:
        welcome(request)
        TrashPage(services)


def _head() -> str:
    """Name our files with the time they were made, so that no browser keeps an old one."""

    def address(name: str) -> str:
        return f'/static/{name}?v={(STATIC / name).stat().st_mtime_ns}'

    styles = [f'<link rel="stylesheet" href="{address(name)}">' for name in STYLES]
    scripts = [f'<script type="module" src="{address(name)}"></script>' for name in SCRIPTS]
    return '\n'.join([*styles, *scripts])


def _write_log(config: AppConfig) -> None:
    logger.remove()
    line = '<dim>{time:HH:mm:ss}</dim> <level>{level: <7}</level> {message}'
    logger.add(sys.stderr, level=config.log_level, format=line)
    logger.add(config.log_file, level=config.log_level, rotation='5 MB', retention=5, encoding='utf-8')


def _address_to_show(config: AppConfig) -> str | bool:
    """Return what to open in the browser, where there is a screen to show it on."""
    on_linux = sys.platform.startswith('linux')
    has_screen = not on_linux or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))
    return config.open_path if config.browser and has_screen else False


def _prepare_window(config: AppConfig) -> None:
    app.native.settings['ALLOW_DOWNLOADS'] = True
    app.native.window_args['url'] = f'{config.url}{config.open_path}'
    app.native.start_args.update(private_mode=False, storage_path=str(config.data_dir / 'window'))
    if sys.platform.startswith('linux'):
        app.native.start_args['gui'] = 'qt'
