"""From a JSON schema to a GBNF grammar, whose texts are JSON of that schema.

Objects have their properties in the order of the schema and no others, unless `additionalProperties` says so; spaces
and line breaks are where people put them, and never without end. What a grammar cannot say is not enforced:
uniqueItems, multipleOf, not, if, patternProperties, minProperties, contains, bounds of numbers with decimals, most
formats, and upper limits above 10,000.
Only references inside of the schema are followed.
"""

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import unquote

from inference.errors import InvalidRequest
from inference.gbnf import shown
from inference.json_text import NUMBER_DIGITS, integers_between, literal, pattern

MOST_DEPTH = 64
MOST_SCHEMAS = 5_000
"""Subschemas, each counted as often as it has to be joined with others."""
MOST_REPEATS = 10_000
CACHED_SCHEMAS = 8
_BEYOND = 10**18

Schema = Mapping[str, Any]

RULES = {
    'space': r'( " " | "\n" [ \t]{0,20} )?',
    'value': 'object | array | string | number | boolean | null',
    'object': '"{" space ( member ( "," space member )* space )? "}"',
    'member': 'string ":" space value',
    'array': '"[" space ( value ( "," space value )* space )? "]"',
    'string': r'"\"" char* "\""',
    'char': r'[^"\\\x00-\x1F\x7F] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} )',
    'digits': f'"0" | [1-9] [0-9]{{0,{NUMBER_DIGITS - 1}}}',
    'decimals': f'( "." [0-9]{{1,{NUMBER_DIGITS}}} )? ( [eE] [-+]? [0-9]{{1,3}} )?',
    'integer': '"-"? digits',
    'positive-number': 'digits decimals',
    'number': 'integer decimals',
    'boolean': '"true" | "false"',
    'null': '"null"',
    'date': '[0-9]{4} "-" ( "0" [1-9] | "1" [0-2] ) "-" ( "0" [1-9] | [12] [0-9] | "3" [01] )',
    'clock': '( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9]',
    'time': r'clock ":" [0-5] [0-9] ( "." [0-9]{1,9} )? ( "Z" | [+\-] clock )',
    'uuid': '[0-9a-fA-F]{8} ( "-" [0-9a-fA-F]{4} ){3} "-" [0-9a-fA-F]{12}',
}
FORMATS = {'date': 'date', 'time': 'time', 'date-time': 'date "T" time', 'uuid': 'uuid'}
ANNOTATIONS = {
    '$anchor', '$comment', '$defs', '$id', '$schema', 'default', 'definitions', 'deprecated', 'description',
    'examples', 'readOnly', 'title', 'writeOnly',
}  # fmt: skip
TYPES_BY_KEYWORD = {
    'properties': 'object', 'required': 'object', 'additionalProperties': 'object',
    'items': 'array', 'prefixItems': 'array', 'minItems': 'array', 'maxItems': 'array',
    'pattern': 'string', 'minLength': 'string', 'maxLength': 'string', 'format': 'string',
    'minimum': 'number', 'maximum': 'number', 'exclusiveMinimum': 'number', 'exclusiveMaximum': 'number',
}  # fmt: skip


@lru_cache(CACHED_SCHEMAS)
def gbnf_of_schema(text: str) -> str:
    """Return the grammar of a schema that is written as JSON. Raises InvalidRequest with the place of what is wrong."""
    try:
        return _Converter(json.loads(text, parse_constant=_no_number)).text()
    except ValueError as error:
        raise InvalidRequest(f'The JSON schema is not JSON: {error}.') from None
    except RecursionError:
        raise InvalidRequest('The JSON schema is nested too deeply.') from None


