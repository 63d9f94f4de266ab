"""Whether the app can answer."""

from tests.webui.api.serving import Running
from webui.cli import version


def test_health_is_good_when_a_model_is_ready(server: Running) -> None:
    server.until(lambda: server.http.get('/api/health').status_code == 200)

    assert server.http.get('/api/health').json() == {
        'status': 'ok',
        'version': version(),
        'engine': {'phase': 'ready', 'model': 'echo@0', 'progress': 1.0, 'error': ''},
        'slots': {'total': 1, 'busy': 0, 'queued': 0},
    }


def test_without_a_model_health_says_so_with_the_same_body(idle_server: Running) -> None:
    response = idle_server.http.get('/api/health')

    assert response.status_code == 503
    assert response.json() == {
        'status': 'unavailable',
        'version': version(),
        'engine': {'phase': 'empty', 'model': '', 'progress': 0.0, 'error': ''},
        'slots': {'total': 0, 'busy': 0, 'queued': 0},
    }


def test_the_api_describes_itself(server: Running) -> None:
    paths = server.http.get('/openapi.json').json()['paths']

    assert {'/api/health', '/api/chat/stream', '/v1/models', '/v1/chat/completions'} <= set(paths)
    assert set(paths['/api/chat/stream']['post']['responses']['200']['content']) == {'text/event-stream'}
