"""Messages as a chat template wants to see them, and as text where it knows nothing of tools."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inference.call_formats import CallFormat
from inference.calls import parameters_of
from inference.chat import Message, Tool, ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What a template shows of a conversation, and in which form it wants the calls of tools."""

    system: bool = True
    tools: bool = False
    calls: bool = False
    results: bool = False
    text_arguments: bool = False
    """The arguments of a call as the text they are, not as a mapping."""
    no_content: bool = False
    """None where a call comes without text."""
    one_call: bool = False
    """One call in a message."""
    short_ids: bool = False
    """Ids of nine letters and digits, which Mistral insists on."""


def tool_list(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return tools as the OpenAI API writes them."""
    return [
        {
            'type': 'function',
            'function': {
                'name': tool.name,
                'description': tool.description,
                'parameters': dict(parameters_of(tool)),
            },
        }
        for tool in tools
    ]


def seen(messages: Sequence[Message], view: View) -> list[dict[str, Any]]:
    """Return messages as the template gets them."""
    if view.one_call:
        messages = list(_one_by_one(messages))
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_seen(message, view, names) for message in messages]


def as_text(messages: Sequence[Message], tools: Sequence[Tool], view: View, calls: CallFormat) -> list[Message]:
    """Put into text what the template does not show: the tools, their calls, their results."""
    if tools and not view.tools:
        messages = _with_tools(messages, tools, calls)
    made: list[Message] = []
    after_result = False
    for message in messages:
        shown = _in_text(message, view, calls)
        if after_result and shown.role == 'user':
            made[-1] = replace(made[-1], content=f'{made[-1].content}\n{shown.content}')
        else:
            made.append(shown)
        after_result = message.role == 'tool' and shown.role == 'user'
    return made


def without_system(messages: Sequence[Message]) -> list[Message]:
    """Put the text of the system message in front of the first message of the user."""
    system, *others = messages
    place = next((number for number, message in enumerate(others) if message.role == 'user'), None)
    if place is None:
        return [Message(role='user', content=system.content), *others]
    merged = Message(role='user', content=f'{system.content}\n\n{others[place].content}'.strip())
    return [*others[:place], merged, *others[place + 1 :]]


_TOOLS_AS_TEXT = """# Tools

You may call one or more of these functions to help with the request. They are described in JSON:
<tools>
{tools}
</tools>

To call a function, write its name, and its arguments as JSON, in exactly this form, once for each call:
{call}

Where no function is needed, answer as usual."""
_EXAMPLE = ToolCall(id='', name='function-name', arguments='{"argument-name": "value"}')


def _with_tools(messages: Sequence[Message], tools: Sequence[Tool], calls: CallFormat) -> list[Message]:
    listed = '\n'.join(json.dumps(tool, ensure_ascii=False) for tool in tool_list(tools))
    text = _TOOLS_AS_TEXT.format(tools=listed, call=calls.write([_EXAMPLE]))
    if messages[0].role != 'system':
        return [Message(role='system', content=text), *messages]
    return [replace(messages[0], content=f'{messages[0].content}\n\n{text}'.strip()), *messages[1:]]


def _in_text(message: Message, view: View, calls: CallFormat) -> Message:
    if message.role == 'tool' and not view.results:
        return Message(role='user', content=f'<tool_response>\n{message.content}\n</tool_response>')
    if message.tool_calls and not view.calls:
        content = f'{message.content}\n{calls.write(message.tool_calls)}'.strip()
        return replace(message, content=content, tool_calls=())
    return message


def _one_by_one(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield messages with one call each, followed by its result."""
    results = {message.tool_call_id: message for message in messages if message.tool_call_id}
    told: set[str] = set()
    for message in messages:
        calls = message.tool_calls
        if len(calls) > 1:
            for number, call in enumerate(calls):
                yield (
                    replace(message, tool_calls=(call,))
                    if not number
                    else Message(role='assistant', content='', tool_calls=(call,))
                )
                if call.id in results:
                    yield results[call.id]
                    told.add(call.id)
        elif message.tool_call_id not in told:
            yield message


def _seen(message: Message, view: View, names: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {'role': message.role, 'content': message.content}
    if message.reasoning:
        made |= {'reasoning_content': message.reasoning, 'thinking': message.reasoning}
    if message.tool_calls:
        made['tool_calls'] = [_seen_call(call, view) for call in message.tool_calls]
        made['content'] = message.content or (None if view.no_content else '')
    if message.tool_call_id:
        made['tool_call_id'] = _seen_id(message.tool_call_id, view)
    if name := message.name or names.get(message.tool_call_id, ''):
        made['name'] = name
    return made


def _seen_call(call: ToolCall, view: View) -> dict[str, Any]:
    arguments = call.arguments if view.text_arguments else _parsed(call.arguments)
    function = {'name': call.name, 'arguments': arguments}
    return {'id': _seen_id(call.id, view), 'type': 'function', 'function': function}


def _seen_id(id: str, view: View) -> str:
    fits = not view.short_ids or (len(id) == 9 and id.isascii() and id.isalnum())
    return id if fits else hashlib.sha256(id.encode()).hexdigest()[:9]


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