class _Converter:
    """Makes rules of one schema; each object, array and reference is a rule of its own."""

    def __init__(self, document: object) -> None:
        self._document, self._left = document, MOST_SCHEMAS
        self._rules = dict(RULES)
        self._references: dict[str, str] = {}

    def text(self) -> str:
        root = self._expression(self._document, '#', 0)
        return '\n'.join(f'{name} ::= {body}' for name, body in ({'root': root} | self._rules).items())

    def _expression(self, schema: object, path: str, depth: int) -> str:
        """Return what a value of this schema looks like: the name of a rule, a literal or a group."""
        if isinstance(schema, Mapping) and schema.keys() - ANNOTATIONS == {'$ref'}:
            return self._reference(schema['$ref'], path, depth)
        schema = self._flat(schema, path, depth)
        for keyword in ('anyOf', 'oneOf'):
            if keyword in schema:
                return self._any_of(schema, keyword, path, depth)
        if 'const' in schema:
            return literal(schema['const'])
        if 'enum' in schema:
            return _alternatives([literal(value) for value in _list(schema, 'enum', path)], path)
        implied = next((TYPES_BY_KEYWORD[key] for key in schema if key in TYPES_BY_KEYWORD), 'value')
        kinds = schema.get('type', implied)
        if not isinstance(kinds, list):
            return self._of_type(kinds, schema, path, depth)
        return _alternatives([self._of_type(kind, schema, path, depth) for kind in kinds], path)

    def _of_type(self, kind: object, schema: Schema, path: str, depth: int) -> str:
        match kind:
            case 'object':
                return self._object(schema, path, depth)
            case 'array':
                return self._array(schema, path, depth)
            case 'string':
                return self._string(schema, path)
            case 'integer' | 'number':
                return _number(kind, *_bounds(schema, path))
            case 'boolean' | 'null' | 'value':
                return kind
        raise _problem(path, f'{shown(kind)} is not a type of JSON')

    def _object(self, schema: Schema, path: str, depth: int) -> str:
        properties = dict(_mapping(schema, 'properties', path))
        required = dict.fromkeys(str(name) for name in _list(schema, 'required', path))
        properties |= {name: True for name in required if name not in properties}
        extra = schema.get('additionalProperties', not properties)
        if extra is True and not properties:
            return 'object'
        members = [
            (self._member(literal(name), value, f'{path}/properties/{name}', depth), name in required)
            for name, value in properties.items()
        ]
        others = '' if extra is False else self._member('string', extra, f'{path}/additionalProperties', depth)
        return self._rule(path, f'"{{" space {self._members(members, others, path)} space "}}"')

    def _member(self, name: str, schema: object, path: str, depth: int) -> str:
        return self._rule(path, f'{name} ":" space {self._expression(schema, path, depth + 1)}')

    def _members(self, members: list[tuple[str, bool]], others: str, path: str) -> str:
        """Return a list of members and whether each must be there, with a comma before all but the first that is."""
        rests = [self._rule(f'{path}-rest', f'( "," space {others} )*') if others else '']
        for member, is_required in reversed(members[1:]):
            this = f'"," space {member}' if is_required else f'( "," space {member} )?'
            rests.append(self._rule(f'{path}-rest', f'{this} {rests[-1]}'))
        starts = []
        for (member, is_required), rest in zip(members, reversed(rests), strict=False):
            starts.append(f'{member} {rest}')
            if is_required:
                return f'( {" | ".join(starts)} )'
        starts += [f'{others} {rests[0]}'] if others else []
        return f'( {" | ".join(starts)} )?' if starts else ''

    def _array(self, schema: Schema, path: str, depth: int) -> str:
        items = schema.get('items', 'prefixItems' not in schema)
        key = 'items' if isinstance(items, list) else 'prefixItems'
        least, most = _range(schema, 'minItems', 'maxItems', path)
        first = [
            self._expression(item, f'{path}/{key}/{number}', depth + 1)
            for number, item in enumerate(_list(schema, key, path)[:most])
        ]
        body = ' "," space '.join(first)
        if not isinstance(items, list) and items is not False and (most is None or most > len(first)):
            item = self._expression(items, f'{path}/items', depth + 1)
            done = len(first) or 1
            more = f'( "," space {item} )' + _times(max(0, least - done), None if most is None else most - done)
            body = f'{body} {more}' if first else f'( {item} {more} ){"" if least else "?"}'
        return self._rule(path, f'"[" space {body} space "]"')

    def _string(self, schema: Schema, path: str) -> str:
        if 'pattern' in schema:
            return self._rule(path, rf'"\"" {pattern(_text(schema, "pattern", path))} "\""')
        if form := FORMATS.get(str(schema.get('format'))):
            return self._rule(path, rf'"\"" {form} "\""')
        lengths = _range(schema, 'minLength', 'maxLength', path)
        return 'string' if lengths == (0, None) else self._rule(path, rf'"\"" char{_times(*lengths)} "\""')

    def _any_of(self, schema: dict[str, Any], keyword: str, path: str, depth: int) -> str:
        choices = _list(schema, keyword, path)
        rest = {key: value for key, value in schema.items() if key != keyword}
        found = [
            self._expression({**rest, 'allOf': [choice]} if rest else choice, f'{path}/{keyword}/{number}', depth + 1)
            for number, choice in enumerate(choices)
        ]
        return _alternatives(found, f'{path}/{keyword}')

    def _flat(self, schema: object, path: str, depth: int) -> dict[str, Any]:
        """Return a schema with what it refers to and everything of its `allOf` in it, and without annotations."""
        self._left -= 1
        if self._left < 0 or depth > MOST_DEPTH:
            raise _problem(path, 'from here on it is too large, too deeply nested, or refers to itself without end')
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            raise _problem(path, 'nothing is allowed here' if schema is False else 'this is no schema')
        parts = [self._found(schema['$ref'], path)] if '$ref' in schema else []
        parts += _list(schema, 'allOf', path)
        flat = {key: value for key, value in schema.items() if key not in {'$ref', 'allOf', *ANNOTATIONS}}
        for part in parts:
            flat = _joined(flat, self._flat(part, path, depth + 1), path)
        return flat

    def _reference(self, pointer: object, path: str, depth: int) -> str:
        found, place = self._found(pointer, path), str(pointer)
        if place not in self._references:
            self._references[place] = self._rule(place, '""')
            self._rules[self._references[place]] = self._expression(found, place, depth + 1)
        return self._references[place]

    def _found(self, pointer: object, path: str) -> object:
        """Return the subschema at a JSON pointer."""
        if not isinstance(pointer, str) or not re.match(r'#(/|$)', pointer):
            raise _problem(path, f'{shown(pointer)} is no reference to a place in this schema, like "#/$defs/name"')
        found = self._document
        for part in unquote(pointer).split('/')[1:]:
            key = part.replace('~1', '/').replace('~0', '~')
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                raise _problem(path, f'there is nothing at {shown(pointer)}')
        return found

    def _rule(self, path: str, body: str) -> str:
        """Add a rule, named after the end of `path`, and return its name."""
        stem = re.sub('[^a-zA-Z0-9-]+', '-', path[path.rfind('/') + 1 :][:40]).strip('-') or 'json'
        name = f'{stem}-{len(self._rules)}'
        self._rules[name] = body
        return name


