"""Reads calls whose arguments are not JSON: in tags of their own, as Python, or in the way of Gemma."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from inference.calls import JSON_TYPES, MOST_HEAD, Calls, Reader, skip
from inference.parsing import Markers, Reading

_NAME = re.compile(r'[\w.:/-]+')
_SPACE = re.compile(r'\s*')
_GEMMA_STRING = re.compile(r'<\|"\|>(.*?)<\|"\|>|([A-Za-z_][\w-]*)(?=\s*:)', re.DOTALL)
_PYTHON = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|\b(?P<constant>True|False|None)\b|(?P<keyword>\w+)\s*=\s*""",
    re.DOTALL,
)
_CONSTANTS = {'True': 'true', 'False': 'false', 'None': 'null'}
_ESCAPED = re.compile(r'\\.|["\n\t]', re.DOTALL)
_ESCAPES = {"\\'": "'", '"': '\\"', '\n': '\\n', '\t': '\\t'}
_CALL = re.compile(r'\s*,?\s*([\w.]+)\(')
_PARENTHESIS = re.compile(r'"(?:[^"\\]|\\.)*"|[()]', re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tags:
    """What stands around the parts of a call whose arguments each have tags of their own."""

    name_end: str = ''
    key: str
    key_end: str
    value: str = ''
    value_end: str
    closes: str


def in_tags(tags: Tags, *closers: str, opens: str = '') -> Reader:
    """Read a call of which each argument is in tags; what the value of one is, its tool's schema tells."""

    def read(calls: Calls) -> Reading[bool]:
        source = calls.source
        if opens and not (yield from source.begins(opens)):
            return False
        yield from source.match(_SPACE, MOST_HEAD)
        name = yield from source.match(_NAME, MOST_HEAD)
        if not name or (tags.name_end and not (yield from source.begins(tags.name_end))):
            return False
        tag = yield from source.begins(tags.key, tags.closes)
        if not tag:
            return False
        calls.begin(name)
        if (yield from _tagged_arguments(calls, name, tags, tag)):
            yield from skip(source, closers)
        return True

    return read


def in_python(closer: str) -> Reader:
    """Read a list of calls as Python writes them, such as [weather(city='Paris', days=2)]."""

    def read(calls: Calls) -> Reading[bool]:
        text, _ = yield from calls.source.collect(closer)
        found = _python_calls(text)
        for name, arguments in found:
            calls.begin(name)
            calls.add(arguments)
        return bool(found)

    return read


def as_python(name: str, arguments: str) -> str:
    """Return a call as `in_python` reads it."""
    try:
        values = dict(json.loads(arguments))
    except (ValueError, TypeError):
        values = {}
    return f'[{name}({", ".join(f"{key}={value!r}" for key, value in values.items())})]'


def in_gemma(closer: str) -> Reader:
    """Read a call of Gemma 4, such as call:weather{city:<|"|>Paris<|"|>,days:2}."""

    def read(calls: Calls) -> Reading[bool]:
        text, _ = yield from calls.source.collect(closer)
        found = re.fullmatch(r'\s*call:(?P<name>[\w.-]+)(?P<arguments>\{.*\})\s*', text, re.DOTALL)
        if not found or not _is_json(arguments := _quoted(found['arguments'])):
            return False
        calls.begin(found['name'])
        calls.add(arguments)
        return True

    return read


def _tagged_arguments(calls: Calls, name: str, tags: Tags, tag: str) -> Reading[bool]:
    """Read arguments from behind the first `tag` on; False where the text ends within one."""
    source, comma = calls.source, ''
    calls.add('{')
    while tag == tags.key:
        key, end = yield from source.collect(tags.key_end)
        if not end:
            return False
        key = key.partition('"')[0].strip()
        if tags.value:
            yield from source.begins(tags.value)
        calls.add(f'{comma}{json.dumps(key, ensure_ascii=False)}: ')
        if not (yield from _tagged_value(calls, calls.types(name, key), tags.value_end)):
            return False
        comma = ', '
        tag = yield from source.begins(tags.key, tags.closes)
    calls.add('}')
    return True


def _tagged_value(calls: Calls, types: set[str], end: str) -> Reading[bool]:
    if types != {'string'}:
        text, found = yield from calls.source.collect(end)
        calls.add(_typed(text, types) if found else '')
        return bool(found)
    calls.add('"')
    found = yield from calls.source.until(Markers((end,)), _InString(calls.add))
    calls.add('"' if found else '')
    return bool(found)


class _InString:
    """Passes text on as the inside of a JSON string, without the line break before and after it."""

    def __init__(self, pass_on: Callable[[str], None]) -> None:
        self._pass_on = pass_on
        self._held = ''
        self._begun = False

    def __call__(self, text: str) -> None:
        text = self._held + (text if self._begun else text.removeprefix('\n'))
        self._begun = True
        self._held = '\n' if text.endswith('\n') else ''
        self._pass_on(json.dumps(text.removesuffix('\n'), ensure_ascii=False)[1:-1])


def _typed(text: str, types: set[str]) -> str:
    """Return JSON for what is in tags: as it is if it is JSON of one of these types, else as a string."""
    text = text.removeprefix('\n').removesuffix('\n')
    try:
        value = orjson.loads(text)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    fits = not types or types & JSON_TYPES[type(value)]
    return text.strip() if fits else json.dumps(text, ensure_ascii=False)


def _python_calls(text: str) -> list[tuple[str, str]]:
    """Return names and arguments; none where the text is not a list of calls with keyword arguments."""
    text = _PYTHON.sub(_as_json, text).strip()
    text = text[1:-1] if text.startswith('[') and text.endswith(']') else text
    found: list[tuple[str, str]] = []
    at = 0
    while call := _CALL.match(text, at):
        end = _closing(text, call.end())
        arguments = f'{{{text[call.end() : end]}}}'
        if not _is_json(arguments):
            return []
        found.append((call[1], arguments))
        at = end + 1
    return found if not text[at:].strip() else []


def _as_json(found: re.Match[str]) -> str:
    """Return a Python string, constant or keyword as JSON."""
    if string := found['string']:
        return f'"{_ESCAPED.sub(lambda part: _ESCAPES.get(part[0], part[0]), string[1:-1])}"'
    return _CONSTANTS[found['constant']] if found['constant'] else f'"{found["keyword"]}": '


def _closing(text: str, at: int) -> int:
    """Return where the parenthesis is closed that was opened before `at`; the end of the text if nowhere."""
    depth = 1
    for found in _PARENTHESIS.finditer(text, at):
        depth += {'(': 1, ')': -1}.get(found[0], 0)
        if not depth:
            return found.start()
    return len(text)


def _quoted(text: str) -> str:
    """Return the arguments of Gemma 4 with JSON's quotes around strings and keys."""
    return _GEMMA_STRING.sub(lambda found: json.dumps(found[1] or found[2] or '', ensure_ascii=False), text)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True
