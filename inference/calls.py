"""The calls of tools in a reply, told as they grow."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from inference.chat import Tool, ToolCallDelta
from inference.parsing import Incoming, Reading

MOST_HEAD = 300
"""Characters of a call up to its arguments; what is longer is no call."""
JSON_TYPES: Mapping[type, set[str]] = {
    bool: {'boolean'}, int: {'integer', 'number'}, float: {'number'}, str: {'string'},
    dict: {'object'}, list: {'array'}, type(None): {'null'},
}  # fmt: skip


class Calls:
    """The calls of one reply, told as they grow."""

    def __init__(self, source: Incoming, tools: Sequence[Tool], tell: Callable[[ToolCallDelta], None]) -> None:
        self.source = source
        self.count = 0
        self._tools = {tool.name: tool.parameters for tool in tools}
        self._tell = tell

    def knows(self, name: str) -> bool:
        """Tell whether there is a tool of this name."""
        return name in self._tools

    def types(self, name: str, key: str) -> set[str]:
        """Return the JSON types which the parameter `key` of a tool may have; none where that is unknown."""
        properties = self._tools.get(name, {}).get('properties', {})
        return set(_types(properties.get(key))) if isinstance(properties, Mapping) else set()

    def begin(self, name: str) -> None:
        """Tell of a new call. From here on what is read is not given back."""
        self.source.commit()
        self._tell(ToolCallDelta(index=self.count, id=secrets.token_hex(5)[:9], name=name))
        self.count += 1

    def add(self, arguments: str) -> None:
        """Tell more of the arguments of the last call."""
        if arguments:
            self._tell(ToolCallDelta(index=self.count - 1, arguments=arguments))


Reader = Callable[[Calls], Reading[bool]]
"""Reads a call from behind the text that opens it.

It returns False, before it has told of anything, where no call follows; then what it took is given back.
"""


def parameters_of(tool: Tool) -> Mapping[str, Any]:
    """Return the schema of a tool's arguments, which is that of an empty object where it has none."""
    return tool.parameters or {'type': 'object', 'properties': {}}


def skip(source: Incoming, closers: Sequence[str]) -> Reading[None]:
    """Take each of `closers`, if it is there."""
    for closer in closers:
        yield from source.begins(closer)


def _types(schema: Any, *, within: bool = False) -> Iterator[str]:
    match schema:
        case {'type': str(name)}:
            yield name
        case {'type': [*names]}:
            yield from (name for name in names if isinstance(name, str))
        case {'enum': [*values]}:
            yield from (name for value in values for name in JSON_TYPES.get(type(value), ()))
        case {'anyOf': [*choices]} | {'oneOf': [*choices]} if not within:
            for choice in choices:
                yield from _types(choice, within=True)
