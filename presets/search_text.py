"""How texts are made comparable for the search, what a person looks for, and which part of a text shows it.

Everything is compared without case and accents. Scripts that are written without spaces are taken character by
character, so that any part of their text can be found.
"""

import functools
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

SNIPPET = 150
"""Characters of a text that are shown with a hit."""
BEFORE = 40
"""Characters of them that stand before the first hit."""
LONGEST = 200_000
"""Characters of a text in which places are looked for."""
MOST_TERMS = 12
PART = 20_000
"""Characters that are folded at once."""

# Han, kana, Hangul, Thai, Lao, Khmer and Myanmar.
_UNSPACED = (
    '\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff'
    '\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff'
)
_APART = re.compile(f'[{_UNSPACED}]')
_ASCII = {code: chr(code).lower() if chr(code).isalnum() else ' ' for code in range(128)}
_WORD = re.compile(r'\S+')
_PIECE = re.compile(r'\w+:"[^"]*"?|"[^"]*"?|\S+')
_SPACE = re.compile(r'\s+')


@dataclass(frozen=True)
class Span:
    """A piece of a text, and whether it is what was looked for."""

    text: str
    hit: bool = False


@dataclass(frozen=True)
class Term:
    """Words that must follow each other; the last one may go on unless the term is `exact`."""

    words: tuple[str, ...]
    exact: bool = False


@dataclass(frozen=True)
class Query:
    """What a person looks for: every term, in the chats that the filters leave."""

    terms: tuple[Term, ...] = ()
    pinned: bool = False
    archived: bool = False
    folder: str = ''
    model: str = ''

    @property
    def has_filter(self) -> bool:
        """Whether it names chats even without a word."""
        return self.pinned or self.archived or bool(self.folder or self.model)


def parse(text: str) -> Query:
    """Return what any text asks for; filters that are not known are words."""
    terms: list[Term] = []
    filters: dict[str, bool | str] = {}
    for piece in _PIECE.findall(text):
        name, colon, value = piece.partition(':')
        value = value.strip('"').strip()
        match name.casefold(), value.casefold():
            case 'is', 'pinned' | 'archived':
                filters[value.casefold()] = True
            case 'folder' | 'model', _ if colon:
                filters[name.casefold()] = value
            case _:
                terms.append(Term(tuple(words_of(fold(piece))), exact=len(piece) > 1 and piece[0] == piece[-1] == '"'))
    wanted = tuple(dict.fromkeys(term for term in terms if term.words))
    return Query(wanted[:MOST_TERMS], **filters)  # type: ignore[arg-type]


def fold(text: str) -> str:
    """Return the text without case and accents: words with spaces between them, whatever its script."""
    if text.isascii():
        return text.translate(_ASCII)
    # In parts, because one long call would hold up every other thread meanwhile.
    parts = (text[at : at + PART] for at in range(0, len(text), PART))
    return ''.join([''.join(map(_fold_letter, part)) for part in parts])


@functools.lru_cache(maxsize=4096)
def _fold_letter(letter: str) -> str:
    apart = unicodedata.normalize('NFKD', letter.casefold())
    bare = unicodedata.normalize('NFC', ''.join(mark for mark in apart if not unicodedata.combining(mark)))
    folded = ''.join(part if part.isalnum() else ' ' for part in bare.casefold())
    return f' {folded} ' if _APART.search(folded) else folded


def words_of(folded: str) -> list[str]:
    """Return the words of a text that was folded."""
    return folded.split()


def contains(folded: str, term: Term) -> bool:
    """Say whether a folded text has the term in it."""
    return next(_places([(word, 0, 0) for word in words_of(folded)], term), None) is not None


def marked(text: str, terms: Sequence[Term]) -> tuple[Span, ...]:
    """Return the whole text with what was looked for."""
    return tuple(_spans(text, _hits(text, terms), 0, len(text)))


def snippet(text: str, terms: Sequence[Term]) -> tuple[Span, ...]:
    """Return a part of the text around the first place that was looked for, in one line."""
    hits = _hits(text[:LONGEST], terms)
    start = _word_start(text, max(0, hits[0][0] - BEFORE)) if hits else 0
    end = min(len(text), start + SNIPPET)
    spans = list(_spans(text, hits, start, end))
    return (*([Span('… ')] if start else ()), *spans, *([Span(' …')] if end < len(text) else ()))


def _hits(text: str, terms: Sequence[Term]) -> list[tuple[int, int]]:
    """Return the places of all terms, in order and not overlapping."""
    places_of = list(accumulate(len(_fold_letter(letter)) for letter in text))  # where each letter ends when folded
    words = [
        (match[0], bisect_right(places_of, match.start()), bisect_left(places_of, match.end()) + 1)
        for match in _WORD.finditer(fold(text))
    ]
    places = sorted(place for term in terms for place in _places(words, term))
    hits: list[tuple[int, int]] = []
    for start, end in places:
        if hits and start < hits[-1][1]:
            hits[-1] = (hits[-1][0], max(end, hits[-1][1]))
        else:
            hits.append((start, end))
    return hits


def _places(words: Sequence[tuple[str, int, int]], term: Term) -> Iterator[tuple[int, int]]:
    *first, last = term.words
    length = len(term.words)
    for at in range(len(words) - length + 1):
        word = words[at + length - 1][0]
        fits = word == last or (not term.exact and word.startswith(last))
        if fits and all(words[at + place][0] == wanted for place, wanted in enumerate(first)):
            yield words[at][1], words[at + length - 1][2]


def _word_start(text: str, start: int) -> int:
    """Move a cut to the right, to where a word begins, if that is near."""
    space = _SPACE.search(text, max(0, start - 1), start + 20)
    return space.end() if space and start else start


def _spans(text: str, hits: Sequence[tuple[int, int]], start: int, end: int) -> Iterator[Span]:
    at = start
    for first, last in hits[bisect_right(hits, (start, 0)) :]:
        if first >= end:
            break
        if first > at:
            yield Span(_in_line(text[at:first]))
        yield Span(_in_line(text[first : min(last, end)]), hit=True)
        at = min(last, end)
    if at < end:
        yield Span(_in_line(text[at:end]))


def _in_line(text: str) -> str:
    return _SPACE.sub(' ', text)
