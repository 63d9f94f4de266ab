"""What strangers meet: foreign names, pages of other sites, and a closed door where the app is open to the network."""

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from webui.access import Throttle, local_path
from webui.config import AppConfig
from webui.security import install, load_secret

PROJECT = Path(__file__).parents[2]
CODE = 'abcd-efgh'
SECRET = bytes(range(32))
LOCAL = AppConfig()
PUBLIC = AppConfig(host='0.0.0.0', access_code=CODE)
ADDRESS = 'http://192.168.1.5:8080'


async def answer(request: Request) -> Response:
    return PlainTextResponse('inside', headers={'Cache-Control': 'no-store'})


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def protected(config: AppConfig) -> Starlette:
    routes = [
        WebSocketRoute('/socket', talk),
        Route('/{path:path}', answer, methods=['GET', 'POST']),
    ]
    app = Starlette(routes=routes)
    install(app, config, SECRET)
    return app


def browser(config: AppConfig, base_url: str = 'http://127.0.0.1:8080', **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(protected(config)), base_url=base_url, **options)


async def opens_socket(config: AppConfig, **headers: str) -> bool:
    """Ask for a socket as a server would pass it on, and return whether it was accepted."""
    raw = [(name.replace('_', '-').encode(), value.encode()) for name, value in headers.items()]
    scope = {
        'type': 'websocket',
        'path': '/socket',
        'query_string': b'',
        'headers': raw,
        'client': ('192.168.1.9', 5000),
    }
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {'type': 'websocket.connect'}

    async def send(message: Any) -> None:
        sent.append(message['type'])

    await protected(config)(scope, receive, send)
    return sent[0] == 'websocket.accept'


# Headers


async def test_pages_carry_the_security_headers_and_keep_their_own() -> None:
    headers = (await browser(LOCAL).get('/')).headers

    assert "img-src 'self' data: blob:;" in headers['content-security-policy']
    assert "connect-src 'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080;" in headers['content-security-policy']
    assert "frame-ancestors 'none'" in headers['content-security-policy']
    assert headers['x-content-type-options'] == 'nosniff'
    assert headers['referrer-policy'] == 'no-referrer'
    assert headers['x-frame-options'] == 'DENY'
    assert headers['cache-control'] == 'no-store'


async def test_an_event_arrives_before_the_next_one_is_made() -> None:
    arrived = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        yield 'data: 1\n\n'
        await arrived.wait()  # forever, if anything on the way collects events
        yield 'data: 2\n\n'

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message.get('body') == b'data: 1\n\n':
            arrived.set()

    app = Starlette()
    install(app, PUBLIC, SECRET)
    app.add_route('/stream', lambda request: StreamingResponse(events(), media_type='text/event-stream'))
    headers = [(b'host', b'192.168.1.5:8080'), (b'authorization', f'Bearer {CODE}'.encode())]
    scope = {
        'type': 'http',
        'method': 'GET',
        'path': '/stream',
        'query_string': b'',
        'headers': headers,
        'client': None,
    }
    async with asyncio.timeout(10):
        await app(scope, receive, send)


# Names


@pytest.mark.parametrize('host', ['localhost', 'localhost:8080', '127.0.0.1:9', '[::1]', '[::1]:8080', 'LocalHost:1'])
async def test_a_local_app_answers_to_its_names(host: str) -> None:
    assert (await browser(LOCAL).get('/', headers={'Host': host})).status_code == 200


@pytest.mark.parametrize(
    'host', ['evil.com', 'localhost.evil.com', '192.168.1.5:8080', '', 'a b', 'localhost:x', "x;'"]
)
async def test_a_local_app_refuses_other_names(host: str) -> None:
    response = await browser(LOCAL).get('/', headers={'Host': host})

    assert response.status_code == 400
    assert 'does not answer to that name' in response.text


async def test_a_public_app_answers_to_addresses_and_to_the_name_of_the_machine() -> None:
    name = socket.gethostname().lower().partition('.')[0]
    headers = {'Authorization': f'Bearer {CODE}'}
    async with browser(PUBLIC, headers=headers) as client:
        for host in ('192.168.1.5:8080', '[fd00::5]:8080', 'localhost', name, f'{name}.local:8080'):
            assert (await client.get('/', headers={'Host': host})).status_code == 200
        assert (await client.get('/', headers={'Host': 'evil.com'})).status_code == 400


async def test_sockets_know_their_names_too() -> None:
    assert await opens_socket(LOCAL, host='127.0.0.1:8080')
    assert not await opens_socket(LOCAL, host='evil.com')


# Other sites


@pytest.mark.parametrize(
    'headers',
    [
        {},
        {'Origin': 'http://127.0.0.1:8080'},
        {'Origin': 'http://127.0.0.1:8080', 'Sec-Fetch-Site': 'same-origin'},
    ],
)
async def test_own_pages_and_programs_may_change_things(headers: dict[str, str]) -> None:
    assert (await browser(LOCAL).post('/api/chats', headers=headers)).status_code == 200


