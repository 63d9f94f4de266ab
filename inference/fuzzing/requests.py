"""Random requests: every message, setting, grammar and schema an engine may be asked with, sound or not."""

from dataclasses import replace
from random import Random
from typing import Any, get_args

from inference.chat import GenerationRequest, Message, Overflow, Role, Tool, ToolCall, clean_text
from inference.declare import Setting, describe
from inference.fuzzing.structures import random_grammar, random_schema, schema_of_parts
from inference.fuzzing.texts import random_text
from inference.settings import SamplingSettings

WILD = 0.3
"""The share of requests whose parts need not go together."""
MOST_MESSAGES, MOST_TEXT = 5, 80
STRUCTURE = ('none', 'grammar', 'json_schema')
MOST_STRUCTURE = 200_000


def random_request(dice: Random, *, n_vocab: int, most_tokens: int = 48) -> GenerationRequest:
    """Return a request of the declared types; most make sense, the others must be refused.

    Most replies end after `most_tokens`, a few fill the context.
    """
    request = GenerationRequest(
        messages=tuple(_message(dice) for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 3, 8, 40)))),
        sampling=random_sampling(dice, n_vocab=n_vocab, most_tokens=most_tokens),
        tools=tuple(_tool(dice) for _ in range(dice.choice((0, 0, 0, 0, 1, 2, 9)))),
        tool_choice=dice.choice(('auto', 'auto', 'none', 'required', 'look', random_text(dice)[:40])),
        overflow=dice.choice(get_args(Overflow)),
        continues=dice.random() < 0.1,
        user=dice.choice(('', '', 'a', 'b', random_text(dice)[:40])),
    )
    return request if dice.random() < WILD else _sensible(request, n_vocab)


def random_sampling(dice: Random, *, n_vocab: int, most_tokens: int) -> SamplingSettings:
    """Return settings that are declared to be possible; each field somewhere in its range, its ends most often."""
    settings = [setting for setting in describe(SamplingSettings) if setting.name not in STRUCTURE]
    chosen = dice.sample(settings, dice.choice((0, 1, 2, 4, 8, len(settings))))
    values = {setting.name: _setting(dice, setting, n_vocab) for setting in chosen}
    structure = dice.choices(STRUCTURE, (4, 1, 1))[0]
    if structure != 'none':
        text = random_grammar(dice) if structure == 'grammar' else random_schema(dice)
        values[structure] = clean_text(text)[:MOST_STRUCTURE]
    values['max_tokens'] = 0 if dice.random() < 0.02 else dice.randint(1, most_tokens)
    values.setdefault('seed', dice.randrange((1 << 32) - 1))
    return SamplingSettings.model_validate(values)


def _sensible(request: GenerationRequest, n_vocab: int) -> GenerationRequest:
    """Take away what would be refused for want of something else, and what fills the context at once."""
    messages = [replace(message, content=message.content[:MOST_TEXT]) for message in request.messages[:MOST_MESSAGES]]
    messages = messages or [Message(role='user', content='hello')]
    must_call = bool(request.tools) and request.tool_choice not in ('auto', 'none')
    return replace(
        request,
        messages=tuple(messages),
        sampling=_sensible_sampling(request.sampling, n_vocab, must_call=must_call),
        tools=request.tools[:2],
        tool_choice='required' if must_call else 'auto',
        continues=request.continues and messages[-1].role == 'assistant',
    )


def _sensible_sampling(sampling: SamplingSettings, n_vocab: int, *, must_call: bool) -> SamplingSettings:
    changes: dict[str, Any] = {
        'logit_bias': {token: bias for token, bias in sampling.logit_bias.items() if token < n_vocab},
        'grammar_triggers': tuple(filter(None, sampling.grammar_triggers)),
    }
    if must_call:
        changes |= {'grammar': '', 'json_schema': ''}
    if must_call or not (sampling.grammar or sampling.json_schema):
        changes['grammar_triggers'] = ()
    if sampling.mirostat != 'off':
        changes['adaptive_target'] = -1.0
    return sampling.model_copy(update=changes)


def _message(dice: Random) -> Message:
    role: Role = dice.choices(get_args(Role), (1, 5, 3, 1))[0]
    calls = [ToolCall(id=random_text(dice)[:20], name='look', arguments=random_text(dice)[:80])]
    return Message(
        role=role,
        content=random_text(dice),
        reasoning=random_text(dice) if dice.random() < 0.1 else '',
        tool_calls=tuple(calls) if dice.random() < 0.1 else (),
        tool_call_id='1' if role == 'tool' else '',
        name=dice.choice(('', '', 'look', random_text(dice)[:20])),
    )


def _tool(dice: Random) -> Tool:
    parameters = schema_of_parts(dice, depth=3)
    return Tool(
        name=dice.choice(('look', 'find', random_text(dice)[:40])),
        description=random_text(dice)[:200],
        parameters=parameters if isinstance(parameters, dict) else {},
    )


def _setting(dice: Random, setting: Setting, n_vocab: int) -> Any:  # noqa: PLR0911 (one for each kind)
    low, high = setting.minimum, setting.maximum
    match setting.kind:
        case 'bool':
            return dice.random() < 0.5
        case 'choice':
            return dice.choice(setting.choices)
        case 'order':
            return tuple(dice.sample(setting.choices, dice.randint(0, len(setting.choices))))
        case 'int' if low is not None and high is not None:
            return _whole_number(dice, int(low), int(high))
        case 'float' if low is not None and high is not None:
            return dice.choice((low, high, dice.uniform(low, high), low + (high - low) * 1e-9))
        case 'biases':
            biases = (-1000.0, 1000.0, -100.0, dice.gauss(0, 5))
            return {_token(dice, n_vocab): dice.choice(biases) for _ in range(dice.choice((1, 3, 99)))}
        case 'texts':
            return tuple(clean_text(random_text(dice)[:400]) for _ in range(dice.randint(0, 4)))
    raise NotImplementedError(f'{setting.name} is of kind {setting.kind}')


def _whole_number(dice: Random, low: int, high: int) -> int:
    return dice.choice((low, high, dice.randint(low, high), dice.randint(low, min(99, high))))


def _token(dice: Random, n_vocab: int) -> int:
    odd = (n_vocab, n_vocab - 1, 0, (1 << 31) - 1, 1 << 40)
    return dice.choice((dice.randrange(n_vocab), dice.randrange(n_vocab), dice.choice(odd)))
