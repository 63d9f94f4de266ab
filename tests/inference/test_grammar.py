"""Grammars in GBNF: what they allow, held against llama.cpp's own, and what is refused before anything runs."""

import contextlib
import ctypes
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from llama_cpp import llama_cpp as C  # noqa: N812

from inference.automaton import Automaton, TooAmbiguous
from inference.constraint import Constraint
from inference.errors import InvalidRequest
from inference.gbnf import EVERY, merged, others
from inference.grammar import read_grammar
from inference.runner import ModelRunner
from inference.settings import LoadSettings
from inference.vocabulary import Vocabulary
from tests.tiny_models import write_tiny_model

NO_VOCABULARY = Vocabulary(pointer=None, n_ctx_train=1, pieces=[], ends=frozenset())


@pytest.fixture(scope='module')
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabulary]:
    """Words, every byte, and some special tokens."""
    path = write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.gguf')
    settings = LoadSettings(n_ctx=256, n_threads=1, use_extra_bufts=False)
    runner = ModelRunner.load(path, settings, on_progress=lambda share: True)
    yield runner.vocabulary
    runner.close()


def fits(grammar: str, text: str | bytes) -> bool:
    """Return whether `text` is complete by the grammar."""
    automaton = Automaton(read_grammar(grammar))
    state = automaton.read(automaton.start, text.encode() if isinstance(text, str) else text)
    return state is not None and state.may_end


@pytest.mark.parametrize(
    ('grammar', 'fit', 'misfit'),
    [
        ('root ::= "a" | "bc"', ['a', 'bc'], ['', 'b', 'abc', 'ac']),
        ('root ::= "a"? [b-d]* "e"+', ['e', 'ae', 'bcde', 'abee'], ['', 'a', 'ab', 'ea']),
        ('root ::= "a"{2} "b"{0,2} "c"{1,}', ['aac', 'aabbcc'], ['ac', 'aabbbc', 'aabb']),
        ('root ::= [^a-z\\n] .', ['Ab', '1\n', 'é🙂'], ['ab', '\na', 'A']),
        ('root ::= "\\"\\\\\\n\\x41\\u00e9\\U0001F642"', ['"\\\nAé🙂'], ['"']),
        ('root ::= [\\]\\-a^]+', [']-a^'], ['b']),
        ('root ::= [a-]', ['a', '-'], ['b']),
        ('root ::= a b # the rest\na ::= "1" |\n  "2"\n\n# more\nb ::= (\n  "x"\n  | "y"\n)', ['1x', '2y'], ['1', 'x']),
        ('root ::= "(" root ")" | ""', ['', '()', '((()))'], ['(', ')(']),
        ('root ::= ("a" | "b"? | "c"+)*', ['', 'abcc', 'bbb'], ['d']),
        ('root ::= item ("," item)*\nitem ::= [0-9]+', ['1', '1,22,3'], ['', ',', '1,']),
        ('root ::= "a"\nroot ::= "b"', ['b'], ['a']),
        ('root-2 ::= "x"\nroot ::= root-2{3}', ['xxx'], ['xx']),
        ('root ::= [à-ü]{2}', ['éü'], ['ée', 'é', b'\xc3\xa9\xc3', b'\xe0\x83\xa9\xc3\xa9']),
        (
            'root ::= .',
            [b'\xf0\x9f\x99\x82'],
            [b'\xff', b'\xc0\x80', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'\x80', b'\0'],
        ),
    ],
)
def test_a_grammar_allows_what_it_says(grammar: str, fit: list[str], misfit: list[str]) -> None:
    assert [text for text in fit if not fits(grammar, text)] == []
    assert [text for text in misfit if fits(grammar, text)] == []


