"""Random HTTP requests: JSON with wrong types, JSON that is none, and messages whose length is not what they say."""

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from inference.declare import Setting, describe
from inference.fuzzing.requests import random_sampling
from inference.fuzzing.structures import SCHEMAS
from inference.fuzzing.texts import random_text
from inference.settings import SamplingSettings

OPENAI, OWN = '/v1/chat/completions', '/api/chat/stream'
MOST_TOKENS, N_VOCAB = 16, 300
RAW = '\ue000raw\ue000'
"""Stands in a JSON text for what no JSON writer would write."""
RAW_VALUES = (
    b'NaN', b'Infinity', b'-Infinity', b'1e999', b'-1e999', b'9' * 5000, b'-0', b'0x10', b'"\\ud800"', b'"\\u0000"',
    b'"\xff\xfe"', b'"\x01"', b'nul', b"'a'", b'[' * 100_000, b'[' * 50_000 + b']' * 50_000,
    b'{"a":' * 20_000 + b'1' + b'}' * 20_000, b'"' + b'x' * 200_000 + b'"', b'', b'{"a":1,"a":2}', b'1,', b'[1,]',
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.1, 1e308, '', 'text', '\ud800', '\0', '1', 'NaN',
    [], {}, [None], [[[[1]]]], {'a': []}, ['a'] * 2000, {str(number): number for number in range(500)}, 'ä' * 70_000,
)  # fmt: skip
TYPES = (
    'application/json',
    'application/json',
    'application/json; charset=utf-16',
    'text/plain',
    'multipart/form-data',
    '',
    'ä',
)
SOUND, SHORT, LONG, CHUNKED, BROKEN_CHUNKS, ODD_LENGTH, LEAVES = (
    'sound', 'short', 'long', 'chunked', 'broken chunks', 'odd length', 'leaves',
)  # fmt: skip
MODES = {SOUND: 20, CHUNKED: 2, LEAVES: 3, SHORT: 1, LONG: 1, BROKEN_CHUNKS: 1, ODD_LENGTH: 1}
MALFORMED = (SHORT, LONG, BROKEN_CHUNKS, ODD_LENGTH)
"""Of these the server may say anything but a 5xx, or nothing, as the HTTP is broken."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request as bytes; `mode` tells what is wrong with its form, `seconds` when a client that leaves does so."""

    mode: str
    content: bytes
    seconds: float


def random_body(dice: Random, host: str) -> Body:
    """Return a request to one of the paths that make replies."""
    mode = dice.choices(list(MODES), list(MODES.values()))[0]
    path = dice.choice((OPENAI, OWN))
    payload = _payload(dice, path)
    method = dice.choices(('POST', 'GET', 'PUT', 'OPTIONS'), (40, 1, 1, 1))[0]
    lines = [f'{method} {path} HTTP/1.1', f'Host: {host}', 'Connection: close']
    lines += [f'Content-Type: {kind}'] if (kind := dice.choice(TYPES) if dice.random() < 0.2 else TYPES[0]) else []
    head = '\r\n'.join([*lines, *_length_lines(dice, mode, len(payload)), '', '']).encode()
    return Body(mode, head + _framed(dice, mode, payload), dice.uniform(0, 0.1))


def _payload(dice: Random, path: str) -> bytes:
    body = _sound(dice, path)
    match dice.choices(('sound', 'changed', 'cut', 'noise', 'other'), (8, 12, 1, 1, 1))[0]:
        case 'sound':
            pass
        case 'changed':
            raws: list[bytes] = []
            for _ in range(dice.choice((1, 1, 2, 4))):
                body = _changed(dice, body, raws)
            return _written(dice, body, raws)
        case 'cut':
            whole = _written(dice, body, [])
            return whole[: dice.randrange(len(whole))]
        case 'noise':
            return dice.choice(
                (b'', dice.randbytes(200), b'\xef\xbb\xbf{}', json.dumps(body).encode('utf-16'), *RAW_VALUES)
            )
        case _:
            body = dice.choice(VALUES)
    return _written(dice, body, [])


def _sound(dice: Random, path: str) -> dict[str, Any]:
    """Return what the path takes, with some of the fields it may have."""
    roles = ('user', 'assistant', 'system') if path == OPENAI else ('user', 'assistant', 'system', 'tool')
    messages = [
        {'role': dice.choice(roles), 'content': random_text(dice) if dice.random() < 0.5 else 'hello'}
        for _ in range(dice.choice((1, 1, 3)))
    ]
    sampling = random_sampling(dice, n_vocab=N_VOCAB, most_tokens=MOST_TOKENS).model_dump(exclude_unset=True)
    if dice.random() < 0.3:
        sampling |= {
            setting.name: _odd_setting(dice, setting) for setting in dice.sample([*describe(SamplingSettings)], 3)
        }
    if path == OWN:
        return {'messages': messages, 'sampling': sampling, **_some(dice, _OWN_FIELDS)}
    return {'messages': messages, **sampling, **_some(dice, _openai_fields(dice))}


