"""Random payloads that each path of the API takes, made of random requests and the fields clients add to them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from random import Random
from types import MappingProxyType
from typing import Any

from inference.chat import GenerationRequest
from inference.declare import Setting, describe
from inference.fuzzing.requests import random_request
from inference.fuzzing.structures import SCHEMAS
from inference.fuzzing.texts import random_text
from inference.fuzzing.tiny import N_VOCAB
from inference.settings import SamplingSettings

OPENAI, OWN, EMBEDDINGS, RERANK = '/v1/chat/completions', '/api/chat/stream', '/v1/embeddings', '/v1/rerank'
MOST_TOKENS = 16

Payload = dict[str, Any]


def _own(dice: Random) -> Payload:
    request = random_request(dice, n_vocab=N_VOCAB, most_tokens=MOST_TOKENS)
    return {**asdict(request), 'sampling': _sampling(dice, request)}


def _openai(dice: Random) -> Payload:
    request = random_request(dice, n_vocab=N_VOCAB, most_tokens=MOST_TOKENS)
    payload: Payload = {
        'messages': [
            {'role': message.role, 'content': message.content, 'reasoning_content': message.reasoning}
            for message in request.messages
        ],
        'tools': [{'type': 'function', 'function': asdict(tool)} for tool in request.tools],
        'tool_choice': _chosen(request),
        'continue_final_message': request.continues,
        'user': request.user,
        **_sampling(dice, request),
    }
    payload |= {'logprobs': True, 'top_logprobs': dice.choice((0, 5, 20, 21))} if dice.random() < 0.1 else {}
    return payload | {name: value for name, value in _client_fields(dice).items() if dice.random() < 0.1}


def _chosen(request: GenerationRequest) -> Any:
    if request.tool_choice in [tool.name for tool in request.tools]:
        return {'type': 'function', 'function': {'name': request.tool_choice}}
    return request.tool_choice


def _embeddings(dice: Random) -> Payload:
    texts = [random_text(dice) for _ in range(dice.choice((1, 3)))]
    fields = {'encoding_format': 'base64', 'dimensions': dice.choice((1, 8, 10**6)), 'truncate': True}
    return {'input': dice.choice((texts, texts[0])), **_some(dice, fields)}


def _rerank(dice: Random) -> Payload:
    texts = [random_text(dice) for _ in range(3)]
    fields = {'top_n': dice.choice((1, 99)), 'return_documents': True, 'truncate': True}
    return {'query': random_text(dice), 'documents': dice.choice((texts, [{'text': texts[0]}])), **_some(dice, fields)}


PAYLOADS: Mapping[str, Callable[[Random], Payload]] = MappingProxyType(
    {OPENAI: _openai, OWN: _own, EMBEDDINGS: _embeddings, RERANK: _rerank}
)
SHARES = {OPENAI: 6, OWN: 6, EMBEDDINGS: 1, RERANK: 1}


def _sampling(dice: Random, request: GenerationRequest) -> Payload:
    """Return the settings that are set, sometimes with some that are over their ends."""
    sampling = request.sampling.model_dump(exclude_unset=True)
    if dice.random() < 0.2:
        chosen = dice.sample([*describe(SamplingSettings)], 3)
        sampling |= {setting.name: _odd_setting(dice, setting) for setting in chosen}
    return sampling


def _odd_setting(dice: Random, setting: Setting) -> Any:
    ends = [value for value in (setting.minimum, setting.maximum) if value is not None]
    beyond = [*(value + 1 for value in ends), *(value - 1 for value in ends)]
    return dice.choice((setting.default, *ends, *beyond, 2.5, '1', None))


def _client_fields(dice: Random) -> Payload:
    schema = dice.choice(SCHEMAS)
    return {
        'model': dice.choice(('', 'nobody', 'tiny', '../tiny', 'echo')),
        'stream': dice.choice((True, True, False, None)),
        'stream_options': {'include_usage': True},
        'n': dice.choice((1, 1, 1, 2, None)),
        'response_format': dice.choice((
            {'type': 'text'}, {'type': 'json_object'},
            {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': schema}},
        )),
        'max_completion_tokens': dice.choice((1, 8, -1)),
        'parallel_tool_calls': False,
        'reasoning_effort': 'low',
        'seed': dice.choice((0, -1, 2**32)),
    }  # fmt: skip


def _some(dice: Random, fields: Payload) -> Payload:
    return {name: value for name, value in fields.items() if dice.random() < 0.2}