@pytest.mark.parametrize(
    'headers',
    [
        {'Origin': 'http://evil.com'},
        {'Origin': 'http://127.0.0.1:3000'},
        {'Origin': 'null'},
        {'Sec-Fetch-Site': 'cross-site'},
    ],
)
async def test_pages_of_other_sites_may_not(headers: dict[str, str]) -> None:
    response = await browser(LOCAL).post('/api/chats', headers=headers)

    assert (response.status_code, response.json()['error']['code']) == (403, 'foreign_origin')


async def test_a_link_from_another_site_still_opens_the_app() -> None:
    assert (await browser(LOCAL).get('/', headers={'Sec-Fetch-Site': 'cross-site'})).status_code == 200


async def test_sockets_of_other_sites_are_refused() -> None:
    assert await opens_socket(LOCAL, host='127.0.0.1:8080', origin='http://127.0.0.1:8080')
    assert not await opens_socket(LOCAL, host='127.0.0.1:8080', origin='http://evil.com')
    assert not await opens_socket(LOCAL, host='127.0.0.1:8080', sec_fetch_site='cross-site')


# The access code


async def test_without_the_code_a_public_app_is_closed() -> None:
    async with browser(PUBLIC, ADDRESS) as client:
        page = await client.get('/c/abc?x=1')
        answers = [await client.get(path) for path in ('/api/health', '/v1/models', '/metrics', '/_nicegui/x.js')]
        posted = await client.post('/anything')

    assert (page.status_code, page.headers['location']) == (303, '/access?next=%2Fc%2Fabc%3Fx%3D1')
    assert [response.status_code for response in [*answers, posted]] == [401] * 5
    assert answers[0].json()['error']['code'] == 'access_code_required'
    assert not await opens_socket(PUBLIC, host='192.168.1.5:8080')


async def test_a_local_app_asks_for_no_code() -> None:
    async with browser(LOCAL) as client:
        assert (await client.get('/api/health')).text == 'inside'


async def test_the_form_lets_in_and_the_cookie_remembers() -> None:
    async with browser(PUBLIC, ADDRESS) as client:
        form = await client.get('/access', params={'next': '/c/abc'})
        entered = await client.post(
            '/access', data={'code': f' {CODE} ', 'next': '/c/abc'}, headers={'Origin': ADDRESS}
        )
        inside = await client.get('/api/health')
        cookie = entered.headers['set-cookie']

    assert form.status_code == 200
    assert 'name="next" value="/c/abc"' in form.text
    assert not re.search(r'(src|href)=|url\(', form.text)
    assert (entered.status_code, entered.headers['location']) == (303, '/c/abc')
    assert CODE not in cookie
    assert 'HttpOnly' in cookie
    assert 'SameSite=strict' in cookie
    assert 'Max-Age=31536000' in cookie
    assert inside.text == 'inside'


async def test_the_form_is_not_sent_with_an_empty_origin() -> None:
    """Under no-referrer browsers say "Origin: null" for forms, which is what a foreign page would say."""
    async with browser(PUBLIC, ADDRESS) as client:
        assert (await client.get('/access')).headers['referrer-policy'] == 'same-origin'


async def test_a_cookie_opens_the_socket_and_a_forged_one_does_not() -> None:
    async with browser(PUBLIC, ADDRESS) as client:
        await client.post('/access', data={'code': CODE})
        cookie = f'chatbot_access={client.cookies["chatbot_access"]}'

    assert await opens_socket(PUBLIC, host='192.168.1.5:8080', cookie=cookie)
    assert not await opens_socket(PUBLIC, host='192.168.1.5:8080', cookie='chatbot_access=0123')
    assert not await opens_socket(AppConfig(lan=True), host='192.168.1.5:8080', cookie=cookie)


async def test_programs_send_the_code_with_every_request() -> None:
    async with browser(PUBLIC, ADDRESS) as client:
        right = await client.get('/v1/models', headers={'Authorization': f'Bearer {CODE}'})
        wrong = await client.get('/v1/models', headers={'Authorization': 'Bearer nonsense'})

    assert (right.status_code, wrong.status_code) == (200, 401)
    assert wrong.headers['www-authenticate'] == 'Bearer'


async def test_the_printed_link_lets_in_and_drops_the_code() -> None:
    async with browser(PUBLIC, ADDRESS) as client:
        followed = await client.get(PUBLIC.open_path)
        deep = await client.get('/c/abc', params={'x': '1', 'code': CODE})
        inside = await client.get('/')

    assert (followed.status_code, followed.headers['location']) == (303, '/')
    assert deep.headers['location'] == '/c/abc?x=1'
    assert inside.text == 'inside'


async def test_a_wrong_code_gets_the_form_again() -> None:
    async with browser(PUBLIC, ADDRESS) as client:
        answers = [await client.post('/access', data={'code': 'wrong'}), await client.get('/?code=wrong')]
        answers.append(await client.post('/access', content=b'code=' + b'x' * 100_000))

    for response in answers:
        assert response.status_code == 403
        assert 'That is not the code.' in response.text
        assert 'set-cookie' not in response.headers


