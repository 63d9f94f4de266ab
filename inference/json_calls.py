"""Reads calls whose arguments are JSON, which is passed on as it grows."""

import json
import re
from collections.abc import Callable

from inference.calls import MOST_HEAD, Calls, Reader, skip
from inference.parsing import Incoming, Reading

_NAMES, _ARGUMENTS = {'name', 'tool_name', 'function'}, {'arguments', 'parameters'}
_OTHERS = {'type', 'id', 'tool_call_id'}
_NAME = re.compile(r'[\w.:/-]+')
_SPACE = re.compile(r'\s*')
_SCALAR = re.compile(r'[^\s,{}\[\]"]+')
_BEFORE_BRACE = re.compile(r'[^{]*')
_STRING = re.compile(r'(?:[^"\\]|\\.?)*', re.DOTALL)
_IN_STRING = re.compile(r'["\\]')
_STRUCTURE = re.compile(r'["{}\[\]]|[^\s\w:,.+-]')
"""What changes a JSON value's depth, and what cannot be in it, outside of strings."""


def in_json(*closers: str, known: bool = False) -> Reader:
    """Read {"name": …, "arguments": …}, several of them, or a list of them; with `known` only calls of known tools."""

    def read(calls: Calls) -> Reading[bool]:
        source = calls.source
        listed = yield from source.begins('[', '{')
        if listed == '[' and not (yield from source.begins('{')):
            return False
        if not listed or not (yield from _object(calls, known)):
            return False
        while (yield from _another(calls, known)):
            pass
        if listed == '[':
            yield from source.begins(']')
        yield from skip(source, closers)
        return True

    return read


def after_name(head: str, *closers: str) -> Reader:
    """Read a name, taken out of what stands before the arguments by the expression `head`, and arguments in JSON."""
    pattern = re.compile(head)

    def read(calls: Calls) -> Reading[bool]:
        before = yield from calls.source.match(_BEFORE_BRACE, MOST_HEAD)
        found = pattern.fullmatch(before.strip())
        if not found or not (yield from _arguments(calls, found['name'])):
            return False
        yield from skip(calls.source, closers)
        return True

    return read


def arguments_of(name: str) -> Reader:
    """Read arguments in JSON of a call whose name was read before."""
    return lambda calls: _arguments(calls, name)


def to_recipient(everyone: str) -> Reader:
    """Read a line with the name of a tool and arguments in JSON; text for `everyone` has that as its name."""

    def read(calls: Calls) -> Reading[bool]:
        name = yield from calls.source.match(_NAME, MOST_HEAD)
        if name == everyone:
            yield from calls.source.match(_SPACE, MOST_HEAD)
            calls.source.commit()
            return True
        return calls.knows(name) and (yield from _arguments(calls, name))

    return read


class _Draft:
    """A call of which the name or the arguments are not known yet."""

    def __init__(self, calls: Calls, known: bool) -> None:
        self._calls = calls
        self._known = known
        self._name = self._arguments = ''
        self._wrapped = False
        self.begun = False

    def member(self, key: str) -> Reading[bool]:
        """Read the value of `key`; False where the object is no call."""
        if key in _NAMES:
            return (yield from self._read_name())
        if key in _ARGUMENTS or (not self._name and self._calls.knows(key)):
            self._name = self._name if key in _ARGUMENTS else key  # {"weather": {"city": "Paris"}}
            return (yield from self._read_arguments())
        yield from _value(self._calls.source)
        return not self._known or key in _OTHERS

    def begin(self) -> bool:
        """Begin a call that has a name and no arguments, or had them before its name."""
        if self._name and not self.begun:
            self._calls.begin(self._name)
            self._calls.add(self._arguments or '{}')
            self.begun = True
        return self.begun

    def _read_name(self) -> Reading[bool]:
        source = self._calls.source
        opening = yield from source.begins('"', '{')
        if opening == '{' and not self._wrapped:  # {"type": "function", "function": {"name": …}}
            self._wrapped = True
            return (yield from _members(source, self))
        if opening != '"':
            return False
        self._name = yield from _string(source)
        return self._calls.knows(self._name) or (bool(self._name) and not self._known)

    def _read_arguments(self) -> Reading[bool]:
        if not self._name:
            self._arguments = yield from _value(self._calls.source)
            return True
        self.begun = self.begun or (yield from _arguments(self._calls, self._name))
        return self.begun


