"""What a reply may look like, told to the engine: JSON, grammars, calls, thoughts that end, and how likely it was."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference.catalog import ModelFile
from inference.chat import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    Message,
    ReasoningDelta,
    TextDelta,
    Tool,
    ToolCallDelta,
)
from inference.errors import InvalidRequest
from inference.llama import LlamaEngine
from inference.settings import LoadSettings
from inference.template import CHATML
from tests import tiny_models as tiny

Ask = Callable[..., GenerationRequest]
Catalogued = Callable[[Path], ModelFile]
IN_TIME = 30
SCHEMA = {'type': 'object', 'properties': {'n': {'type': 'integer'}}, 'required': ['n'], 'additionalProperties': False}
WEATHER = Tool(name='weather', description='Tells it.', parameters={'type': 'object', 'additionalProperties': False})
THINKING = CHATML.replace('<|im_start|>assistant\\n', '<|im_start|>assistant\\n<think>\\n')
"""A template whose prompt begins the reasoning."""


@pytest.fixture
async def engine(babbler: ModelFile, quick: LoadSettings) -> AsyncIterator[LlamaEngine]:
    engine = await LlamaEngine.load(babbler, quick.model_copy(update={'n_ctx': 2048}))
    yield engine
    await engine.close()


@pytest.fixture
async def thinker(tmp_path: Path, quick: LoadSettings, catalogued: Catalogued) -> AsyncIterator[LlamaEngine]:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', babbles=True, template=THINKING, n_ctx_train=2048)
    engine = await LlamaEngine.load(catalogued(path), quick.model_copy(update={'n_ctx': 2048}))
    yield engine
    await engine.close()


async def answer(engine: LlamaEngine, request: GenerationRequest) -> list[GenerationEvent]:
    async with asyncio.timeout(IN_TIME):
        return [event async for event in engine.generate(request)]


def text_of(events: list[GenerationEvent]) -> str:
    return ''.join(event.text for event in events if isinstance(event, TextDelta))


def thought_of(events: list[GenerationEvent]) -> str:
    return ''.join(event.text for event in events if isinstance(event, ReasoningDelta))


def end_of(events: list[GenerationEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_a_reply_is_json_of_a_schema(engine: LlamaEngine, ask: Ask) -> None:
    events = await answer(engine, ask('hello', temperature=1, seed=1, json_schema=json.dumps(SCHEMA)))

    assert isinstance(json.loads(text_of(events))['n'], int)
    assert end_of(events).reason == 'stop'


async def test_structured_and_free_replies_do_not_disturb_each_other(engine: LlamaEngine, ask: Ask) -> None:
    free = ask('the cat', max_tokens=30)
    alone = text_of(await answer(engine, free))

    together = await asyncio.gather(
        answer(engine, free), *(answer(engine, ask(f'{n}', grammar='root ::= "yes" | "no"')) for n in range(3))
    )

    assert text_of(together[0]) == alone
    assert {text_of(events) for events in together[1:]} <= {'yes', 'no'}


@pytest.mark.parametrize(
    'sampling',
    [
        {'grammar': 'root ::= nothing'},
        {'json_schema': '{"type": 7}'},
        {'json_schema': '{}', 'grammar': 'root ::= "a"'},
        {'logit_bias': {999_999: 1.0}},
    ],
    ids=str,
)
async def test_what_cannot_be_followed_is_refused_before_anything_runs(
    engine: LlamaEngine, ask: Ask, sampling: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest):
        await answer(engine, ask('hello', **sampling))

    assert engine.status.cells == 0


async def test_each_token_tells_what_else_there_was(engine: LlamaEngine, ask: Ask) -> None:
    events = await answer(engine, ask('hello', n_probs=3, max_tokens=6))

    choices = [choice for event in events if isinstance(event, TextDelta) for choice in event.choices]
    assert len(choices) == 6
    for choice in choices:
        assert len(choice.top) == 3
        assert choice.chosen.logprob == choice.top[0].logprob <= 0  # the likeliest was taken


async def test_a_tool_that_must_be_called_is_called(engine: LlamaEngine, ask: Ask) -> None:
    request = replace(ask('hello', seed=1, temperature=1), tools=(WEATHER,), tool_choice='required')

    events = await answer(engine, request)

    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [call.name for call in calls if call.name] == ['weather']
    assert json.loads(''.join(call.arguments for call in calls)) == {}
    assert end_of(events).reason == 'tool_calls'


async def test_a_thought_ends_when_its_budget_is_spent(thinker: LlamaEngine, ask: Ask) -> None:
    events = await answer(thinker, ask('hello', reasoning_budget=10, max_tokens=60))

    assert thought_of(events)
    assert text_of(events)
    assert 10 <= end_of(events).usage.reasoning_tokens <= 10 + 12
    assert end_of(events).usage.completion_tokens == 60


async def test_without_a_budget_nothing_is_thought(thinker: LlamaEngine, ask: Ask) -> None:
    events = await answer(thinker, ask('hello', reasoning_budget=0, max_tokens=40))

    assert thought_of(events).strip() == ''
    assert text_of(events)


async def test_a_schema_waits_for_the_answer(thinker: LlamaEngine, ask: Ask) -> None:
    events = await answer(thinker, ask('hello', reasoning_budget=8, json_schema=json.dumps(SCHEMA)))

    assert thought_of(events)
    assert isinstance(json.loads(text_of(events))['n'], int)


async def test_a_reply_goes_on_where_it_was_cut(engine: LlamaEngine, ask: Ask) -> None:
    whole = text_of(await answer(engine, ask('hello', max_tokens=30, repeat_penalty=1)))
    begun = text_of(await answer(engine, ask('hello', max_tokens=12, repeat_penalty=1)))
    messages = (Message(role='user', content='hello'), Message(role='assistant', content=begun))

    events = await answer(engine, replace(ask('', max_tokens=18, repeat_penalty=1), messages=messages, continues=True))

    assert begun + text_of(events) == whole
    assert end_of(events).usage.cached_tokens >= end_of(events).usage.prompt_tokens - 2
