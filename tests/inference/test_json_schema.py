"""JSON schemas as grammars: which texts they allow, and which schemas are refused."""

import itertools
import json
import random
import re
from typing import Any

import pytest

from inference.automaton import Automaton
from inference.errors import InvalidRequest
from inference.grammar import read_grammar
from inference.json_schema import gbnf_of_schema
from inference.json_text import integers_between

PERSON = {
    'type': 'object',
    'properties': {
        'name': {'type': 'string', 'minLength': 1, 'maxLength': 5},
        'age': {'type': 'integer', 'minimum': 0, 'maximum': 120},
        'tags': {'type': 'array', 'items': {'enum': ['red', 'blue']}, 'maxItems': 2},
    },
    'required': ['name', 'age'],
}
TREE = {
    '$defs': {
        'node': {
            'type': 'object',
            'properties': {'value': {'type': 'integer'}, 'next': {'$ref': '#/$defs/node'}},
            'required': ['value'],
        }
    },
    '$ref': '#/$defs/node',
}


def fits(schema: Any, text: str) -> bool:
    """Return whether `text` is complete by the schema."""
    automaton = Automaton(read_grammar(gbnf_of_schema(json.dumps(schema))))
    state = automaton.read(automaton.start, text.encode())
    return state is not None and state.may_end


