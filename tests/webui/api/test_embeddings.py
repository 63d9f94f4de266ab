"""Vectors and rankings over HTTP, as the official client and others ask for them."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.tiny_encoders import N_CTX_TRAIN, N_EMBD, write_encoder, write_reranker
from tests.tiny_models import write_tiny_model
from tests.webui.api.serving import Running, config, serving

TEXTS = ['the cat sees a dog', 'my bird likes fish', 'the cat sees a dog']


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Running]:
    """Serve the echo engine, with a chat model, an embedding model and a reranker in the folder."""
    (tmp_path / 'models').mkdir()
    write_tiny_model(tmp_path / 'models' / 'chat.gguf')
    write_encoder(tmp_path / 'models' / 'embed.gguf')
    write_reranker(tmp_path / 'models' / 'rank.gguf')
    with serving(config(tmp_path)) as running:
        yield running


def post(server: Running, path: str = 'embeddings', **body: Any) -> httpx.Response:
    """Send a request as it is, without a client that knows better."""
    return server.http.post(f'/v1/{path}', json=body)


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()['error']['message']


def rows(response: openai.types.CreateEmbeddingResponse) -> Any:
    return np.array([item.embedding for item in response.data])


def test_texts_become_vectors(server: Running) -> None:
    response = server.openai.embeddings.create(model='echo@0', input=TEXTS)

    assert (response.object, response.model) == ('list', 'echo@0')
    assert [(item.object, item.index) for item in response.data] == [
        ('embedding', 0),
        ('embedding', 1),
        ('embedding', 2),
    ]
    assert (response.usage.prompt_tokens, response.usage.total_tokens) == (14, 14)
    vectors = rows(response)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1])
    assert vectors[0] == pytest.approx(vectors[2])
    assert vectors[0] @ vectors[1] < 0.9


def test_one_text_is_a_list_of_one(server: Running) -> None:
    one = server.openai.embeddings.create(model='', input=TEXTS[0])

    assert one.model == 'echo@0'
    assert rows(one) == pytest.approx(rows(server.openai.embeddings.create(model='echo@0', input=TEXTS[:1])))


def test_numbers_come_as_numbers_or_as_bytes(server: Running) -> None:
    numbers = post(server, input=TEXTS).json()['data']
    encoded = post(server, input=TEXTS, encoding_format='base64').json()['data']

    for number, packed in zip(numbers, encoded, strict=True):
        assert np.frombuffer(base64.b64decode(packed['embedding']), '<f4') == pytest.approx(number['embedding'])
    assert problem(post(server, input=TEXTS, encoding_format='hex'))[0] == 400


def test_vectors_can_be_shortened(server: Running) -> None:
    whole = rows(server.openai.embeddings.create(model='', input=TEXTS))
    short = rows(server.openai.embeddings.create(model='', input=TEXTS, dimensions=40))

    assert short.shape == (3, 40)
    assert short == pytest.approx(whole[:, :40] / np.linalg.norm(whole[:, :40], axis=1, keepdims=True), abs=1e-6)
    assert problem(post(server, input=TEXTS, dimensions=65)) == (
        400,
        '65 dimensions were asked for, but vectors of this model have 64.',
    )
    assert problem(post(server, input=TEXTS, dimensions=0))[0] == 400


@pytest.mark.parametrize('tokens', [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_are_refused_with_the_way_out(server: Running, tokens: list[Any]) -> None:
    status, message = problem(post(server, input=tokens))

    assert status == 400
    assert 'send the text itself' in message


@pytest.mark.parametrize('body', [{}, {'input': []}, {'input': ''}, {'input': ['hello', '']}, {'input': 7}])
def test_what_cannot_be_embedded_is_refused(server: Running, body: dict[str, Any]) -> None:
    assert problem(post(server, **body))[0] == 400


def test_text_of_any_kind_is_taken(server: Running) -> None:
    body = rb'{"input": ["half a pair \ud83d", "nul \u0000", "\ufffd"], "user": "me", "unknown": 1}'
    response = server.http.post('/v1/embeddings', content=body, headers={'content-type': 'application/json'})

    assert len(response.json()['data']) == 3


def test_documents_are_put_in_order(server: Running) -> None:
    documents = ['a bird likes fish', 'the cat sees a dog', {'text': 'a cat sees'}]

    answer = post(server, 'rerank', query='cat sees', documents=documents).json()

    assert [result['index'] for result in answer['results']] == [2, 1, 0]
    scores = [result['relevance_score'] for result in answer['results']]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert answer['model'] == 'echo@0'
    assert answer['usage'] == {'prompt_tokens': 14, 'total_tokens': 14}
    best = post(server, 'rerank', query='cat sees', documents=documents, top_n=1, return_documents=True).json()
    assert best['results'] == [{**answer['results'][0], 'document': {'text': 'a cat sees'}}]
    for body in ({}, {'query': 'x'}, {'query': 'x', 'documents': []}, {'query': '', 'documents': ['x']}):
        assert problem(post(server, 'rerank', **body))[0] == 400


def test_without_a_model_the_client_learns_that(idle_server: Running) -> None:
    with pytest.raises(openai.InternalServerError) as nothing:
        idle_server.openai.embeddings.create(model='', input=TEXTS)
    assert nothing.value.code == 'no_model_loaded'
    with pytest.raises(openai.NotFoundError):
        idle_server.openai.embeddings.create(model='text-embedding-3-small', input=TEXTS)


def test_a_model_that_is_named_is_loaded_beside_the_one_that_chats(models: Running) -> None:
    embedded = models.openai.embeddings.create(model='embed', input=TEXTS)
    ranked = post(models, 'rerank', model='rank', query='a cat', documents=['the dog', 'cat cat cat', 'dog cat']).json()

    assert embedded.model == 'embed'
    assert rows(embedded).shape == (3, N_EMBD)
    assert rows(embedded)[0] == pytest.approx(rows(embedded)[2], abs=1e-5)
    assert ranked['model'] == 'rank'
    assert [result['index'] for result in ranked['results']] == [1, 2, 0]
    assert models.http.get('/api/health').json()['engine']['model'] == 'echo@0'
    assert rows(models.openai.embeddings.create(model='chat', input=TEXTS)).shape == (3, 64)
    too_long = post(models, model='embed', input='cat ' * 200)
    assert problem(too_long)[1].startswith(f'Text 1 has 202 tokens, but this model takes {N_CTX_TRAIN} at most.')
    assert (
        post(models, model='embed', input='cat ' * 200, truncate=True).json()['usage']['prompt_tokens'] == N_CTX_TRAIN
    )


def test_each_model_is_asked_only_for_what_it_can(models: Running) -> None:
    status, message = problem(post(models, model='rank', input=TEXTS))
    assert (status, message) == (400, 'rank ranks documents, it gives no vectors. Name an embedding model.')
    status, message = problem(post(models, 'rerank', model='embed', query='a', documents=['b']))
    assert (status, message) == (400, 'embed cannot rank documents. Name a reranker in "model".')
    for model in ('embed', 'rank'):
        with pytest.raises(openai.BadRequestError, match='cannot write'):
            models.openai.chat.completions.create(model=model, messages=[{'role': 'user', 'content': 'hello'}])
    assert models.http.get('/api/health').json()['engine']['model'] == 'echo@0'