@pytest.mark.parametrize(
    ('grammar', 'says'),
    [
        ('', 'no rule named root'),
        ('start ::= "a"', 'no rule named root'),
        ('root ::= a b\na ::= "x"', "line 1: there is no rule named 'b'"),
        ('root ::= "a"\n\nroot := "b"', 'line 3: ::= is missing'),
        ('root ::= "a', 'line 1: a text ends with "'),
        ('root ::= "\\q"', 'line 1: a text ends with "'),
        ('root ::= [a', 'a set of characters ends with ]'),
        ('root ::= []', 'is empty'),
        ('root ::= [z-a]', 'from the lower to the higher'),
        ('root ::= ("a"', ') is missing before the end'),
        ('root ::= "a")', "nothing can be read at ')'"),
        ('root ::= *', "'*' does not say"),
        ('root ::= "a"**', "'*' does not say"),
        ('root ::= "a"{', 'does not say'),
        ('root ::= "a"{5,3}', '{5,3} has the larger number first'),
        ('root ::= "a"{1000000}', 'repeats too often'),
        ('root ::= "a"{99999999999999999999}', 'does not say'),
        ('root ::= ("ab"{40000}) ("ab"{40000})', 'too large'),
        ('root ::= <', 'a token is written'),
        ('root ::= ' + '(' * 5000, 'parentheses'),
        ('root ::= ' + '(' * 120_000 + '"a"' + ')' * 120_000, 'parentheses'),
        ('root ::= root "a" | "b"', 'begins with itself (root → root)'),
        ('root ::= a\na ::= b\nb ::= a | "x"', 'begins with itself'),
        ('root ::= a\na ::= b a "y" | "x"\nb ::= c\nc ::= ""', 'begins with itself (a → a)'),
        ('root ::= ("a"? root)* "b"', 'begins with itself'),
        ('root ::= \x00', "nothing can be read at '\\x00'"),
        ('root ::= "🙂" 🙂', "nothing can be read at '🙂'"),
    ],
)
def test_a_grammar_that_is_no_use_is_refused_with_a_reason(grammar: str, says: str) -> None:
    """llama.cpp ends the process on some of these, and takes all of the memory for others."""
    with pytest.raises(InvalidRequest) as error:
        read_grammar(grammar)
    assert says in str(error.value)
    assert str(error.value).startswith('The grammar ')


def test_a_chain_of_rules_may_be_long() -> None:
    rules = '\n'.join(f'r{number} ::= r{number + 1}' for number in range(5_000))

    assert fits(f'root ::= r0\n{rules}\nr5000 ::= "x"', 'x')


def test_a_grammar_with_thousands_of_words_is_no_problem() -> None:
    words = [f'word{number}x' for number in range(4000)]
    grammar = f'root ::= {" | ".join(words)}\n' + '\n'.join(f'{word} ::= [{word[4]}] "{word}"' for word in words)

    assert fits(grammar, '3word3999x')


@pytest.mark.parametrize('rest', ['', ' | "x"{1,40} a'])
def test_a_grammar_that_doubles_with_each_character_ends_with_an_error(rest: str) -> None:
    """llama.cpp takes four times as long for each character: after twenty of them, forever."""
    grammar = f'root ::= a\na ::= "x" a b | "x" a c | "x"{rest}\nb ::= "y"\nc ::= "y"'
    automaton = Automaton(read_grammar(grammar))

    with pytest.raises(TooAmbiguous):
        automaton.read(automaton.start, b'x' * 100)


def test_a_long_text_costs_the_same_everywhere() -> None:
    """What has been read before is not forgotten, and does not grow."""
    automaton = Automaton(read_grammar('root ::= "[" (item ("," item)*)? "]"\nitem ::= root | [a-z]+'))
    state = automaton.read(automaton.start, b'[[abc,x],[')
    assert state
    before = automaton.budget

    assert automaton.read(state, b'[abc,x],[y]],[' * 1000) is not None

    assert before - automaton.budget < 1000


def test_every_state_of_a_very_long_repetition_is_not_kept() -> None:
    automaton = Automaton(read_grammar('root ::= [a-z]{9000}'))

    assert automaton.read(automaton.start, b'x' * 9_000) is not None

    assert len(automaton._states) < 5000


GRAMMARS = {
    'list': 'root ::= item+\nitem ::= "- " [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ "\\n"',
    'arithmetic': (
        'root ::= (expr "=" ws term "\\n")+\nexpr ::= term ([-+*/] term)*\nterm ::= ident | num | "(" ws expr ")" ws\n'
        'ident ::= [a-z] [a-z0-9_]* ws\nnum ::= [0-9]+ ws\nws ::= [ \\t\\n]*'
    ),
    'json': (
        'root ::= object\nvalue ::= object | array | string | number | ("true" | "false" | "null") ws\n'
        'object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws\n'
        'array ::= "[" ws ( value ("," ws value)* )? "]" ws\n'
        'string ::= "\\"" ( [^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\\"" ws\n'
        'number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n'
        'ws ::= | " " | "\\n" [ \\t]{0,20}'
    ),
    'words': 'root ::= (" hello" | " the cat" | " " [a-z]+ ["."]?)+ ","? <|im_start|>?',
    'tokens': 'root ::= !<|im_start|>{0,3} <|im_start|> [a-z]+ <[265]>',
}