def _odd_setting(dice: Random, setting: Setting) -> Any:
    ends = [value for value in (setting.minimum, setting.maximum) if value is not None]
    return dice.choice(
        (setting.default, *ends, *(value + 1 for value in ends), *(value - 1 for value in ends), 2.5, '1', None)
    )


_OWN_FIELDS = {'overflow': 'roll', 'user': 'me', 'tool_choice': 'none', 'continues': False, 'tools': []}


def _openai_fields(dice: Random) -> dict[str, Any]:
    schema = dice.choice(SCHEMAS)
    return {
        'model': dice.choice(('', 'nobody', 'tiny', '../tiny', 'echo')),
        'stream': dice.choice((True, True, False, None)),
        'stream_options': {'include_usage': True},
        'n': dice.choice((1, 2, None)),
        'tools': [{'type': 'function', 'function': {'name': 'look', 'parameters': schema}}],
        'tool_choice': dice.choice(('auto', 'required', {'type': 'function', 'function': {'name': 'look'}})),
        'response_format': dice.choice((
            {'type': 'text'}, {'type': 'json_object'},
            {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': schema}},
        )),
        'logprobs': True,
        'top_logprobs': dice.choice((0, 5, 20, 21)),
        'max_completion_tokens': dice.choice((1, 8, -1)),
        'reasoning_effort': 'low',
        'user': 'me',
        'seed': dice.choice((0, -1, 2**32)),
    }  # fmt: skip


def _some(dice: Random, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if dice.random() < 0.05}


def _changed(dice: Random, value: Any, raws: list[bytes]) -> Any:
    """Put something else in one place of a JSON value, often deep inside."""
    goes_inside = dice.random() < 0.85
    if isinstance(value, dict) and value and goes_inside:
        return _changed_object(dice, value, raws)
    if isinstance(value, list) and value and goes_inside:
        place = dice.randrange(len(value))
        return [*value[:place], _changed(dice, value[place], raws), *value[place + 1 :]]
    if dice.random() < 0.4:
        raws.append(dice.choice(RAW_VALUES))
        return f'{RAW}{len(raws) - 1}'
    return dice.choice(VALUES)


def _changed_object(dice: Random, value: dict[str, Any], raws: list[bytes]) -> dict[str, Any]:
    key, odd = dice.choice(list(value)), random_text(dice)[:30]
    match dice.choices(('inside', 'gone', 'renamed', 'more'), (12, 1, 1, 1))[0]:
        case 'inside':
            return {**value, key: _changed(dice, value[key], raws)}
        case 'gone':
            return {name: item for name, item in value.items() if name != key}
        case 'renamed':
            return {(odd if name == key else name): item for name, item in value.items()}
        case _:
            return {**value, odd: dice.choice(VALUES)}


def _written(dice: Random, body: Any, raws: list[bytes]) -> bytes:
    content = json.dumps(body, ensure_ascii=dice.random() < 0.5).encode('utf-8', 'surrogatepass')
    for number, raw in enumerate(raws):
        for marker in (json.dumps(f'{RAW}{number}'), json.dumps(f'{RAW}{number}', ensure_ascii=False)):
            content = content.replace(marker.encode(), raw)
    return content


def _length_lines(dice: Random, mode: str, size: int) -> list[str]:
    match mode:
        case 'chunked' | 'broken chunks':
            return ['Transfer-Encoding: chunked']
        case 'short':
            return [f'Content-Length: {dice.randrange(size + 1)}']
        case 'long':
            return [f'Content-Length: {size + dice.choice((1, 100, 10**9))}']
        case 'odd length':
            return dice.choice(
                ([], ['Content-Length: -1'], ['Content-Length: x'], ['Content-Length: 1', f'Content-Length: {size}'])
            )
    return [f'Content-Length: {size}']


def _framed(dice: Random, mode: str, payload: bytes) -> bytes:
    if mode not in (CHUNKED, BROKEN_CHUNKS):
        return payload
    middle = dice.randrange(len(payload) + 1)
    chunks = b''.join(b'%x\r\n%b\r\n' % (len(part), part) for part in (payload[:middle], payload[middle:]) if part)
    if mode == BROKEN_CHUNKS:
        return chunks.replace(b'\r\n', b'', 1) + dice.choice((b'', b'zz\r\n', b'ffffffffffffffff\r\n'))
    return chunks + b'0\r\n\r\n'
