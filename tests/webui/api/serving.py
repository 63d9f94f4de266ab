"""The real API on a real server: everything but the page."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from nicegui import background_tasks, core
from nicegui.middlewares import RedirectWithPrefixMiddleware, SetCacheControlMiddleware
from openai import OpenAI
from starlette.middleware.gzip import GZipMiddleware

from webui.api import create_router, errors
from webui.config import AppConfig
from webui.services import Services


class Running:
    """A server that listens; its `services` belong to the server's thread, and tests only look at them."""

    def __init__(self, url: str, services: Services) -> None:
        self.url, self.services = url, services
        self.http = httpx.Client(base_url=url, timeout=30)
        self.openai = OpenAI(base_url=f'{url}/v1', api_key='none', max_retries=0)

    def busy(self) -> int:
        """Return how many replies are being made, as the health page tells it."""
        return int(self.http.get('/api/health').json()['slots']['busy'])

    def until(self, condition: Callable[[], bool], seconds: float = 3) -> None:
        """Return once `condition` holds; fail if it does not come true in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, 'it did not come true'


def config(folder: Path, model: str = 'echo@0') -> AppConfig:
    """Return how to run with everything below `folder`."""
    return AppConfig(data_dir=folder, model=model, browser=False)


@contextmanager
def serving(config: AppConfig) -> Iterator[Running]:
    """Run the app in a thread of its own until the block is left."""
    services = Services(config, crash=None)
    server = uvicorn.Server(uvicorn.Config(_app(services), host='127.0.0.1', port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), 'the server did not start'
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        running = Running(f'http://127.0.0.1:{port}', services)
        with running.http, running.openai:
            yield running
    finally:
        server.should_exit = True
        thread.join()


def _app(services: Services) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        core.loop = asyncio.get_running_loop()
        await services.start()
        yield
        await services.close()
        await background_tasks.teardown()
        core.loop = None

    app = FastAPI(lifespan=lifespan)
    # What stands between the server and the API in the app, too.
    for middleware in (GZipMiddleware, RedirectWithPrefixMiddleware, SetCacheControlMiddleware):
        app.add_middleware(middleware)
    app.include_router(create_router(services))
    errors.install(app)
    return app