def random_grammar(seed: int) -> str:
    rng = random.Random(seed)
    atoms = ['"he"', '" hello"', '","', '[a-l]', '[^a-z]', '.', 'a', 'b', '"o w"', '[ -~]']

    def sequence(depth: int) -> str:
        items = []
        for _ in range(rng.randint(1, 3)):
            item = rng.choice(atoms) if rng.random() < 0.8 or depth else f'({alternatives(depth + 1)})'
            items.append(item + rng.choice(['', '', '', '?', '*', '+', '{2}', '{1,3}']))
        return ' '.join(items)

    def alternatives(depth: int) -> str:
        return ' | '.join(sequence(depth) for _ in range(rng.randint(1, 3)))

    return '\n'.join(f'{name} ::= {alternatives(0)}' for name in ('root', 'a', 'b'))


@pytest.mark.parametrize('name', GRAMMARS)
def test_the_tokens_that_a_grammar_allows_are_those_of_llama_cpp(vocabulary: Vocabulary, name: str) -> None:
    for seed in range(8):
        assert compared(vocabulary, GRAMMARS[name], seed) > 0


def test_that_holds_for_grammars_nobody_would_write(vocabulary: Vocabulary) -> None:
    steps = 0
    for seed in range(150):
        with contextlib.suppress(InvalidRequest, NotImplementedError):
            steps += compared(vocabulary, random_grammar(seed), seed, most=6)
    assert steps > 100


def compared(vocabulary: Vocabulary, grammar: str, seed: int, *, most: int = 25) -> int:
    """Walk at random through a grammar; returns how many steps were equal to llama.cpp's."""
    constraint = Constraint(Automaton(read_grammar(grammar)), vocabulary)
    theirs = C.llama_sampler_init_grammar(vocabulary.pointer, grammar.encode(), b'root')
    if not theirs:
        raise NotImplementedError('llama.cpp takes a repetition of what can be empty for left recursion')
    rng, steps = random.Random(seed), 0
    while steps < most:
        allowed = {token for token in constraint.allowed() if comparable(vocabulary, token)}
        assert allowed == {token for token in allowed_by(theirs, vocabulary) if comparable(vocabulary, token)}
        assert all(constraint.allows(token) == (token in allowed) for token in rng.sample(range(32, 128), 20))
        steps += 1
        goes_on = sorted(allowed - vocabulary.ends)
        if not goes_on:
            break
        token = rng.choice(goes_on)
        constraint.accept(token)
        C.llama_sampler_accept(theirs, token)
    C.llama_sampler_free(theirs)
    return steps


def comparable(vocabulary: Vocabulary, token: int) -> bool:
    """llama.cpp also takes bytes that UTF-8 does not have, and lets control tokens be read as their names."""
    piece = vocabulary.pieces[token]
    return token in vocabulary.ends or (piece.isascii() and piece not in {b'', b'\0'})


def allowed_by(theirs: Any, vocabulary: Vocabulary) -> set[int]:
    kind = np.dtype([('id', np.int32), ('logit', np.float32), ('p', np.float32)])
    data = np.zeros(vocabulary.n_vocab, kind)
    data['id'] = vocabulary.tokens
    pointer = data.ctypes.data_as(ctypes.POINTER(C.llama_token_data))
    C.llama_sampler_apply(theirs, ctypes.byref(C.llama_token_data_array(pointer, len(data), -1, False)))
    return set(data['id'][np.isfinite(data['logit'])].tolist())


def test_sets_of_characters_are_turned_around() -> None:
    points = [(0x61, 0x7A), (0x30, 0x39), (0x3A, 0x3B), (0x20, 0x20)]

    assert merged(points) == ((0x20, 0x20), (0x30, 0x3B), (0x61, 0x7A))
    assert merged([*others(points), *points]) == EVERY
    assert others(others(points)) == merged(points)
    assert others(EVERY) == ()
    assert others([]) == EVERY
