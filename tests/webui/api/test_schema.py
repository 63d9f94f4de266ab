"""Who asks, as far as a request tells it."""

from typing import Any

from starlette.requests import Request

from webui.api.schema import user_of


def request(cookie: str = '', **scope: Any) -> Request:
    headers = [(b'cookie', cookie.encode())] if cookie else []
    return Request({'type': 'http', 'headers': headers, 'client': ('192.168.0.7', 5000), **scope})


def test_a_browser_is_known_by_its_session_and_a_program_by_its_address() -> None:
    assert user_of(request('session=x', session={'id': 'tab 1'})) == 'tab 1'
    assert user_of(request(session={'id': 'made for this request alone'})) == '192.168.0.7'
    assert user_of(request('session=forged')) == '192.168.0.7'
    assert user_of(request(client=None)) == ''
