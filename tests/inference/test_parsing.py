"""Pieces of tokens in, text that may be shown out."""

import random
from collections.abc import Iterator, Sequence

import pytest

from inference.parsing import TextStream


def stream(pieces: Sequence[bytes], *stop: str) -> list[str]:
    """Return what each piece brings, and at last what the end brings."""
    text = TextStream(stop)
    return [*(text.feed(piece) for piece in pieces), text.finish()]


def cut(data: bytes, source: random.Random) -> Iterator[bytes]:
    while data:
        length = source.randint(1, 4)
        yield data[:length]
        data = data[length:]


def test_a_character_waits_for_its_last_byte() -> None:
    bird, euro = '🐦'.encode(), '€'.encode()

    assert stream([bird[:1], bird[1:3], bird[3:] + b'!', euro[:2], euro[2:]]) == ['', '', '🐦!', '', '€', '']


def test_half_a_character_at_the_end_is_shown_as_such() -> None:
    assert stream([b'ab', '🐦'.encode()[:3]]) == ['ab', '', '\ufffd']


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert ''.join(stream([b'a\xff', b'\x80b'])) == 'a\ufffd\ufffdb'


def test_without_stop_strings_all_is_shown_at_once() -> None:
    assert stream([b'Hel', b'lo', b''], '') == ['Hel', 'lo', '', '']


def test_the_text_ends_before_a_stop_string() -> None:
    text = TextStream(['END'])

    assert [text.feed(piece) for piece in (b'one E', b'N', b'D two', b'three')] == ['one ', '', '', '']
    assert text.stopped
    assert text.finish() == ''


def test_what_only_began_like_a_stop_string_is_shown() -> None:
    assert stream([b'an E', b'N', b'GINES'], 'END') == ['an ', '', 'ENGINES', '']


def test_what_is_held_back_comes_at_the_end() -> None:
    text = TextStream(['END'])

    assert (text.feed(b'the EN'), text.finish(), text.stopped) == ('the ', 'EN', False)


def test_a_stop_string_may_end_with_the_last_half_character() -> None:
    text = TextStream(['a\ufffd'])

    assert (text.feed(b'xa\xf0\x9f'), text.finish(), text.stopped) == ('x', '', True)


def test_the_longest_possible_beginning_is_held_back() -> None:
    assert stream([b'aab', b'aac'], 'aabaax', 'ba') == ['', 'aa', '']
    assert stream([b'</s', b'pan>'], '</s>', '</span>') == ['', '', '']


@pytest.mark.parametrize('pieces', [[b'xabc'], [b'xa', b'bc'], [b'x', b'a', b'b', b'c']])
def test_of_stop_strings_that_overlap_the_first_to_be_complete_counts(pieces: list[bytes]) -> None:
    assert ''.join(stream(pieces, 'abc', 'b')) == 'xa'
    assert ''.join(stream(pieces, 'abc', 'bc')) == 'x'


@pytest.mark.parametrize('seed', range(40))
def test_the_text_does_not_depend_on_how_it_was_cut(seed: int) -> None:
    source = random.Random(seed)
    letters = 'ab\n€🐦é' if seed % 2 else 'aab'
    data = ''.join(source.choices(letters, k=60)).encode()
    if seed % 3 == 0:
        data = data.replace(b'a', b'\xf0', 2)
    stops = [''.join(source.choices(letters, k=source.randint(2, 6))) for _ in range(source.randint(0, 3))]

    whole = TextStream(stops)
    expected = whole.feed(data) + whole.finish()

    for _ in range(20):
        assert ''.join(stream(list(cut(data, source)), *stops)) == expected
    assert not any(stop in expected for stop in stops)
    assert data.decode(errors='replace').startswith(expected)


def test_nothing_is_held_back_that_cannot_become_a_stop_string() -> None:
    source = random.Random(1)
    text, stop = TextStream(['aaab']), 'aaab'
    shown = all_text = ''
    for piece in cut(''.join(source.choices('aac', k=200)).encode(), source):
        shown += text.feed(piece)
        all_text += piece.decode()
        held = all_text[len(shown) :]
        assert stop.startswith(held)
