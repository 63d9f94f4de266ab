"""Random HTTP requests: JSON with wrong types, JSON that is none, and messages whose length is not what they say."""

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from inference.fuzzing.texts import random_text
from webui.bench.fuzz.payloads import PAYLOADS, SHARES

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
TYPE = 'application/json'
ODD_TYPES = ('application/json; charset=utf-16', 'text/plain', 'multipart/form-data', '', 'ä')
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
    """Return a request to one of the paths that let a model work."""
    mode = dice.choices(list(MODES), list(MODES.values()))[0]
    path = dice.choices(list(SHARES), list(SHARES.values()))[0]
    payload = _payload(dice, path)
    method = dice.choices(('POST', 'GET', 'PUT', 'OPTIONS'), (40, 1, 1, 1))[0]
    lines = [f'{method} {path} HTTP/1.1', f'Host: {host}', 'Connection: close']
    kind = dice.choice(ODD_TYPES) if dice.random() < 0.1 else TYPE
    lines += [f'Content-Type: {kind}'] if kind else []
    head = '\r\n'.join([*lines, *_length_lines(dice, mode, len(payload)), '', '']).encode()
    return Body(mode, head + _framed(dice, mode, payload), dice.uniform(0, 0.1))


def _payload(dice: Random, path: str) -> bytes:
    body: Any = PAYLOADS[path](dice)
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