@pytest.mark.parametrize(
    ('schema', 'fit', 'misfit'),
    [
        ({}, ['{"a": [1, -2.5e3, null]}', '"x"', '12', 'true', '[ ]', '{}'], ['', 'tru', '01', '{"a"}', "'x'", '[1,]']),
        (True, ['1'], ['x']),
        ({'description': 'anything', 'title': 'A'}, ['1', '{}'], ['x']),
        ({'type': 'string'}, ['""', '"a\\n\\u00e9é🙂"'], ['"\n"', '"a', '"\\x"', 'a']),
        ({'type': 'number'}, ['0', '-1.5', '1e10', '123456'], ['.5', '1.', '--1', '1' * 17]),
        ({'type': 'integer'}, ['0', '-12'], ['1.0', '1e3', '00']),
        ({'type': ['integer', 'null']}, ['1', 'null'], ['"a"']),
        ({'type': 'number', 'minimum': 0}, ['1.5'], ['-1.5']),
        ({'enum': ['a', 1, None, {'b': [True]}]}, ['"a"', '1', 'null', '{"b": [true]}'], ['a', '2']),
        ({'const': 'say "é"\\'}, ['"say \\"é\\"\\\\"'], ['"say"']),
        ({'anyOf': [{'type': 'boolean'}, {'const': 7}]}, ['true', '7'], ['8']),
        ({'oneOf': [{'type': 'null'}, {'$ref': '#/oneOf/0'}]}, ['null'], ['8']),
        (
            PERSON,
            [
                '{"name": "Al", "age": 7}',
                '{"name":"Al","age":120,"tags":["red", "blue"]}',
                '{\n  "name": "A", "age": 0\n}',
            ],
            [
                '{"age": 7, "name": "Al"}',
                '{"name": "Al"}',
                '{"name": "", "age": 1}',
                '{"name": "Robert", "age": 1}',
                '{"name": "Al", "age": 121}',
                '{"name": "Al", "age": 1, "tags": ["green"]}',
                '{"name": "Al", "age": 1, "x": 2}',
                '{"name": "Al", "age": 1,}',
                '{"name": "Al", "age": 1, "tags": ["red","red","red"]}',
            ],
        ),
        (
            {'properties': {'a': {}, 'b': {}}},
            ['{}', '{"a":1}', '{"b":1}', '{"a":1,"b":2}'],
            ['{"b":1,"a":2}', '{,}', '{"c":1}'],
        ),
        (
            {'properties': {'a': {}}, 'additionalProperties': {'type': 'integer'}},
            ['{}', '{"a":"x"}', '{"z":1, "y":2}', '{"a":1,"z":3}'],
            ['{"z":"x"}'],
        ),
        ({'required': ['x']}, ['{"x": 1}'], ['{}']),
        ({'type': 'object'}, ['{}', '{"a": {"b": 1}}'], ['[]']),
        ({'type': 'object', 'additionalProperties': False}, ['{}', '{ }'], ['{"a":1}']),
        ({'additionalProperties': {'type': 'null'}}, ['{}', '{"q": null}'], ['{"q": 1}']),
        ({'type': 'array'}, ['[]', '[1, "a", []]'], ['[1 2]']),
        ({'items': {'type': 'integer'}, 'minItems': 2}, ['[1,2]', '[1, 2, 3]'], ['[]', '[1]', '["a","b"]']),
        ({'items': {'type': 'integer'}, 'minItems': 1, 'maxItems': 1}, ['[1]'], ['[]', '[1,2]']),
        ({'items': {}, 'maxItems': 0}, ['[]'], ['[1]']),
        ({'prefixItems': [{'const': 1}, {'const': 2}]}, ['[1, 2]'], ['[1]', '[1,2,3]']),
        (
            {'prefixItems': [{'const': 1}], 'items': {'const': 2}, 'maxItems': 3},
            ['[1]', '[1,2,2]'],
            ['[2]', '[1,2,2,2]'],
        ),
        ({'items': [{'const': 1}]}, ['[1]'], ['[]', '[1,1]']),
        (TREE, ['{"value": 1}', '{"value": 1, "next": {"value": 2, "next": {"value": 3}}}'], ['{"next": {}}']),
        ({'properties': {'a': {'$ref': '#'}}}, ['{"a": {"a": {}}}'], ['{"a": 1}']),
        ({'$ref': '#/$defs/a~1b%20c', '$defs': {'a/b c': {'const': 1}}}, ['1'], ['2']),
        (
            {
                'allOf': [
                    {'properties': {'a': {'type': 'integer'}}, 'required': ['a']},
                    {'properties': {'b': {}}, 'required': ['b']},
                ]
            },
            ['{"a": 1, "b": 2}'],
            ['{"a": 1}', '{"b": 1}'],
        ),
        (
            {
                'properties': {'kind': {}},
                'required': ['kind'],
                'anyOf': [{'properties': {'kind': {'const': 'x'}}}, {'properties': {'kind': {'const': 'y'}, 'n': {}}}],
            },
            ['{"kind": "x"}', '{"kind": "y", "n": 1}'],
            ['{"kind": "z"}', '{"kind": "x", "n": 1}', '{}'],
        ),
        ({'type': 'string', 'format': 'date'}, ['"2024-12-31"'], ['"2024-13-31"', '"24-1-1"']),
        (
            {'type': 'string', 'format': 'date-time'},
            ['"2024-12-31T23:59:59.5Z"', '"2024-12-31T00:00:00+02:00"'],
            ['"2024-12-31"'],
        ),
        ({'type': 'string', 'format': 'uuid'}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123"']),
        ({'type': 'string', 'format': 'email'}, ['"anything"'], []),
        ({'type': 'string', 'maxLength': 10**9}, ['"anything"'], ['1']),
        ({'type': 'integer', 'minimum': -(10**500), 'maximum': 10**500}, ['5', '-5'], ['"5"']),
    ],
)
def test_a_schema_allows_what_it_says(schema: Any, fit: list[str], misfit: list[str]) -> None:
    assert [text for text in fit if not fits(schema, text)] == []
    assert [text for text in misfit if fits(schema, text)] == []


@pytest.mark.parametrize(
    ('pattern', 'fit', 'misfit'),
    [
        ('^[a-z]+$', ['abc'], ['', 'aB']),
        ('b+', ['abc', 'bbb'], ['ac']),
        (r'^\d{3}-\w\s?$', ['123-a', '123-_ '], ['12-a', '123--']),
        (r'^(\+|00)[1-9]\d{1,3}$', ['+49', '0049'], ['49']),
        ('^(yes|no|n/a)?$', ['', 'yes', 'n/a'], ['maybe']),
        (r'^[^,"\\]*$', ['ab c'], ['a,b', 'a"', 'a\\']),
        ('^".*\\\\$', ['"a\\', '"\\'], ['"a']),
        ('^(?:a|b){2,}?$', ['ab', 'aba'], ['a']),
        ('^\\n[\\t\\r]$', ['\n\t'], ['n\t']),
        ('^é🙂[à-ü]$', ['é🙂û'], ['e🙂û']),
        ('^.$', ['a', '"', 'é'], ['\n', '']),
        ('^\\D\\S\\W$', ['xx-'], ['1x-', 'x -', 'xxx']),
    ],
)
def test_a_pattern_allows_what_it_matches(pattern: str, fit: list[str], misfit: list[str]) -> None:
    schema = {'type': 'string', 'pattern': pattern}

    for text in fit:
        assert re.search(pattern, text)
        assert fits(schema, json.dumps(text, ensure_ascii=False))
    assert [text for text in misfit if fits(schema, json.dumps(text, ensure_ascii=False))] == []


def test_integers_between_two_bounds_are_those_between() -> None:
    rng = random.Random(1)
    bounds: list[tuple[int | None, int | None]] = [
        (0, 0),
        (-1, 1),
        (0, 9),
        (10, 99),
        (99, 100),
        (-120, 35),
        (7, 1000),
        (-1000, -7),
        (5, None),
        (None, -3),
    ]
    bounds += [(low, low + rng.randrange(1500)) for low in rng.sample(range(-1500, 100), 20)]
    numbers = [*range(-1600, 1600), 10**15, -(10**15)]

    for low, high in bounds:
        automaton = Automaton(read_grammar(f'root ::= {integers_between(low, high)}'))
        states = {number: automaton.read(automaton.start, str(number).encode()) for number in numbers}
        found = [number for number, state in states.items() if state and state.may_end]
        assert found == [n for n in numbers if (low is None or n >= low) and (high is None or n <= high)], (low, high)


@pytest.mark.parametrize(
    ('schema', 'says'),
    [
        ('{', 'is not JSON'),
        ('[NaN]', 'is not JSON'),
        ('[' * 100_000, 'nested too deeply'),
        ('[1]', 'at #: this is no schema'),
        ('"string"', 'this is no schema'),
        ('false', 'nothing is allowed here'),
        ('{"type": "text"}', "'text' is not a type"),
        ('{"type": ["string", 5]}', '5 is not a type'),
        ('{"properties": {"a": {"type": "x"}}}', 'at #/properties/a: '),
        ('{"properties": []}', 'at #/properties: this is no object'),
        ('{"required": "a"}', 'at #/required: this is no list'),
        ('{"enum": []}', 'nothing to choose from'),
        ('{"anyOf": []}', 'nothing to choose from'),
        ('{"anyOf": [3]}', 'at #/anyOf/0: this is no schema'),
        ('{"$ref": "https://example.org/a.json"}', 'is no reference to a place in this schema'),
        ('{"$ref": 5}', 'is no reference'),
        ('{"$ref": []}', 'is no reference'),
        ('{"format": [], "type": {}}', 'is not a type'),
        ('{"$ref": "#/$defs/a"}', "there is nothing at '#/$defs/a'"),
        ('{"$ref": "#"}', 'begins with itself'),
        ('{"a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}, "anyOf": [{"$ref": "#/a"}]}', 'refers to itself'),
        ('{"allOf": [{"$ref": "#"}]}', 'refers to itself without end'),
        ('{"type": "array", "maxItems": -1}', 'maxItems is less than minItems'),
        ('{"type": "string", "minLength": "x"}', 'at #/minLength: this is no number'),
        ('{"type": "string", "minLength": 1e300}', 'minLength is more than 10,000'),
        ('{"type": "integer", "minimum": 5, "maximum": 4}', 'no number is between'),
        ('{"pattern": 5}', 'this is no text'),
        ('{"pattern": "(?=a)b"}', "The pattern '(?=a)b' cannot be followed: assert"),
        ('{"pattern": "("}', 'missing )'),
        ('{"pattern": "(a)\\\\1"}', 'groupref'),
        ('{"pattern": "(?i)a"}', 'flags'),
        ('{"pattern": "a^b"}', 'cannot be followed: at is'),
        ('{"pattern": "^\\\\u0000$"}', 'a character that JSON does not have'),
        ('{"pattern": "a{99999999999999999999}"}', 'cannot be followed'),
    ],
)
def test_a_schema_that_is_no_use_is_refused_with_a_reason(schema: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_grammar(gbnf_of_schema(schema))
    assert says in str(error.value)


@pytest.mark.parametrize(
    'schema',
    [
        {'properties': {f'p{number}': {} for number in range(1000)}},
        {'enum': [f'value {number}' for number in range(3000)]},
        {'anyOf': [{'const': number} for number in range(3000)]},
    ],
)
def test_large_schemas_are_no_problem(schema: Any) -> None:
    assert read_grammar(gbnf_of_schema(json.dumps(schema)))


@pytest.mark.parametrize(
    ('before', 'after'),
    [('{"items":', '}'), ('{"anyOf":[', ']}'), ('{"properties":{"a":', '}}'), ('{"const":{"a":', '}}')],
)
@pytest.mark.parametrize('depth', [900, 50_000])
def test_schemas_may_not_be_nested_without_end(before: str, after: str, depth: int) -> None:
    with pytest.raises(InvalidRequest, match='too deeply'):
        gbnf_of_schema(before * depth + '{}' + after * depth)


def test_schemas_that_double_with_each_reference_are_refused() -> None:
    doubling: dict[str, Any] = {'d40': {}, '$ref': '#/d0'}
    for number in range(40):
        doubling[f'd{number}'] = {'minItems': number, 'anyOf': [{'$ref': f'#/d{number + 1}'}] * 2}

    with pytest.raises(InvalidRequest, match='too large'):
        gbnf_of_schema(json.dumps(doubling))


def test_objects_allow_every_choice_of_their_optional_properties() -> None:
    names = 'abcd'
    schema = {'properties': {name: {'const': 1} for name in names}, 'required': ['c']}

    for chosen in itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(5)):
        text = json.dumps(dict.fromkeys(chosen, 1))
        assert fits(schema, text) == ('c' in chosen), text
