"""Random grammars and JSON schemas: sound ones, nearly sound ones, and traps for those who read them."""

import json
from random import Random
from typing import Any

from inference.fuzzing.texts import WORDS, random_text

GRAMMARS = (
    'root ::= "yes" | "no"',
    'root ::= [a-z]+',
    'root ::= [^\\x00-\\x1F]{1,40}',
    'root ::= "hello" (" " word){0,8}\nword ::= "cat" | "dog" | [äöü]',
    'root ::= item+\nitem ::= "- " [^\\n]+ "\\n"',
    'root ::= expression\nexpression ::= term ("+" term)*\nterm ::= [0-9]+ | "(" expression ")"',
    'root ::= .*',
    'root ::= ""',
    'root ::= <think> .* </think>',
)
BAD_GRAMMARS = (
    'root ::= root "a" | "b"', 'root ::= missing', 'other ::= "x"', 'root ::= [a-', 'root ::= "a"{5,3}', '::=',
    'root ::= "a"{0,999999}', 'root ::= ' + '(' * 5000 + '"a"' + ')' * 5000, 'root ::= a a\na ::= b b\nb ::= a?',
    'root ::= "\\uD800"', 'root ::= ' + '"a" | ' * 3000, 'root ::= x*\nx ::= ""', 'root ::= [z-a]',
    'root ::= "a" # ' + 'x' * 9000,
)  # fmt: skip
TYPES = ('object', 'array', 'string', 'number', 'integer', 'boolean', 'null', ['string', 'null'])
SCHEMAS: tuple[Any, ...] = (
    {},
    True,
    {
        'type': 'object',
        'properties': {'name': {'type': 'string'}, 'age': {'type': 'integer', 'minimum': 0}},
        'required': ['name'],
    },
    {'type': 'array', 'items': {'enum': ['a', 1, None, {'x': [True]}]}, 'minItems': 1, 'maxItems': 3},
    {'anyOf': [{'type': 'number'}, {'type': 'null'}, {'const': 'ä'}]},
    {'$ref': '#/$defs/node', '$defs': {'node': {'type': 'object', 'properties': {'next': {'$ref': '#/$defs/node'}}}}},
    {'$ref': '#'},
    {'$defs': {'a': {'$ref': '#/$defs/b'}, 'b': {'$ref': '#/$defs/a'}}, '$ref': '#/$defs/a'},
    {'allOf': [{'$ref': '#'}, {'type': 'object'}]},
    {'$ref': 'https://example.org/schema.json'},
    {'type': 'string', 'pattern': '^(a|b)+[0-9]{2,}$', 'maxLength': 12},
    {'type': 'string', 'pattern': '(((((((((('},
    {'type': 'string', 'minLength': 10**12},
    {'type': 'integer', 'minimum': -(10**30), 'maximum': 10**30},
    {'type': 'object', 'additionalProperties': {'type': 'boolean'}, 'patternProperties': {'^x': {}}},
    {'type': ['string', 'nothing']},
    {'type': 5, 'properties': [], 'required': 'name', 'items': 1},
    {'enum': []},
    {'oneOf': []},
    False,
)  # fmt: skip


def random_grammar(dice: Random) -> str:
    """Return a grammar in GBNF: sound, nearly sound, or none at all."""
    match dice.choice(('sound', 'sound', 'nearly', 'bad', 'noise')):
        case 'sound':
            return dice.choice(GRAMMARS)
        case 'nearly':
            return _mutated(dice, dice.choice((*GRAMMARS, *BAD_GRAMMARS)))
        case 'bad':
            return dice.choice(BAD_GRAMMARS)
        case _:
            return random_text(dice)


def random_schema(dice: Random) -> str:
    """Return a JSON schema: sound, made up of random parts, cyclic, nested for ever, or no JSON."""
    match dice.choice(('known', 'known', 'made up', 'nested', 'nearly', 'noise')):
        case 'known':
            return json.dumps(dice.choice(SCHEMAS))
        case 'made up':
            return json.dumps(schema_of_parts(dice, depth=4))
        case 'nested':
            depth = dice.choice((10, 100, 20_000))
            return '{"items":' * depth + '{}' + '}' * depth
        case 'nearly':
            return _mutated(dice, json.dumps(dice.choice(SCHEMAS)))
        case _:
            return random_text(dice)


def schema_of_parts(dice: Random, depth: int) -> Any:
    """Return a schema of random parts, some of which make no sense together."""
    if depth == 0:
        return dice.choice(
            ({}, True, {'type': 'string'}, {'type': 'integer'}, {'$ref': '#'}, {'enum': [1, 'a']}, None, 7)
        )
    parts: dict[str, Any] = {}
    for _ in range(dice.choice((1, 1, 2, 4))):
        inner = schema_of_parts(dice, depth - 1)
        name, value = dice.choice((
            ('type', dice.choice(TYPES)),
            ('properties', {dice.choice(WORDS): inner for _ in range(2)}),
            ('required', dice.choices(WORDS, k=2)),
            ('items', inner),
            ('prefixItems', [inner, inner]),
            ('additionalProperties', inner),
            ('anyOf', [inner, {}]),
            ('allOf', [inner, inner]),
            ('oneOf', [inner]),
            ('not', inner),
            ('minItems', dice.choice((0, 1, 5, 1000, -1))),
            ('maxLength', dice.choice((0, 1, 5, 100_000, 'x'))),
            ('minimum', dice.choice((0, -7, 2.5, 10**20))),
            ('pattern', dice.choice(('^a+$', '[', '(?=x)', '\\d{3}', random_text(dice)[:30]))),
            ('format', dice.choice(('date', 'uuid', 'email', 'odd'))),
            ('const', dice.choice((1, 'ä"\\', [None], {'a': {}}))),
            ('enum', [random_text(dice)[:10], 1, None]),
            ('$ref', dice.choice(('#', '#/properties/cat', '#/$defs/x', 'other.json', '#/%7Bx', 5))),
        ))  # fmt: skip
        parts[name] = value
    return parts


def _mutated(dice: Random, text: str) -> str:
    """Change a few characters of a text: leave some out, put others in."""
    letters = list(text[:2000])
    for _ in range(dice.choice((1, 1, 3))):
        place = dice.randrange(len(letters) + 1)
        letters[place : place + dice.choice((0, 0, 1, 5))] = dice.choice(
            ('', '"', '{', ')', '[', '::=', '\\', '|', '\n', '0', 'ä', '\0')
        )
    return ''.join(letters)
