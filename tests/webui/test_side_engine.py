"""Models that only read, beside the one that chats: how they get there and away again."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from inference.catalog import Catalog
from inference.echo import EchoEngine
from inference.engine import Engine
from inference.errors import InvalidRequest, ModelNotFound, ModelUnloaded, NotEnoughMemory
from presets.models import ModelStore
from tests import tiny_encoders as encoders
from tests import tiny_models as tiny
from webui.model_host import ModelHost
from webui.side_engine import SideEngine

IN_TIME = 30


@pytest.fixture
def models(tmp_path: Path, catalog: Catalog) -> Catalog:
    """A model of each kind, with its kind as the id, and a second one for embeddings."""
    tiny.write_tiny_model(tmp_path / 'models' / 'chat.gguf')
    encoders.write_encoder(tmp_path / 'models' / 'embedding.gguf')
    encoders.write_encoder(tmp_path / 'models' / 'other.gguf')
    encoders.write_reranker(tmp_path / 'models' / 'reranker.gguf')
    catalog.scan()
    return catalog


def engine_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count('engine')


async def test_one_model_of_each_kind_stays_beside_the_one_that_chats(host: ModelHost, models: Catalog) -> None:
    host.load('echo@0')
    embedding, reranker = await host.embedder('embedding'), await host.embedder('reranker')

    assert (await embedding.embed(['the cat'])).vectors.shape == (1, encoders.N_EMBD)
    assert len((await reranker.rerank('the cat', ['a dog'])).scores) == 1
    assert await host.embedder('embedding') is embedding
    assert await host.embedder('echo@0') is await host.embedder() is await host.ready()
    assert engine_threads() == 2

    other = await host.embedder('other')
    assert other is not embedding
    assert engine_threads() == 2
    with pytest.raises(ModelUnloaded):
        await embedding.embed(['the cat'])
    await host.close()
    assert engine_threads() == 0


async def test_another_model_waits_until_the_first_is_done(host: ModelHost, models: Catalog) -> None:
    first = asyncio.create_task((await host.embedder('embedding')).embed(['the cat sees a dog'] * 3000))
    await asyncio.sleep(0)

    await host.embedder('other')

    assert first.done()
    assert (await first).prompt_tokens == 3000 * 7


async def test_the_model_that_chats_is_not_replaced_by_one_that_cannot(host: ModelHost, models: Catalog) -> None:
    for model_id in ('embedding', 'reranker'):
        host.load(model_id)
        with pytest.raises(InvalidRequest, match='cannot write'):
            await host.ready()
    assert host.state.phase == 'failed'

    assert await (await host.embedder('reranker')).rerank('the cat', ['a dog'])


async def test_what_cannot_be_loaded_says_why(
    host: ModelHost, models: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFound):
        await host.embedder('nothing')
    monkeypatch.setattr(psutil, 'virtual_memory', lambda: SimpleNamespace(available=0, total=1 << 30))
    with pytest.raises(NotEnoughMemory):
        await host.embedder('embedding')
    monkeypatch.undo()

    assert (await (await host.embedder('embedding')).embed(['the cat'])).prompt_tokens == 4


async def test_a_verdict_is_kept(host: ModelHost, models: Catalog, records: ModelStore) -> None:
    await host.embedder('embedding')

    assert list(records.get('embedding').verdicts.values()) == ['ok']


async def test_a_model_that_nobody_asks_for_goes_once_it_is_done() -> None:
    engines: list[EchoEngine] = []

    async def open_engine(model_id: str) -> Engine:
        engines.append(EchoEngine(rate=0))
        return engines[-1]

    side = SideEngine(open_engine, keep_seconds=0.05)
    await side.get('one')
    async with asyncio.timeout(IN_TIME):
        while await is_open(engines[0]):  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)

    again = await side.get('one')
    assert again is engines[1]
    assert await side.get('one') is again
    await side.close()
    assert not await is_open(engines[1])
    await side.close()


async def is_open(engine: Engine) -> bool:
    try:
        await engine.embed(['hello'])
    except ModelUnloaded:
        return False
    return True
