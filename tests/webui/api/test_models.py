"""Models over HTTP: what there is, loading, unloading, and changing settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_models as tiny
from tests.webui.api.serving import Running, config, serving
from tests.webui.test_model_host import write_huge


@pytest.fixture
def tiny_server(tmp_path: Path) -> Iterator[Running]:
    """Serve two models of which none is loaded, and one that no memory is large enough for."""
    (tmp_path / 'models').mkdir()
    tiny.write_tiny_model(tmp_path / 'models' / 'tiny.gguf')
    write_huge(tmp_path / 'models' / 'huge.gguf')
    (tmp_path / 'models' / 'broken.gguf').write_bytes(b'GGUF')
    with serving(config(tmp_path, 'none')) as running:
        yield running


def phase(server: Running) -> str:
    return str(server.http.get('/api/models').json()['state']['phase'])


def loaded(server: Running) -> bool:
    assert phase(server) != 'failed', server.http.get('/api/models').json()['state']['error']
    return phase(server) == 'ready'


def test_every_model_is_listed_with_what_it_is_loaded_with(tiny_server: Running) -> None:
    told = tiny_server.http.get('/api/models').json()

    models = {model['id']: model for model in told['models']}
    assert models['tiny']['kind'] == 'chat'
    assert models['tiny']['settings']['n_ctx'] == 8192
    assert 'broken.gguf' in told['problems']
    assert told['state']['phase'] == 'empty'


def test_a_model_is_loaded_with_settings_that_are_kept_and_unloaded_again(tiny_server: Running) -> None:
    http = tiny_server.http

    answer = http.post('/api/models/tiny/load', json={'settings': {'n_ctx': 256}})
    assert (answer.status_code, answer.json()['phase']) == (202, 'checking')
    tiny_server.until(lambda: loaded(tiny_server), 60)
    [model] = [model for model in http.get('/api/models').json()['models'] if model['id'] == 'tiny']
    assert model['settings']['n_ctx'] == 256

    assert http.post('/api/models/unload').status_code == 202
    tiny_server.until(lambda: phase(tiny_server) == 'empty')


def test_a_loaded_model_takes_what_needs_no_reload_and_says_what_does(tiny_server: Running) -> None:
    http = tiny_server.http
    http.post('/api/models/tiny/load', json={'settings': {'n_ctx': 256, 'n_slots': 1}})
    tiny_server.until(lambda: loaded(tiny_server), 60)

    assert http.patch('/api/models/tiny/settings', json={'n_slots': 2}).json()['n_slots'] == 2
    assert http.get('/api/health').json()['slots']['total'] == 2
    refused = http.patch('/api/models/tiny/settings', json={'n_ctx': 512})
    assert refused.status_code == 400
    assert 'n_ctx cannot be changed while the model is loaded' in refused.json()['error']['message']


def test_settings_of_another_model_are_for_its_next_load(tiny_server: Running) -> None:
    assert tiny_server.http.patch('/api/models/tiny/settings', json={'n_ctx': 512}).json()['n_ctx'] == 512

    [model] = [model for model in tiny_server.http.get('/api/models').json()['models'] if model['id'] == 'tiny']
    assert model['settings']['n_ctx'] == 512


def test_what_does_not_fit_is_refused_until_one_insists(tiny_server: Running) -> None:
    http = tiny_server.http
    http.post('/api/models/huge/load', json={'settings': {'n_ctx': 1 << 20}})
    tiny_server.until(lambda: phase(tiny_server) == 'failed', 60)
    state = http.get('/api/models').json()['state']
    assert (state['can_insist'], state['can_retry']) == (True, False)

    http.post('/api/models/huge/load', json={'insist': True})
    tiny_server.until(lambda: phase(tiny_server) == 'failed', 60)
    state = http.get('/api/models').json()['state']
    assert 'llama.cpp could not load huge.gguf' in state['error'], 'it was tried'
    assert (state['can_insist'], state['can_retry']) == (False, True)


def test_models_and_settings_that_are_not_there_are_refused_in_words(tiny_server: Running) -> None:
    http = tiny_server.http

    assert http.post('/api/models/unknown/load').status_code == 404
    wrong = http.post('/api/models/tiny/load', json={'settings': {'n_ctx': 'many'}})
    assert wrong.status_code == 400
    assert "The setting 'n_ctx' cannot be used" in wrong.json()['error']['message']
    assert http.patch('/api/models/tiny/settings', json={'colour': 1}).status_code == 400
    assert http.post('/api/models/tiny/load', json={'settings': {}, 'force': 1}).status_code == 422
