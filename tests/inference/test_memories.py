"""Memories that cannot be cut just anywhere: the text is right, and as much as can be is not read again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference.catalog import ModelFile
from inference.chat import Finished, GenerationRequest, TextDelta
from inference.engine_thread import QUIET_SECONDS
from inference.llama import LlamaEngine
from inference.settings import LoadSettings
from tests import tiny_memories as tiny

Ask = Callable[..., GenerationRequest]
Catalogued = Callable[[Path], ModelFile]
IN_TIME = 30
WRITERS = {'recurrent': tiny.write_recurrent, 'hybrid': tiny.write_hybrid, 'sliding': tiny.write_sliding}
THINKER = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content[20:] if m.role == 'assistant' else m.content }}"
    '<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n. . .{% endif %}'
)
"""Like templates of reasoning models: past replies lose a part, and the prompt ends with how a reply begins."""


@pytest.fixture(params=WRITERS)
async def engine(
    request: pytest.FixtureRequest, tmp_path: Path, quick: LoadSettings, catalogued: Catalogued
) -> AsyncIterator[LlamaEngine]:
    model = catalogued(WRITERS[request.param](tmp_path / f'{request.param}.gguf'))
    engine = await LlamaEngine.load(model, quick.model_copy(update={'n_ctx': 4096, 'n_slots': 4}))
    yield engine
    await engine.close()


async def answer(engine: LlamaEngine, request: GenerationRequest) -> tuple[str, Finished]:
    async with asyncio.timeout(IN_TIME):
        *events, end = [event async for event in engine.generate(request)]
    assert isinstance(end, Finished)
    return ''.join(event.text for event in events if isinstance(event, TextDelta)), end


async def test_a_reply_depends_on_what_was_said_long_before(engine: LlamaEngine, ask: Ask) -> None:
    rest = ' the cat sees a dog' * 5

    texts = {(await answer(engine, ask(first + rest, max_tokens=30)))[0] for first in ('hello', 'world', 'bird')}

    assert len(texts) == 3


async def test_the_next_turn_goes_on_from_the_state_of_the_last(engine: LlamaEngine, ask: Ask) -> None:
    said, first = await answer(engine, ask(' hello' * 20, max_tokens=40, repeat_penalty=1))
    then, second = await answer(engine, ask(' hello' * 20, said, 'and ?', max_tokens=40, repeat_penalty=1))

    await engine.forget()
    again, third = await answer(engine, ask(' hello' * 20, said, 'and ?', max_tokens=40, repeat_penalty=1))

    assert then == again
    assert second.usage.cached_tokens >= first.usage.prompt_tokens + first.usage.completion_tokens - 1
    assert third.usage.cached_tokens == 0


async def test_a_chat_comes_back_after_others_had_its_slot(engine: LlamaEngine, ask: Ask) -> None:
    said, first = await answer(engine, ask(' hello' * 20, max_tokens=40, repeat_penalty=1))
    for number in range(6):
        await answer(engine, ask(f'{number} bird' * 9, max_tokens=3))

    then, second = await answer(engine, ask(' hello' * 20, said, 'and ?', max_tokens=40, repeat_penalty=1))
    await engine.forget()
    again, _ = await answer(engine, ask(' hello' * 20, said, 'and ?', max_tokens=40, repeat_penalty=1))

    assert then == again
    assert second.usage.cached_tokens >= first.usage.prompt_tokens + first.usage.completion_tokens - 1


async def test_a_side_question_does_not_cost_the_chat_what_it_knows(engine: LlamaEngine, ask: Ask) -> None:
    said, first = await answer(engine, ask(' hello' * 20, max_tokens=40, repeat_penalty=1))
    await asyncio.sleep(2 * QUIET_SECONDS)  # by then the chat is in RAM, too
    side = ask(' hello' * 20, said, 'what is the title?', max_tokens=24)
    _, title = await answer(engine, replace(side, gives_way=True))
    _, second = await answer(engine, ask(' hello' * 20, said, 'and ?', max_tokens=40, repeat_penalty=1))

    for end in (title, second):
        assert end.usage.cached_tokens >= first.usage.prompt_tokens + first.usage.completion_tokens - 1


async def test_the_same_question_again_is_hardly_read(engine: LlamaEngine, ask: Ask) -> None:
    first, _ = await answer(engine, ask(' hello' * 20, max_tokens=60, repeat_penalty=1))
    again, end = await answer(engine, ask(' hello' * 20, max_tokens=60, repeat_penalty=1))

    assert first == again
    assert end.usage.cached_tokens >= end.usage.prompt_tokens - 20


async def test_several_at_once_say_what_each_says_alone(engine: LlamaEngine, ask: Ask) -> None:
    requests = [ask(f'{word} sees a dog', max_tokens=50) for word in ('cat', 'bird', 'fish', 'world')]
    alone = [(await answer(engine, request))[0] for request in requests]
    await engine.forget()

    together = await asyncio.gather(*(answer(engine, request) for request in requests))

    assert [text for text, _ in together] == alone


async def test_a_stop_in_mid_prompt_does_not_spoil_the_reply_of_another(engine: LlamaEngine, ask: Ask) -> None:
    alone, _ = await answer(engine, ask(' hello' * 50, max_tokens=40))
    await engine.forget()

    going = asyncio.create_task(answer(engine, ask(' hello' * 50, max_tokens=40)))
    for number in range(5):
        passing = engine.generate(ask(f'{number} bird' * 200))
        await asyncio.sleep(0.01)
        passing.cancel()

    assert (await going)[0] == alone


@pytest.mark.parametrize('kind', WRITERS)
async def test_a_template_that_drops_reasoning_costs_one_turn_at_most(
    kind: str, tmp_path: Path, quick: LoadSettings, catalogued: Catalogued, ask: Ask
) -> None:
    """The end of the user's prompt is kept, since what follows is different the next time."""
    model = catalogued(WRITERS[kind](tmp_path / 'm.gguf', template=THINKER))
    engine = await LlamaEngine.load(model, quick.model_copy(update={'n_ctx': 4096}))
    question = ' hello' * 30

    said, first = await answer(engine, ask(question, max_tokens=60, repeat_penalty=1))
    _, second = await answer(engine, ask(question, said, 'and ?', max_tokens=5))

    assert second.usage.cached_tokens >= first.usage.prompt_tokens - 20
    await engine.close()
