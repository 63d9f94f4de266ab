"""What a reply has to look like that must call a tool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference.calls import parameters_of
from inference.chat import Tool
from inference.errors import InvalidRequest
from inference.reasoning import ReplyStyle


@dataclass(frozen=True, kw_only=True, slots=True)
class CallSchema:
    """A reply that calls a tool: JSON of `schema` between two texts.

    It follows the first of `triggers` in the reply, perhaps after white space; without any it is all of the reply.
    """

    prefix: str
    schema: Mapping[str, Any]
    suffix: str
    triggers: tuple[str, ...] = ()


def tool_call_schema(
    style: ReplyStyle, tools: Sequence[Tool], tool_choice: str, *, in_reasoning: bool = False
) -> CallSchema | None:
    """Return what the reply must be where a tool has to be called, 'required' or one by its name.

    None where nothing is demanded, or where the model's format cannot be told by one schema: arguments that are not
    JSON, or several tools whose names stand outside of it.
    """
    if tool_choice in {'auto', 'none'}:
        return None
    offered = [tool for tool in tools if tool_choice in {'required', tool.name}]
    if not offered:
        wanted = 'one is required' if tool_choice == 'required' else f'"{tool_choice}" is to be called'
        raise InvalidRequest(f'There is no such tool in the request, but {wanted}. Add it, or leave the choice open.')
    calls, triggers = style.calls, (style.closes,) if in_reasoning else ()
    if not calls.json:
        return None
    if len(offered) == 1:
        prefix, suffix = calls.around(offered[0].name)
        return CallSchema(prefix=prefix, schema=parameters_of(offered[0]), suffix=suffix, triggers=triggers)
    if not calls.keys:
        return None
    try:
        schema = _any_of(offered, *calls.keys)
    except RecursionError:
        raise InvalidRequest('The parameters of a tool are nested too deeply. Give it simpler ones.') from None
    return CallSchema(prefix=calls.before, schema=schema, suffix=calls.after, triggers=triggers)


def _any_of(tools: Sequence[Tool], name: str, arguments: str) -> dict[str, Any]:
    """Return the schema of an object with the name and the arguments of one of `tools`."""
    places = {f'tool{number}': tool for number, tool in enumerate(tools)}
    return {
        'anyOf': [
            {
                'type': 'object',
                'properties': {name: {'const': tool.name}, arguments: {'$ref': f'#/$defs/{place}'}},
                'required': [name, arguments],
                'additionalProperties': False,
            }
            for place, tool in places.items()
        ],
        '$defs': {place: _moved(parameters_of(tool), f'#/$defs/{place}') for place, tool in places.items()},
    }


def _moved(schema: Any, root: str) -> Any:
    """Return a schema whose references are right where its root is `root`."""
    match schema:
        case {'$ref': str(target), **others} if target.startswith('#'):
            return {'$ref': root + target[1:], **{key: _moved(value, root) for key, value in others.items()}}
        case Mapping():
            return {key: _moved(value, root) for key, value in schema.items()}
        case list():
            return [_moved(item, root) for item in schema]
        case _:
            return schema
