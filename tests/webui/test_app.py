"""The app before it is ready."""

import asyncio
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.webui.conftest import app_config
from webui.app import AfterStart
from webui.services import Services


async def test_a_request_that_comes_early_waits_until_the_app_has_started(tmp_path: Path) -> None:
    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse('ready')

    services = Services(app_config(tmp_path), crash=None)
    app = AfterStart(Starlette(routes=[Route('/', answer)]), services)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url='http://app') as client:
        early = asyncio.create_task(client.get('/'))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not early.done()

        services.started.set()
        assert (await early).text == (await client.get('/')).text == 'ready'