def _object(calls: Calls, known: bool) -> Reading[bool]:
    """Read the object of one call after its opening brace."""
    draft = _Draft(calls, known)
    complete = yield from _members(calls.source, draft)
    return draft.begun or (complete and draft.begin())


def _members(source: Incoming, draft: _Draft) -> Reading[bool]:
    """Read the members of an object and its closing brace; False where it is not one of a call."""
    while True:
        opening = yield from source.begins('"', '}')
        if opening != '"':
            return bool(opening)
        key = yield from _string(source)
        if not (yield from source.begins(':')) or not (yield from draft.member(key)):
            return False
        if not (yield from source.begins(',')):
            return bool((yield from source.begins('}')))


def _another(calls: Calls, known: bool) -> Reading[bool]:
    """Read one more object, if there is one."""
    source = calls.source
    source.mark()
    yield from source.begins(',', ';')
    if (yield from source.begins('{')) and (yield from _object(calls, known)):
        return True
    source.rewind()
    return False


def _arguments(calls: Calls, name: str) -> Reading[bool]:
    """Begin the call, and pass its arguments on as they come."""
    source = calls.source
    first = yield from source.begins('{', '"', 'null')
    if first == '{':
        space = yield from source.match(_SPACE, MOST_HEAD)
        if source.text[:1] not in {'"', '}'}:
            return False
        calls.begin(name)
        calls.add('{' + space)
        yield from _rest(source, '{', calls.add)
    elif first:
        arguments = yield from _encoded(source) if first == '"' else _nothing()
        if not arguments:
            return False
        calls.begin(name)
        calls.add(arguments)
    return bool(first)


def _encoded(source: Incoming) -> Reading[str]:
    """Read arguments that were written as a string with JSON in it; '' where that is no object."""
    parts = ['"']
    yield from _rest(source, '"', parts.append)
    try:
        text = json.loads(''.join(parts))
    except ValueError:
        return ''
    return text if text.strip().startswith('{') else ''


def _nothing() -> Reading[str]:
    yield from ()
    return '{}'


def _value(source: Incoming) -> Reading[str]:
    """Read a JSON value."""
    first = yield from source.begins('{', '[', '"')
    if not first:
        yield from source.match(_SPACE, MOST_HEAD)
        return (yield from source.match(_SCALAR, MOST_HEAD))
    parts = [first]
    yield from _rest(source, first, parts.append)
    return ''.join(parts)


def _string(source: Incoming) -> Reading[str]:
    """Read a string after its opening quote; '' where it is too long for a name."""
    text = yield from source.match(_STRING, MOST_HEAD)
    if not (yield from source.begins('"')):
        return ''
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return ''


def _rest(source: Incoming, first: str, pass_on: Callable[[str], None]) -> Reading[None]:
    """Pass on the rest of a JSON value that begins with `first`; it ends as well where it cannot be JSON."""
    value = _Json(first)
    while True:
        end = value.end(source.text)
        if source.text:
            pass_on(source.take(len(source.text) if end is None else end))
        if end is not None or source.ended:
            return
        yield


class _Json:
    """Finds the end of a JSON value that comes in pieces."""

    def __init__(self, first: str) -> None:
        self._in_string = first == '"'
        self._depth = 0 if self._in_string else 1
        self._escaped = False

    def end(self, text: str) -> int | None:
        """Return where in the next piece the value ends, None if it goes on."""
        at = 0
        while at < len(text):
            if self._escaped:
                at, self._escaped = at + 1, False
            found = (_IN_STRING if self._in_string else _STRUCTURE).search(text, at)
            if not found:
                return None
            at = found.end()
            if found[0] not in '"\\{}[]':
                return found.start()
            self._step(found[0])
            if not self._in_string and not self._depth:
                return at
        return None

    def _step(self, character: str) -> None:
        match character:
            case '"':
                self._in_string = not self._in_string
            case '\\':
                self._escaped = True
            case '{' | '[':
                self._depth += 1
            case _:
                self._depth -= 1
