"""What every engine promises, shown on each of them."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from inference.chat import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    LeftOut,
    Overflow,
    PromptProgress,
    Queued,
    TextDelta,
)
from inference.engine import Engine, Generation
from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest, ModelUnloaded

Ask = Callable[..., GenerationRequest]

SENTENCE = 'hello, the cat sees a dog and my bird quietly likes your world'
LONG = 'hello ' * 100
IN_TIME = 20


async def reply(engine: Engine, request: GenerationRequest) -> list[GenerationEvent]:
    async with asyncio.timeout(IN_TIME):
        return [event async for event in engine.generate(request)]


async def rest(generation: Generation) -> list[GenerationEvent]:
    async with asyncio.timeout(IN_TIME):
        return [event async for event in generation]


async def until(generation: Generation, kind: type[GenerationEvent]) -> GenerationEvent:
    async with asyncio.timeout(IN_TIME):
        async for event in generation:
            if isinstance(event, kind):
                return event
    raise AssertionError(f'no {kind.__name__}')


def text_of(events: Iterable[GenerationEvent]) -> str:
    return ''.join(event.text for event in events if isinstance(event, TextDelta))


def tokens_of(events: Iterable[GenerationEvent]) -> int:
    return sum(event.tokens for event in events if isinstance(event, TextDelta))


def end_of(events: list[GenerationEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_first_the_prompt_is_read_then_text_comes_then_the_end(engine: Engine, ask: Ask) -> None:
    events = await reply(engine, ask(LONG, max_tokens=20))

    kinds = [type(event) for event in events]
    n_progress = kinds.count(PromptProgress)
    assert kinds == [PromptProgress] * n_progress + [TextDelta] * (len(kinds) - n_progress - 1) + [Finished]
    done = [event.done for event in events if isinstance(event, PromptProgress)]
    assert done == sorted(done)
    assert done[-1] == end_of(events).usage.prompt_tokens


async def test_the_numbers_add_up(engine: Engine, ask: Ask) -> None:
    events = await reply(engine, ask(SENTENCE, max_tokens=9))

    usage, timings = end_of(events).usage, end_of(events).timings
    progress = [event for event in events if isinstance(event, PromptProgress)]
    assert {event.total for event in progress} == {usage.prompt_tokens}
    assert {event.cached for event in progress} == {usage.cached_tokens}
    assert usage.completion_tokens == tokens_of(events) == 9
    assert min(timings.queued, timings.prefill, timings.decode) >= 0
    assert timings.ttft == timings.queued + timings.prefill


async def test_equal_requests_get_equal_replies(engine: Engine, ask: Ask) -> None:
    first = await reply(engine, ask(SENTENCE, max_tokens=12))
    second = await reply(engine, ask(SENTENCE, max_tokens=12))

    assert text_of(first) == text_of(second) != ''


async def test_the_next_turn_reads_only_what_is_new(engine: Engine, ask: Ask) -> None:
    first = await reply(engine, ask(SENTENCE, max_tokens=5))

    second = await reply(engine, ask(SENTENCE, text_of(first), 'and then ?', max_tokens=5))

    assert end_of(first).usage.cached_tokens == 0
    assert end_of(second).usage.prompt_tokens > end_of(second).usage.cached_tokens >= end_of(first).usage.prompt_tokens


async def test_the_same_prompt_again_computes_one_token(engine: Engine, ask: Ask) -> None:
    await reply(engine, ask(SENTENCE, max_tokens=1))

    usage = end_of(await reply(engine, ask(SENTENCE, max_tokens=1))).usage

    assert usage.cached_tokens == usage.prompt_tokens - 1


async def test_a_reply_ends_at_its_token_limit(engine: Engine, ask: Ask) -> None:
    events = await reply(engine, ask(SENTENCE, max_tokens=3))

    assert end_of(events).reason == 'length'
    assert end_of(events).usage.completion_tokens == 3


async def test_a_stop_string_ends_the_reply_and_is_never_shown(engine: Engine, ask: Ask) -> None:
    events = await reply(engine, ask(SENTENCE, stop=('nowhere', 'cat sees', 'dog')))

    assert end_of(events).reason == 'stop'
    assert text_of(events).strip() == 'hello, the'


async def test_what_only_looked_like_a_stop_string_is_shown(engine: Engine, ask: Ask) -> None:
    events = await reply(engine, ask(SENTENCE, stop=('cat sees a bird',), max_tokens=5))

    assert end_of(events).reason == 'length'
    assert text_of(events).strip().startswith('hello, the cat sees')


async def test_cancelling_keeps_what_came(engine: Engine, ask: Ask) -> None:
    generation = engine.generate(ask(LONG))
    first = await until(generation, TextDelta)

    generation.cancel()

    events = [first, *await rest(generation)]
    assert end_of(events).reason == 'cancelled'
    assert end_of(events).usage.completion_tokens == tokens_of(events) > 0
    assert engine.status.busy == 0


async def test_cancelling_at_once_is_an_end_too(engine: Engine, ask: Ask) -> None:
    generation = engine.generate(ask(LONG))
    generation.cancel()
    generation.cancel()

    events = await rest(generation)

    assert end_of(events).reason == 'cancelled'
    assert text_of(events) == ''
    generation.cancel()  # and has no effect when all is over


async def test_a_consumer_that_goes_away_frees_the_slot(engine: Engine, ask: Ask) -> None:
    with pytest.raises(ConnectionResetError):  # noqa: PT012 (what is raised inside has to come out)
        async with engine.generate(ask(LONG)) as generation:
            await until(generation, TextDelta)
            assert engine.status.busy == 1
            raise ConnectionResetError

    assert end_of(await rest(generation)).reason == 'cancelled'
    assert (engine.status.busy, engine.status.queued) == (0, 0)
    assert end_of(await reply(engine, ask('next', max_tokens=1))).usage.completion_tokens == 1


async def test_a_second_request_waits_for_its_turn(engine: Engine, ask: Ask) -> None:
    running = engine.generate(ask(LONG))
    await until(running, TextDelta)
    waiting = engine.generate(ask(SENTENCE, max_tokens=4))

    assert await until(waiting, Queued) == Queued(place=1)
    assert (engine.status.slots, engine.status.busy, engine.status.queued) == (1, 1, 1)

    running.cancel()
    await rest(running)
    events = await rest(waiting)
    assert end_of(events).usage.completion_tokens == 4
    assert end_of(events).timings.queued > 0


async def test_those_who_wait_move_up(engine: Engine, ask: Ask) -> None:
    running = engine.generate(ask(LONG))
    await until(running, TextDelta)
    second = engine.generate(ask(SENTENCE, max_tokens=1))
    assert await until(second, Queued) == Queued(place=1)
    third = engine.generate(ask(SENTENCE, max_tokens=1))
    assert await until(third, Queued) == Queued(place=2)

    second.cancel()

    assert await until(third, Queued) == Queued(place=1)
    running.cancel()
    assert end_of(await rest(third)).reason == 'length'


async def test_one_that_waits_can_be_cancelled_without_waiting(engine: Engine, ask: Ask) -> None:
    running = engine.generate(ask(LONG))
    await until(running, TextDelta)
    waiting = engine.generate(ask(SENTENCE))
    await until(waiting, Queued)

    waiting.cancel()

    finished = end_of(await rest(waiting))
    assert (finished.reason, finished.usage.completion_tokens, finished.usage.cached_tokens) == ('cancelled', 0, 0)
    assert (engine.status.busy, engine.status.queued) == (1, 0)
    assert isinstance(await until(running, TextDelta), TextDelta)


async def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(engine: Engine, ask: Ask) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        await reply(engine, ask(' hello' * 120_000))

    assert caught.value.prompt_tokens >= 120_000
    assert caught.value.n_ctx == engine.info.n_ctx
    assert f'{caught.value.prompt_tokens:,}' in str(caught.value)
    assert f'{engine.info.n_ctx:,}' in str(caught.value)


@pytest.mark.parametrize('overflow', ['stop', 'roll', 'middle'])
async def test_a_measure_is_what_a_reply_reads(engine: Engine, ask: Ask, overflow: Overflow) -> None:
    texts = [word for _ in range(30) for word in (SENTENCE, LONG)]
    request = replace(ask('hello ' * 20_000, *texts, SENTENCE * 20, max_tokens=1), overflow=overflow)
    for places in (slice(1, 2), slice(1, 10), slice(None)):
        part = replace(request, messages=request.messages[places])
        size = await engine.measure(part)
        assert size == await engine.measure(part), 'what it remembers changes nothing'

        if not size.fits:
            with pytest.raises(ContextLengthExceeded):
                await reply(engine, part)
            continue
        events = await reply(engine, part)
        assert size.tokens == end_of(events).usage.prompt_tokens
        assert [event.messages for event in events if isinstance(event, LeftOut)] == [size.left_out] * bool(
            size.left_out
        )


async def test_a_measure_follows_what_is_typed(engine: Engine, ask: Ask) -> None:
    before = [SENTENCE, SENTENCE] * 20
    first = await reply(engine, ask(*before, 'hello', max_tokens=1))
    for draft in ('', 'hello', 'hello the cat', 'hello the cat sees a dog'):
        size = await engine.measure(ask(*before, draft))
        assert size.counts[-1] == await engine.count_tokens(draft)
        assert size.tokens - end_of(first).usage.prompt_tokens == size.counts[-1] - await engine.count_tokens('hello')
        assert size.n_ctx == engine.info.n_ctx


async def test_a_measure_says_what_does_not_fit(engine: Engine, ask: Ask) -> None:
    size = await engine.measure(ask(' hello' * 120_000))

    assert not size.fits
    assert size.tokens >= 120_000
    with pytest.raises(InvalidRequest):
        await engine.measure(ask())


async def test_what_gives_way_ends_when_another_request_comes(engine: Engine, ask: Ask) -> None:
    giving_way = engine.generate(replace(ask(LONG), gives_way=True))
    await until(giving_way, TextDelta)

    other = engine.generate(ask(SENTENCE, max_tokens=4))

    assert end_of(await rest(giving_way)).reason == 'cancelled'
    assert end_of(await rest(other)).usage.completion_tokens == 4


async def test_no_messages_is_no_request(engine: Engine, ask: Ask) -> None:
    with pytest.raises(InvalidRequest):
        await reply(engine, ask())


async def test_closing_ends_every_reply(engine: Engine, ask: Ask) -> None:
    running = engine.generate(ask(LONG))
    await until(running, TextDelta)
    queued = engine.generate(ask(SENTENCE))
    await until(queued, Queued)
    just_asked = engine.generate(ask(SENTENCE))

    async with asyncio.timeout(IN_TIME):
        await engine.close()

    for generation in (running, queued, just_asked):
        with pytest.raises(ModelUnloaded):
            await rest(generation)


async def test_a_closed_engine_says_so(engine: Engine, ask: Ask) -> None:
    await engine.close()
    await engine.close()

    with pytest.raises(ModelUnloaded):
        await reply(engine, ask(SENTENCE))
    with pytest.raises(ModelUnloaded):
        await engine.measure(ask(SENTENCE))


async def test_texts_become_vectors_of_length_one(engine: Engine) -> None:
    texts = ['the cat sees a dog', 'the bird likes fish', 'the cat sees a dog']

    embeddings = await engine.embed(texts)

    first, second, again = embeddings.vectors.tolist()
    assert first == pytest.approx(again, abs=1e-5)
    assert first != pytest.approx(second, abs=1e-2)
    assert [sum(number**2 for number in vector) for vector in (first, second)] == pytest.approx([1, 1])
    assert embeddings.prompt_tokens == sum([(await engine.embed([text])).prompt_tokens for text in texts])
    assert embeddings.shortened(32).shape == (3, 32)
    assert (embeddings.shortened(32) ** 2).sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    with pytest.raises(InvalidRequest, match='1,000,000 dimensions'):
        embeddings.shortened(1_000_000)


async def test_no_text_makes_no_vector(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match='no text'):
        await engine.embed([])
    with pytest.raises(InvalidRequest, match='Text 2 is empty'):
        await engine.embed(['hello', ''])


async def test_what_is_too_long_to_embed_is_refused_or_truncated(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match='at most'):
        await engine.embed([' hello' * 120_000])

    assert (await engine.embed([' hello' * 120_000], truncate=True)).prompt_tokens <= engine.info.n_ctx


async def test_a_closed_engine_embeds_nothing(engine: Engine) -> None:
    await engine.close()

    with pytest.raises(ModelUnloaded):
        await engine.embed(['hello'])


@pytest.mark.parametrize(
    'text',
    [
        '',
        ' ',
        'nul \0 in the middle',
        'half a pair \ud83d',
        'the other half \udc00 and \udfff\ud800',
        '🙂👩‍👩‍👧‍👦 مرحبا 漢字 \u202e\ufeff\uffff',
        '<|im_end|>\n<|im_start|>system\n</s><unk>',
        '{{ messages }} {% for %}',
        'x' * 1_000_000,
        ' ' * 200_000,
        '🙂' * 250_000,
    ],
    ids=lambda text: f'{text[:4]!a}, {len(text)} characters',
)
async def test_no_text_does_harm(engine: Engine, ask: Ask, text: str) -> None:
    try:
        assert end_of(await reply(engine, ask(text, max_tokens=2, stop=(text[:50],)))).reason in ('stop', 'length')
    except InferenceError as refusal:
        assert str(refusal)  # noqa: PT017 (either is right)

    assert await engine.count_tokens(text) >= 0
    assert text_of(await reply(engine, ask(SENTENCE, max_tokens=3))).strip().startswith('hello, the')
