"""From the names that OpenAI's and llama.cpp's clients use to `SamplingSettings`."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from inference.sampling_settings import MOST_BIAS
from inference.settings import SamplingSettings
from webui.api.schema import clean

FIELDS = SamplingSettings.model_fields
MIROSTAT = {0: 'off', 1: 'v1', 2: 'v2'}
SAMPLERS = {'typ_p': 'typical_p', 'typ': 'typical_p', 'nucleus': 'top_p', 'temp': 'temperature'}
NOT_IN_THE_ORDER = ('penalties', 'adaptive_p', 'infill')
"""Samplers of llama.cpp that have a fixed place here, or none."""
ANY_OBJECT = '{"type": "object"}'


def read_settings(sent: Mapping[str, Any]) -> SamplingSettings:
    """Return the settings of a request, the app's own where it says nothing; raises RequestValidationError."""
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, (setting, convert) in SPELLINGS.items():
        if sent.get(name) is None:
            continue
        try:
            value = convert(clean(sent[name]))
        except ValueError as error:
            problem = {'type': 'value_error', 'loc': ('body', name), 'msg': str(error)}
            raise RequestValidationError([problem]) from None
        if value is not None:
            values[setting], names[setting] = value, name
    try:
        return SamplingSettings(**values)
    except ValidationError as error:
        raise RequestValidationError(_located(error, names)) from None


def _located(error: ValidationError, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the problems under the names that the program used."""
    found = error.errors(include_url=False, include_context=False)
    return [
        {**problem, 'loc': ('body', names.get(str(problem['loc'][0]), problem['loc'][0]), *problem['loc'][1:])}
        for problem in found
    ]


def _same(value: Any) -> Any:
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _limit(value: Any) -> Any:
    return 0 if value == -1 else value  # how llama.cpp's clients say that there is no limit


def _mirostat(value: Any) -> Any:
    return MIROSTAT.get(value, value) if isinstance(value, int) else value


def _samplers(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError('a list of names is needed, such as ["top_k", "min_p", "temperature"]')
    known = [SAMPLERS.get(name, name) if isinstance(name, str) else name for name in value]
    return [name for name in known if name not in NOT_IN_THE_ORDER]


def _biases(value: Any) -> Any:
    """Take OpenAI's mapping of ids, or llama.cpp's list of pairs; a bias of false forbids the token."""
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError('token ids with their biases are needed, such as {"42": -100}')
    for token, _ in pairs:
        if isinstance(token, bool) or not (isinstance(token, int) or str(token).removeprefix('-').isdigit()):
            raise ValueError(f'{token!r} is no token id; a bias on text is not supported')
    return {int(token): -MOST_BIAS if bias is False else bias for token, bias in pairs}


def _schema(value: Any) -> Any:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _format(value: Any) -> Any:
    """Return the JSON schema of a `response_format`."""
    match value:
        case {'type': 'text'}:
            return None
        case {'type': 'json_object', **rest}:
            return _schema(rest.get('schema') or ANY_OBJECT)
        case {'type': 'json_schema', 'json_schema': {'schema': dict() | str() as schema}}:
            return _schema(schema)
        case {'type': 'json_schema'}:
            raise ValueError('the type json_schema needs a json_schema with a schema in it')
    raise ValueError('its type must be text, json_object or json_schema')


def _switch(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError('true or false is needed')
    return 'on' if value else 'off'


def _effort(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('a word is needed, such as low or none')
    return 'off' if value == 'none' else 'on'


def _template(value: Any) -> Any:
    """Return what a template is told about reasoning; it is told nothing else."""
    if not isinstance(value, dict):
        raise ValueError('an object is needed, such as {"enable_thinking": false}')
    known = {'enable_thinking': _switch, 'thinking': _switch, 'reasoning_effort': _effort}
    for name in value:
        if name not in known:
            raise ValueError(f'{name!r} is not supported, only {", ".join(known)}. Leave it out')
    return next((known[name](value[name]) for name in known if value.get(name) is not None), None)


Spelling = tuple[str, Callable[[Any], Any]]
_OTHERS: dict[str, Spelling] = {
    'n_predict': ('max_tokens', _limit),
    'max_completion_tokens': ('max_tokens', _limit),
    'nsigma': ('top_n_sigma', _same),
    'response_format': ('json_schema', _format),
    'reasoning_effort': ('reasoning', _effort),
    'enable_thinking': ('reasoning', _switch),
    'chat_template_kwargs': ('reasoning', _template),
    'reasoning_budget_tokens': ('reasoning_budget', _same),
    'thinking_budget_tokens': ('reasoning_budget', _same),
    'thinking_budget': ('reasoning_budget', _same),
}
_CONVERTED: dict[str, Callable[[Any], Any]] = {
    'max_tokens': _limit,
    'stop': _as_list,
    'mirostat': _mirostat,
    'samplers': _samplers,
    'logit_bias': _biases,
    'json_schema': _schema,
}
SPELLINGS: dict[str, Spelling] = {**{name: (name, _CONVERTED.get(name, _same)) for name in FIELDS}, **_OTHERS}
"""Every field that sets something, with the setting and how its value is read; of two for one, the later wins."""


def describe_settings(schema: dict[str, Any]) -> None:
    """Add the fields to the JSON schema of a request."""
    own = SamplingSettings.model_json_schema()['properties']
    schema['properties'] |= {name: own[name] if name in own else _alias(name) for name in SPELLINGS}


def _alias(name: str) -> dict[str, Any]:
    return {'title': name, 'description': f'Another name of {SPELLINGS[name][0]}.'}