async def test_after_five_wrong_tries_even_the_right_code_has_to_wait() -> None:
    async with browser(PUBLIC, ADDRESS) as client:
        wrong = [(await client.post('/access', data={'code': f'guess{i}'})).status_code for i in range(5)]
        form = await client.post('/access', data={'code': CODE})
        link = await client.get('/', params={'code': CODE})
        program = await client.get('/v1/models', headers={'Authorization': f'Bearer {CODE}'})

    assert wrong == [403] * 5
    assert [response.status_code for response in (form, link, program)] == [429] * 3
    assert 1 <= int(form.headers['retry-after']) <= 5
    assert int(program.headers['retry-after']) <= 5


def test_each_further_try_doubles_the_wait_of_that_address_only() -> None:
    now = 0.0
    throttle = Throttle(lambda: now)
    for _ in range(5):
        throttle.failed('192.168.1.9')
    waits = []
    for _ in range(10):
        waits.append(throttle.wait('192.168.1.9'))
        now += waits[-1]
        assert throttle.wait('192.168.1.9') == 0
        throttle.failed('192.168.1.9')

    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert throttle.wait('192.168.1.10') == 0
    throttle.succeeded('192.168.1.9')
    assert throttle.wait('192.168.1.9') == 0


@pytest.mark.parametrize('target', ['/', '/c/abc', '/c/abc?x=1', '/%2F/evil.com'])
def test_a_way_back_on_this_server_is_followed(target: str) -> None:
    assert local_path(target) == target


@pytest.mark.parametrize(
    'target',
    [
        '',
        'c',
        '//evil.com',
        '/\\evil.com',
        '\\/evil.com',
        'https://evil.com',
        '/\t/evil.com',
        '/a\r\nb',
        'javascript:1',
    ],
)
async def test_a_way_to_another_server_is_not(target: str) -> None:
    async with browser(PUBLIC, ADDRESS) as client:
        entered = await client.post('/access', data={'code': CODE, 'next': target})

    assert entered.headers['location'] == '/'


def test_the_secret_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / 'data' / 'secret'
    secret = load_secret(path)

    assert len(secret) == 32
    assert load_secret(path) == secret
    assert os.name == 'nt' or path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_secret_is_replaced(tmp_path: Path) -> None:
    (tmp_path / 'secret').write_bytes(b'short')

    assert len(load_secret(tmp_path / 'secret')) == 32


# A real server


SERVER = """
import sys
from nicegui import app, ui
from webui.config import AppConfig
from webui.security import close_sockets_to_foreign_origins, install

@ui.page('/')
def page():
    ui.label('hello')

if __name__ == '__main__':
    install(app, AppConfig(), bytes(32))
    close_sockets_to_foreign_origins()
    ui.run(host='127.0.0.1', port=int(sys.argv[1]), show=False, reload=False)
"""
SOCKET = '/_nicegui_ws/socket.io/?EIO=4&transport='


@pytest.fixture(scope='module')
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp('server')
    (folder / 'server.py').write_text(SERVER, 'utf-8')
    with socket.create_server(('127.0.0.1', 0)) as probe:
        port = probe.getsockname()[1]
    environment = {n: v for n, v in os.environ.items() if not n.startswith(('NICEGUI_', 'PYTEST_'))}
    environment |= {'PYTHONPATH': str(PROJECT), 'NICEGUI_STORAGE_PATH': str(folder / 'storage')}
    command = [sys.executable, str(folder / 'server.py'), str(port)]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL) as process:
        with httpx.Client(transport=httpx.HTTPTransport(retries=7), trust_env=False) as client:
            assert client.get(f'http://127.0.0.1:{port}/').status_code == 200
        yield f'127.0.0.1:{port}'
        process.terminate()


def polling_status(server: str, origin: str | None) -> int:
    headers = {'Origin': origin} if origin else {}
    return httpx.get(f'http://{server}{SOCKET}polling', headers=headers, trust_env=False).status_code


def test_the_page_of_a_real_server_is_protected(server: str) -> None:
    response = httpx.get(f'http://{server}/', trust_env=False)

    assert "frame-ancestors 'none'" in response.headers['content-security-policy']
    assert response.headers['cache-control'] == 'no-store'
    assert httpx.get(f'http://{server}/', headers={'Host': 'evil.com'}, trust_env=False).status_code == 400


def test_socket_io_itself_refuses_a_foreign_origin(server: str) -> None:
    """Polling is a GET, which our own check lets pass: this is the setting inside NiceGUI's server."""
    assert polling_status(server, f'http://{server}') == polling_status(server, None) == 200
    assert polling_status(server, 'http://evil.com') == 400


def test_a_websocket_of_a_real_server_refuses_a_foreign_origin(server: str) -> None:
    url = f'ws://{server}{SOCKET}websocket'
    with connect(url, origin=Origin(f'http://{server}'), proxy=None) as websocket:
        assert str(websocket.recv()).startswith('0{"sid":')
    with pytest.raises(InvalidStatus, match='403'):
        connect(url, origin=Origin('http://evil.com'), proxy=None)
