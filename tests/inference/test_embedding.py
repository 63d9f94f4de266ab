"""Texts to vectors and scores: the same ones in any company, in time for those who chat, and never a dead process."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import gguf
import numpy as np
import pytest

from inference import embedding
from inference.catalog import ModelFile
from inference.chat import Finished, GenerationRequest, TextDelta
from inference.embedder import EmbeddingEngine
from inference.engine import Engine
from inference.errors import InvalidRequest, ModelUnloaded, NotEnoughMemory
from inference.llama import LlamaEngine
from inference.settings import LoadSettings
from inference.vectors import Vectors
from tests import tiny_memories as memories
from tests.tiny_encoders import N_CTX_TRAIN, N_EMBD, write_encoder, write_reranker

Ask = Callable[..., GenerationRequest]
Catalogued = Callable[[Path], ModelFile]
IN_TIME = 30
SENTENCE = 'the cat sees a dog'
OTHERS = ('hello', 'my bird likes your fish and the dog hears it', 'a', 'zyx 123 !', 'fish ' * 60, SENTENCE + ' .')
LONG = 'hello the cat sees a dog and my bird ' * 20


@pytest.fixture
def exact(quick: LoadSettings) -> LoadSettings:
    """Load settings with which nothing is rounded."""
    return quick.model_copy(update={'n_ctx': 8192, 'type_k': 'f32', 'type_v': 'f32'})


@asynccontextmanager
async def loaded(model: ModelFile, settings: LoadSettings) -> AsyncIterator[Engine]:
    load: Callable[..., Awaitable[Engine]] = LlamaEngine.load if model.kind == 'chat' else EmbeddingEngine.load
    engine = await load(model, settings)
    try:
        async with asyncio.timeout(IN_TIME):
            yield engine
    finally:
        await engine.close()


@pytest.fixture(params=['encoder', 'plain', 'recurrent', 'hybrid', 'sliding'])
async def engine(
    request: pytest.FixtureRequest, tmp_path: Path, babbler: ModelFile, catalogued: Catalogued, exact: LoadSettings
) -> AsyncIterator[Engine]:
    """An engine that embeds, of each kind in turn."""
    path = tmp_path / 'model.gguf'
    match request.param:
        case 'encoder':
            model = catalogued(write_encoder(path))
        case 'plain':
            model = babbler
        case name:
            model = catalogued(getattr(memories, f'write_{name}')(path))
    async with loaded(model, exact) as engine:
        yield engine


async def vectors(engine: Engine, *texts: str) -> Vectors:
    return (await engine.embed(texts)).vectors


async def test_a_text_has_the_same_vector_in_any_company(engine: Engine) -> None:
    [alone] = await vectors(engine, SENTENCE)

    among = await vectors(engine, *OTHERS, SENTENCE, *OTHERS * 12, SENTENCE)

    np.testing.assert_allclose(among[len(OTHERS)], alone, atol=1e-5)
    np.testing.assert_allclose(among[-1], alone, atol=1e-5)
    assert min(np.abs(among[place] - alone).max() for place in range(len(OTHERS) - 1)) > 0.01
    np.testing.assert_allclose(np.linalg.norm(among, axis=1), 1, atol=1e-6)
    assert among.dtype == np.float32


async def test_every_token_is_counted(engine: Engine) -> None:
    alone = (await engine.embed([SENTENCE])).prompt_tokens

    assert (await engine.embed([SENTENCE] * 7)).prompt_tokens == 7 * alone > 7 * await engine.count_tokens(SENTENCE)


async def test_an_empty_text_is_refused_by_its_number(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match='Text 2 is empty'):
        await engine.embed([SENTENCE, ''])
    with pytest.raises(InvalidRequest, match='no text'):
        await engine.embed([])


@pytest.mark.parametrize('pooling', ['mean', 'cls', 'last'])
async def test_a_text_read_in_parts_has_the_vector_of_the_whole(
    babbler: ModelFile, exact: LoadSettings, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = exact.model_copy(update={'pooling': pooling})
    async with loaded(babbler, settings) as engine:
        [in_parts] = await vectors(engine, LONG)
    monkeypatch.setattr(embedding, 'MOST_TOKENS', 8192)
    monkeypatch.setattr(embedding, 'FIRST_TOKENS', 8192)
    async with loaded(babbler, settings) as engine:
        [at_once] = await vectors(engine, LONG)

    np.testing.assert_allclose(in_parts, at_once, atol=1e-5)


async def test_the_poolings_differ_and_can_be_changed_while_running(babbler: ModelFile, exact: LoadSettings) -> None:
    async with loaded(babbler, exact) as engine:
        assert isinstance(engine, LlamaEngine)
        found = {'model': (await vectors(engine, SENTENCE))[0]}
        for pooling in ('mean', 'cls', 'last'):
            await engine.adjust(exact.model_copy(update={'pooling': pooling}))
            [found[pooling]] = await vectors(engine, SENTENCE)

    np.testing.assert_array_equal(found['model'], found['mean'])
    for one, other in itertools.combinations(('mean', 'cls', 'last'), 2):
        assert np.abs(found[one] - found[other]).max() > 0.01


async def test_the_file_says_how_a_text_becomes_a_vector(
    tmp_path: Path, catalogued: Catalogued, exact: LoadSettings
) -> None:
    found = []
    for pooling in (None, gguf.PoolingType.MEAN, gguf.PoolingType.CLS):
        async with loaded(catalogued(write_encoder(tmp_path / 'model.gguf', pooling=pooling)), exact) as engine:
            found += [*await vectors(engine, SENTENCE)]

    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[1] - found[2]).max() > 0.01


async def test_too_long_a_text_is_refused_with_both_numbers_or_truncated(
    tmp_path: Path, catalogued: Catalogued, exact: LoadSettings
) -> None:
    async with loaded(catalogued(write_encoder(tmp_path / 'model.gguf')), exact) as engine:
        with pytest.raises(InvalidRequest, match=f'Text 2 has 202 tokens, but this model takes {N_CTX_TRAIN} at most'):
            await engine.embed([SENTENCE, 'cat ' * 200])
        with pytest.raises(InvalidRequest, match='tokens, but this model takes 128 at most'):
            await engine.embed(['cat ' * 2_000_000])
        longest, cut = 'cat ' * (N_CTX_TRAIN - 2), 'cat ' * 100_000
        embeddings = await engine.embed([longest, cut], truncate=True)

    assert embeddings.prompt_tokens == 2 * N_CTX_TRAIN
    np.testing.assert_allclose(embeddings.vectors[0], embeddings.vectors[1], atol=1e-5)


async def test_an_encoder_reads_texts_of_thousands_of_tokens_at_once(
    tmp_path: Path, catalogued: Catalogued, exact: LoadSettings
) -> None:
    model = catalogued(write_encoder(tmp_path / 'model.gguf', n_ctx_train=2500))
    async with loaded(model, exact) as engine:
        [short] = await vectors(engine, SENTENCE)
        long = await vectors(engine, 'dog ' * 2000, SENTENCE, 'dog ' * 2498)

    np.testing.assert_allclose(long[1], short, atol=1e-5)


@pytest.mark.parametrize('limit', [5, 31, 33, 100, 129, 511, 513])
async def test_no_limit_is_odd_enough_to_end_the_process(
    tmp_path: Path, babbler: ModelFile, catalogued: Catalogued, exact: LoadSettings, limit: int
) -> None:
    encoder = catalogued(write_encoder(tmp_path / 'model.gguf', n_ctx_train=limit))
    async with loaded(encoder, exact) as engine:
        assert (await engine.embed(['cat ' * 600, 'dog'], truncate=True)).prompt_tokens == limit + 3
    async with loaded(babbler, exact.model_copy(update={'n_ctx': limit})) as engine:
        assert (await engine.embed(['cat ' * 600], truncate=True)).prompt_tokens == limit


async def test_what_does_not_fit_into_memory_is_refused(
    tmp_path: Path, catalogued: Catalogued, exact: LoadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with loaded(catalogued(write_encoder(tmp_path / 'model.gguf', n_ctx_train=2500)), exact) as engine:
        monkeypatch.setattr(embedding, 'free_memory', lambda: 8 << 20)
        with pytest.raises(NotEnoughMemory, match=r'MiB of memory are needed, but 8 are free'):
            await engine.embed(['dog ' * 2400])

        assert (await vectors(engine, SENTENCE)).shape == (1, N_EMBD)


async def test_a_chat_that_goes_on_meanwhile_says_what_it_says_alone(
    babbler: ModelFile, exact: LoadSettings, ask: Ask
) -> None:
    requests = [ask(opening, max_tokens=60) for opening in ('hello', 'one fish', 'the bird sees')]
    async with loaded(babbler, exact) as engine:
        alone = [await answer(engine, request) for request in requests]
        [vector] = await vectors(engine, LONG)

    async with loaded(babbler, exact) as engine:
        replies = [asyncio.create_task(answer(engine, request)) for request in requests]
        embedded = await asyncio.gather(*(engine.embed([SENTENCE, LONG] * 3) for _ in range(3)))

        assert [await reply for reply in replies] == alone
    for embeddings in embedded:
        np.testing.assert_allclose(embeddings.vectors[1::2], [vector] * 3, atol=1e-5)


async def test_between_two_pieces_every_reply_gets_its_step(talker: ModelFile, exact: LoadSettings, ask: Ask) -> None:
    async with loaded(talker, exact) as engine:
        assert isinstance(engine, LlamaEngine)
        async with engine.generate(ask('hello', max_tokens=4000)) as reply:
            await anext(aiter(reply))
            lengths = [await engine._thread.run(lambda steps: steps.cells) for _ in range(100)]

    assert lengths == sorted(set(lengths))


async def test_requests_take_turns(babbler: ModelFile, exact: LoadSettings) -> None:
    async with loaded(babbler, exact) as engine:
        large = asyncio.create_task(engine.embed([SENTENCE] * 400))
        await asyncio.sleep(0)
        await engine.embed([SENTENCE])

        assert not large.done()
        await large


async def test_an_engine_is_idle_only_when_its_embeddings_are_done(engine: Engine) -> None:
    embedding = asyncio.create_task(engine.embed([SENTENCE] * 50))
    await asyncio.sleep(0)

    await engine.idle()

    assert embedding.done()


async def test_one_who_goes_away_leaves_no_work_behind(babbler: ModelFile, exact: LoadSettings) -> None:
    async with loaded(babbler, exact) as engine:
        leaving = asyncio.create_task(engine.embed([LONG] * 500))
        await engine.embed([SENTENCE])

        leaving.cancel()

        with pytest.raises(asyncio.CancelledError):
            await leaving
        await engine.idle()
        assert (await vectors(engine, SENTENCE)).shape == (1, 64)


async def test_closing_ends_every_request(engine: Engine) -> None:
    running = [asyncio.create_task(engine.embed([SENTENCE] * 5000)) for _ in range(3)]
    await engine.embed([SENTENCE])

    await engine.close()

    for request in running:
        with pytest.raises(ModelUnloaded):
            await request
    with pytest.raises(ModelUnloaded):
        await engine.embed([SENTENCE])


# Rerankers


@pytest.fixture
async def reranker(tmp_path: Path, catalogued: Catalogued, exact: LoadSettings) -> AsyncIterator[Engine]:
    """A reranker for questions about cats."""
    async with loaded(catalogued(write_reranker(tmp_path / 'model.gguf')), exact) as engine:
        yield engine


async def test_a_reranker_puts_documents_in_order(reranker: Engine) -> None:
    documents = ['the dog sees a fish', 'cat cat cat cat', 'my dog hears the cat', 'cat cat hears']

    ranking = await reranker.rerank('a cat', documents)

    order = sorted(range(4), key=lambda number: -ranking.scores[number])
    assert order == [1, 3, 2, 0]
    assert all(0 < score < 1 for score in ranking.scores)
    for document, score in zip(documents, ranking.scores, strict=True):
        assert (await reranker.rerank('a cat', [document])).scores[0] == pytest.approx(score, abs=1e-5)


async def test_query_and_document_stand_between_separators(reranker: Engine) -> None:
    ranking = await reranker.rerank('a cat', ['the dog', 'fish'])

    assert ranking.prompt_tokens == (3 + 2 + 2) + (3 + 2 + 1)


async def test_a_reranker_may_say_itself_how_both_are_joined(
    tmp_path: Path, catalogued: Catalogued, exact: LoadSettings
) -> None:
    path = write_reranker(
        tmp_path / 'model.gguf', tokenizer__chat_template__rerank='[CLS] {query} likes {document} [SEP]'
    )
    async with loaded(catalogued(path), exact) as engine:
        ranking = await engine.rerank('a {document}', ['the dog'])

    assert ranking.prompt_tokens == len(['[CLS]', 'a', '{', *'document', '}', 'likes', 'the', 'dog', '[SEP]'])


async def test_too_long_a_document_is_refused_by_its_number_or_truncated(reranker: Engine) -> None:
    documents = ['the dog', 'cat ' * 300]

    with pytest.raises(InvalidRequest, match=r'Document 2 with the query has 305 tokens, but this model takes 128'):
        await reranker.rerank('a cat', documents)

    assert (await reranker.rerank('a cat', documents, truncate=True)).scores[1] > 0.5
    with pytest.raises(InvalidRequest, match='Document 1'):
        await reranker.rerank('cat ' * 300, documents, truncate=True)
    with pytest.raises(InvalidRequest, match='query is empty'):
        await reranker.rerank('', documents)
    with pytest.raises(InvalidRequest, match='no document'):
        await reranker.rerank('a cat', [])


async def test_each_model_does_what_it_can_and_says_so(
    reranker: Engine, babbler: ModelFile, tmp_path: Path, catalogued: Catalogued, exact: LoadSettings, ask: Ask
) -> None:
    encoder = catalogued(write_encoder(tmp_path / 'encoder.gguf'))
    async with loaded(encoder, exact) as embeds, loaded(babbler, exact) as chats:
        for engine in (embeds, chats):
            with pytest.raises(InvalidRequest, match='cannot rank documents'):
                await engine.rerank('a cat', ['the dog'])
        with pytest.raises(InvalidRequest, match='ranks documents, it gives no vectors'):
            await reranker.embed([SENTENCE])
        for engine in (embeds, reranker):
            with pytest.raises(InvalidRequest, match='cannot write'):
                await answer(engine, ask('hello'))


async def test_a_chat_model_can_be_loaded_for_its_vectors_alone(
    babbler: ModelFile, exact: LoadSettings, ask: Ask
) -> None:
    async with loaded(babbler, exact) as engine:
        [whole] = await vectors(engine, LONG)
    engine = await EmbeddingEngine.load(babbler, exact)
    try:
        [alone] = await vectors(engine, LONG)
        with pytest.raises(InvalidRequest, match='loaded for embeddings only'):
            await answer(engine, ask('hello'))
    finally:
        await engine.close()

    np.testing.assert_allclose(alone, whole, atol=1e-5)


async def answer(engine: Engine, request: GenerationRequest) -> tuple[str, int]:
    *events, end = [event async for event in engine.generate(request)]
    assert isinstance(end, Finished)
    return ''.join(event.text for event in events if isinstance(event, TextDelta)), end.usage.completion_tokens
