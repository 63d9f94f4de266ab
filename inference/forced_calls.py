"""The grammar of a reply that must call a tool."""

import json

from inference.chat import GenerationRequest
from inference.errors import InvalidRequest
from inference.json_schema import gbnf_of_schema
from inference.reasoning import ReplyStyle
from inference.settings import SamplingSettings
from inference.tool_calls import CallSchema, tool_call_schema


def sampling_for(request: GenerationRequest, style: ReplyStyle) -> SamplingSettings:
    """Return the request's settings, with the grammar of a call where one is demanded.

    Raises InvalidRequest where the request has a structure of its own besides.
    """
    call = tool_call_schema(style, request.tools, request.tool_choice)
    if not call:
        return request.sampling
    if request.sampling.grammar or request.sampling.json_schema:
        raise InvalidRequest('A reply that must call a tool cannot follow a grammar or schema, too. Leave one out.')
    return request.sampling.model_copy(update={'grammar': _grammar(call)})


def _grammar(call: CallSchema) -> str:
    root, _, rules = gbnf_of_schema(json.dumps(call.schema)).partition('\n')
    _, _, body = root.partition(' ::= ')
    return f'root ::= {_literal(call.prefix)} call {_literal(call.suffix)}\ncall ::= {body}\n{rules}'


def _literal(text: str) -> str:
    escaped = text.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n').replace('\t', '\\t')
    return f'"{escaped}"'