def _joined(first: dict[str, Any], second: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a schema that asks for what both ask for, as far as one can be made by putting their keywords together."""
    both = first | second
    for keyword in first.keys() & second.keys():
        match keyword:
            case 'properties':
                one, other = _mapping(first, keyword, path), _mapping(second, keyword, path)
                shared = {name: {'allOf': [one[name], other[name]]} for name in one.keys() & other.keys()}
                both[keyword] = {**one, **other, **shared}
            case 'required':
                both[keyword] = [*_list(first, keyword, path), *_list(second, keyword, path)]
            case 'anyOf' | 'oneOf':
                raise _problem(path, f'{keyword} is asked for twice in one place')
    return both


def _number(kind: str, low: int | None, high: int | None) -> str:
    if kind == 'integer':
        return kind if low is high is None else integers_between(low, high)
    return 'positive-number' if low is not None and low >= 0 else kind


def _alternatives(choices: list[str], path: str) -> str:
    if not choices:
        raise _problem(path, 'there is nothing to choose from')
    return f'( {" | ".join(dict.fromkeys(choices))} )'


def _times(least: int, most: int | None) -> str:
    return f'{{{least},{"" if most is None else most}}}'


def _range(schema: Schema, low: str, high: str, path: str) -> tuple[int, int | None]:
    least, most = _number_of(schema, low, path), _number_of(schema, high, path)
    least = max(0, int(least or 0))
    if least > MOST_REPEATS:
        raise _problem(path, f'{low} is more than {MOST_REPEATS:,}')
    if most is not None and most < least:
        raise _problem(path, f'{high} is less than {low}')
    return least, None if most is None or most > MOST_REPEATS else int(most)


def _bounds(schema: Schema, path: str) -> tuple[int | None, int | None]:
    """Return the smallest and the largest integer that are allowed; None where there is no bound."""
    low, high = _number_of(schema, 'minimum', path), _number_of(schema, 'maximum', path)
    over, under = _number_of(schema, 'exclusiveMinimum', path), _number_of(schema, 'exclusiveMaximum', path)
    lows = [*([math.ceil(low)] if low is not None else []), *([math.floor(over) + 1] if over is not None else [])]
    highs = [*([math.floor(high)] if high is not None else []), *([math.ceil(under) - 1] if under is not None else [])]
    low, high = max(lows, default=None), min(highs, default=None)
    if low is not None and high is not None and low > high:
        raise _problem(path, 'no number is between these bounds')
    return low, high


def _number_of(schema: Schema, keyword: str, path: str) -> float | None:
    value = schema.get(keyword)
    if isinstance(value, bool):
        return None  # exclusiveMinimum of old schemas
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise _problem(f'{path}/{keyword}', 'this is no number')
    return min(max(value, -_BEYOND), _BEYOND)


def _list(schema: Schema, keyword: str, path: str) -> list[Any]:
    value = schema.get(keyword, [])
    if not isinstance(value, list):
        raise _problem(f'{path}/{keyword}', 'this is no list')
    return value


def _mapping(schema: Schema, keyword: str, path: str) -> Mapping[str, Any]:
    value = schema.get(keyword, {})
    if not isinstance(value, Mapping):
        raise _problem(f'{path}/{keyword}', 'this is no object')
    return value


def _text(schema: Schema, keyword: str, path: str) -> str:
    value = schema[keyword]
    if not isinstance(value, str):
        raise _problem(f'{path}/{keyword}', 'this is no text')
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f'{name} is no JSON')


def _problem(path: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f'The JSON schema cannot be used: at {path[:80]}: {reason}.')
