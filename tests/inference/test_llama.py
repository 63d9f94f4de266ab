"""The engine that runs GGUF files: loading, replies of a real model, stopping, and giving the memory back."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from inference.catalog import Catalog, ModelFile, starter_model
from inference.chat import Finished, GenerationEvent, GenerationRequest, Message, PromptProgress, TextDelta
from inference.engine import Engine, Generation
from inference.errors import InvalidRequest, LoadFailed, ModelUnloaded
from inference.llama import LlamaEngine
from inference.settings import LoadSettings, SamplingSettings
from tests import tiny_models as tiny

Ask = Callable[..., GenerationRequest]
Catalogued = Callable[[Path], ModelFile]

pytestmark = pytest.mark.asyncio(loop_scope='module')

SENTENCE = 'hello, the cat sees a dog and my bird quietly likes your world but one fish hears it again.'
MIB = 1 << 20
IN_TIME = 30


@pytest.fixture(scope='module')
def starter() -> ModelFile:
    path = starter_model()
    assert path
    catalog = Catalog([], extra=[path])
    catalog.scan()
    return catalog.models[0]


@pytest.fixture(scope='module')
def modest() -> LoadSettings:
    return LoadSettings(n_ctx=4096, n_threads=1, use_extra_bufts=False)


@pytest_asyncio.fixture(scope='module', loop_scope='module')
async def engine(starter: ModelFile, modest: LoadSettings) -> AsyncIterator[Engine]:
    engine = await LlamaEngine.load(starter, modest)
    yield engine
    await engine.close()


async def collect(generation: Generation) -> list[GenerationEvent]:
    async with asyncio.timeout(IN_TIME):
        return [event async for event in generation]


async def answer(engine: Engine, request: GenerationRequest) -> tuple[str, Finished]:
    *events, end = await collect(engine.generate(request))
    assert isinstance(end, Finished)
    return ''.join(event.text for event in events if isinstance(event, TextDelta)), end


async def is_busy(engine: Engine) -> None:
    async with asyncio.timeout(IN_TIME):
        while not engine.status.busy:  # noqa: ASYNC110 (nothing tells that a batch has begun)
            await asyncio.sleep(0)


def resident() -> int:
    gc.collect()
    size: int = psutil.Process().memory_info().rss
    return size


def engine_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == 'engine']


async def test_a_real_model_answers(engine: Engine, ask: Ask) -> None:
    # Under the system prompt that its template brings, this small model drifts into French.
    system = Message(role='system', content='You are a helpful assistant.')
    question = ask('What is the capital of France?', max_tokens=24)
    text, end = await answer(engine, replace(question, messages=(system, *question.messages)))

    assert 'Paris' in text
    assert end.reason == 'stop'


async def test_a_seed_repeats_a_reply(engine: Engine, ask: Ask) -> None:
    async def told(seed: int) -> str:
        text, _ = await answer(engine, ask('Tell me a story.', temperature=1.5, seed=seed, max_tokens=12))
        return text

    assert await told(7) == await told(7)
    assert len({await told(seed) for seed in (-1, -1, 8)}) > 1


async def test_text_in_any_script_comes_out_whole(engine: Engine, ask: Ask) -> None:
    text, _ = await answer(engine, ask('Repeat: 🙂 漢字 é', temperature=2, top_k=0, min_p=0, seed=1, max_tokens=16))

    assert text.encode('utf-8')


async def test_tokens_are_counted_as_the_model_has_them(engine: Engine) -> None:
    assert await engine.count_tokens('Hello world') == 2
    assert await engine.count_tokens('Hello world ' * 10_000) == pytest.approx(20_000, rel=0.1)
    assert await engine.count_tokens('<|im_end|>') > 1  # what someone writes is never a special token


async def test_cancelling_stops_in_the_middle_of_a_long_prompt(engine: Engine, ask: Ask) -> None:
    generation = engine.generate(ask('All work and no play. ' * 550))
    await is_busy(engine)

    started = time.perf_counter()
    generation.cancel()
    events = await collect(generation)

    assert time.perf_counter() - started < 2
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.usage.completion_tokens) == ('cancelled', 0)
    assert end.usage.prompt_tokens > 3000
    assert all(event.done < event.total for event in events if isinstance(event, PromptProgress))


async def test_the_conversation_goes_on_after_a_cancelled_prompt(engine: Engine, ask: Ask) -> None:
    before, _ = await answer(engine, ask('What is the capital of France?', max_tokens=8))
    generation = engine.generate(ask('What is the capital of France? ' + 'Think about it. ' * 600))
    await is_busy(engine)
    generation.cancel()
    await collect(generation)

    after, _ = await answer(engine, ask('What is the capital of France?', max_tokens=8))

    assert after == before


async def test_loading_reports_how_far_it_is(starter: ModelFile, modest: LoadSettings) -> None:
    shares: list[float] = []
    threads: set[int] = set()

    def note(share: float) -> None:
        shares.append(share)
        threads.add(threading.get_ident())

    engine = await LlamaEngine.load(starter, modest, note)
    await engine.close()

    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert threads == {threading.get_ident()}


async def test_what_is_loaded_is_told(engine: Engine, starter: ModelFile) -> None:
    info = engine.info

    assert (info.name, info.architecture, info.quantization) == ('SmolLM2-135M-Instruct', 'llama', 'Q4_1')
    assert (info.n_ctx, info.n_ctx_train, info.warnings) == (4096, 8192, ())
    assert info.size == starter.path.stat().st_size < info.memory


async def test_closing_gives_the_memory_back(starter: ModelFile, modest: LoadSettings) -> None:
    before = resident()
    engine = await LlamaEngine.load(starter, modest)
    loaded = resident()

    await engine.close()

    assert loaded - before > 80 * MIB  # the KV cache alone is 90 MiB
    assert resident() - before < (loaded - before) / 3


@pytest.mark.parametrize('at', [0.0, 0.3, 1.0])
async def test_a_load_can_be_cancelled(starter: ModelFile, modest: LoadSettings, at: float) -> None:
    def cancel(share: float) -> None:
        if share >= at:
            task.cancel()  # more than once, as impatient people do

    before, threads = resident(), engine_threads()
    task = asyncio.create_task(LlamaEngine.load(starter, modest, cancel))
    with pytest.raises(asyncio.CancelledError):
        await task

    assert engine_threads() == threads
    assert resident() - before < 40 * MIB


async def test_a_file_that_broke_since_it_was_found_is_refused(
    tmp_path: Path, quick: LoadSettings, catalogued: Catalogued
) -> None:
    model = catalogued(tiny.write_tiny_model(tmp_path / 'model.gguf'))
    tiny.write_truncated(model.path)
    threads = engine_threads()

    with pytest.raises(LoadFailed, match=r'model\.gguf.*corrupted or incomplete'):
        await LlamaEngine.load(model, quick)

    assert engine_threads() == threads


async def test_file_names_may_be_in_any_script(tmp_path: Path, quick: LoadSettings, catalogued: Catalogued) -> None:
    model = catalogued(tiny.write_tiny_model(tmp_path / 'модель 模型 🙂.gguf'))

    engine = await LlamaEngine.load(model, quick)

    assert engine.info.name == 'модель 模型 🙂'
    await engine.close()


async def test_a_quantized_v_cache_names_the_setting_it_needs(speaker: ModelFile, quick: LoadSettings) -> None:
    with pytest.raises(LoadFailed, match='"Flash attention" to auto or on'):
        await LlamaEngine.load(speaker, quick.model_copy(update={'type_v': 'q8_0', 'flash_attn': 'off'}))


@pytest.mark.parametrize(
    'change',
    [
        {'type_k': 'bf16', 'type_v': 'bf16'},
        {'type_k': 'q8_0'},
        {'flash_attn': 'on'},
        {'load_mode': 'read'},
        {'n_ctx': 0, 'n_batch': 32},
        {'n_ctx': 1},
    ],
    ids=str,
)
async def test_load_settings_do_not_change_what_is_said(
    speaker: ModelFile, quick: LoadSettings, ask: Ask, change: dict[str, Any]
) -> None:
    engine = await LlamaEngine.load(speaker, quick.model_copy(update=change))

    text, end = await answer(engine, ask('hello'))

    assert text.strip() == SENTENCE
    assert end.reason == 'stop'
    await engine.close()


async def test_a_broken_template_is_replaced_with_a_warning(
    tmp_path: Path, quick: LoadSettings, ask: Ask, catalogued: Catalogued
) -> None:
    engine = await LlamaEngine.load(catalogued(tiny.write_broken_template(tmp_path / 'broken.gguf')), quick)

    assert len(engine.info.warnings) == 1
    assert 'ChatML' in engine.info.warnings[0]
    assert (await answer(engine, ask('hello')))[0].strip() == SENTENCE
    await engine.close()


async def test_a_template_that_makes_nothing_of_the_messages_is_no_prompt(
    tmp_path: Path, quick: LoadSettings, catalogued: Catalogued
) -> None:
    source = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', template=source, tokenizer__ggml__add_bos_token=False)
    engine = await LlamaEngine.load(catalogued(path), quick)

    with pytest.raises(InvalidRequest, match='chat template'):
        await answer(engine, GenerationRequest(messages=(Message(role='assistant', content='I said'),)))

    await engine.close()


async def test_a_prompt_never_ends_with_the_end_token_some_models_add(
    tmp_path: Path, quick: LoadSettings, ask: Ask, catalogued: Catalogued
) -> None:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', tokenizer__ggml__add_eos_token=True)
    engine = await LlamaEngine.load(catalogued(path), quick)

    assert (await answer(engine, ask('hello')))[0].strip() == SENTENCE
    await engine.close()


async def test_a_reply_fills_the_context_and_ends(talker: ModelFile, quick: LoadSettings, ask: Ask) -> None:
    engine = await LlamaEngine.load(talker, quick)

    _, end = await answer(engine, ask('hello'))

    assert end.reason == 'length'
    assert end.usage.prompt_tokens + end.usage.completion_tokens == 512
    await engine.close()


async def test_requests_that_come_and_go_do_not_disturb_a_reply(
    talker: ModelFile, quick: LoadSettings, ask: Ask
) -> None:
    """A cancel stops the batch that is computed, also of another reply, which then has to find its way back."""
    engine = await LlamaEngine.load(talker, quick.model_copy(update={'n_ctx': 8192, 'n_batch': 4096}))
    request = ask('hello ' * 700, max_tokens=30, repeat_penalty=1.1)
    alone, _ = await answer(engine, request)
    await answer(engine, ask('something else', max_tokens=1))

    disturbed = asyncio.create_task(answer(engine, request))
    await is_busy(engine)
    passers_by = []
    for moment in range(6):  # some of them in the middle of a batch
        passers_by.append(engine.generate(ask('never mind')))
        await asyncio.sleep(0.03 * moment)
        passers_by[-1].cancel()

    assert (await disturbed)[0] == alone
    for generation in passers_by:
        assert isinstance((await collect(generation))[-1], Finished)
    await engine.close()


async def test_a_model_with_a_sliding_window_keeps_its_thread(
    tmp_path: Path, quick: LoadSettings, ask: Ask, catalogued: Catalogued
) -> None:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', endless=True, llama__attention__sliding_window=32)
    engine = await LlamaEngine.load(catalogued(path), quick)

    first, _ = await answer(engine, ask('hello', max_tokens=60))
    again, end = await answer(engine, ask('hello', max_tokens=60))

    assert first == again
    assert end.usage.cached_tokens < end.usage.prompt_tokens
    await engine.close()


async def test_a_closed_engine_reads_nothing(speaker: ModelFile, quick: LoadSettings) -> None:
    engine = await LlamaEngine.load(speaker, quick)
    counting = asyncio.create_task(engine.count_tokens('x' * 100_000))
    await asyncio.sleep(0)

    await engine.close()

    with pytest.raises(ModelUnloaded):
        await engine.count_tokens('x')
    assert isinstance((await asyncio.gather(counting, return_exceptions=True))[0], int | ModelUnloaded)


async def test_sampling_settings_are_heard(speaker: ModelFile, quick: LoadSettings) -> None:
    engine = await LlamaEngine.load(speaker, quick)
    messages = (Message(role='user', content='hello'),)
    wild = SamplingSettings(temperature=5, top_k=0, top_p=1, min_p=0, seed=3, max_tokens=30)
    tame = SamplingSettings(temperature=5, top_k=1, seed=3)

    assert (await answer(engine, GenerationRequest(messages=messages, sampling=tame)))[0].strip() == SENTENCE
    assert (await answer(engine, GenerationRequest(messages=messages, sampling=wild)))[0].strip() != SENTENCE
    await engine.close()
