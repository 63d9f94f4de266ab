"""Walks a grammar byte by byte, and remembers each step, so that it is computed once.

A state is the set of all places in the grammar that the text so far can have led to. Each place is a node and the
stack of what follows when its rule has ended. Stacks and states are made once each, so that equal ones are the same
object and what follows a state is looked up: checking a token costs a few dictionary look-ups.
llama.cpp computes each step anew and has no bound on the number of places, which doubles with each character of an
ambiguous grammar; here it is an error when it gets out of hand.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from inference.errors import InvalidRequest
from inference.grammar import END, Call, Chars, End, Fork, Grammar, Node, Token

MOST_PLACES = 10_000
"""In one state. A choice of so many words is one, an ambiguous grammar may reach it after a few characters."""
MOST_FEW = 1_000
FIRST_BUDGET = 500_000
MOST_REMEMBERED, STATE_COST = 100_000, 50
"""Places of all states together and what a state counts besides them; with more all of them are forgotten."""


@dataclass(eq=False, slots=True)
class Stack:
    """Where a rule goes on that is interrupted by another one, and below it the one that it interrupts itself."""

    node: Node
    below: 'Stack | None'


Position = tuple[Node, Stack | None]
Place = tuple[Chars | Token, Stack | None, int, int]
"""A node that reads something, its stack, and of a character that has begun the bits and how many bytes it lacks."""


@dataclass(eq=False, slots=True)
class State:
    """All the places where a text can have led to; with `may_end` the text can be complete.

    `few` are the rows of all the pieces that can come next, if these are few; None before `few_fitting` was asked.
    """

    places: frozenset[Place]
    may_end: bool
    names_tokens: bool = False
    after: dict[int, 'State | None'] = field(default_factory=dict)
    few: Sequence[int] | None = None
    _by_byte: dict[int, list[Place]] = field(default_factory=dict)

    @property
    def must_end(self) -> bool:
        """Return whether nothing can follow."""
        return self.may_end and not self.places

    def reading(self, byte: int) -> list[Place]:
        """Return the places that a byte may lead on from."""
        if not self._by_byte:
            found: defaultdict[int, list[Place]] = defaultdict(list)
            for place in self.places:
                for first in _first_bytes(place):
                    found[first].append(place)
            self._by_byte = dict(found)
        return self._by_byte.get(byte, [])


UNKNOWN = State(frozenset(), may_end=False)
"""What follows has not been computed yet."""


class Automaton:
    """The states of one grammar, as far as they were reached; begins in `start`.

    `budget` says how many places it may look at before it gives up: a microsecond each, some ten for a usual token.
    Raises TooAmbiguous when that is used up.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.tokens, self.budget = grammar.tokens, FIRST_BUDGET
        self._stacks: dict[Position, Stack] = {}
        self._states: dict[tuple[frozenset[Place], bool], State] = {}
        self._remembered = 0
        start = self._state([(grammar.root.entry, None)])
        assert start
        self.start = start

    def read(self, state: State, piece: bytes) -> State | None:
        """Return the state after some text, which may begin and end inside of a character; None if it does not fit."""
        for byte in piece:
            after = state.after.get(byte, UNKNOWN)
            if after is UNKNOWN:
                after = self._step(state, byte)
            if after is None:
                return None
            state = after
        return state

    def read_token(self, state: State, token: int, piece: bytes, ids: Mapping[str, int]) -> State | None:
        """Return the state after a token, which the grammar may also name; `ids` has the number for each name."""
        after = self.read(state, piece) if piece else None
        if not state.names_tokens:
            return after
        named = [
            (node.next, stack)
            for node, stack, _, missing in state.places
            if isinstance(node, Token) and not missing and (ids[node.text] == token) != node.negated
        ]
        return self._state(named, after.places if after else (), may_end=bool(after and after.may_end))

    def few_fitting(self, state: State, pieces: Sequence[bytes]) -> Sequence[int]:
        """Return what `fitting` yields if that is not much, otherwise nothing; always of the same `pieces`."""
        if state.few is None:
            rows = tuple(islice(self.fitting(state, pieces), MOST_FEW + 1))
            state.few = rows if len(rows) <= MOST_FEW else ()
            self._remembered += len(state.few)
        return state.few

    def fitting(self, state: State, pieces: Sequence[bytes]) -> Iterator[int]:
        """Yield the places in sorted `pieces` of those that can come next; what begins like a misfit is skipped."""
        row = 0
        while row < len(pieces):
            piece, after = pieces[row], state
            for length, byte in enumerate(piece, start=1):
                found = self.read(after, bytes((byte,)))
                if found is None:
                    row = bisect_left(pieces, _next_prefix(piece[:length]), row + 1)
                    break
                after = found
            else:
                yield row
                row += 1

    def _step(self, state: State, byte: int) -> State | None:
        begun: list[Place] = []
        done: list[Position] = []
        places = state.reading(byte)
        self._spend(len(places))
        for node, stack, bits, missing in places:
            char = _decoded(bits, missing, byte)
            if char is None or isinstance(node, Token) or not node.matches(*_code_points(*char)):
                continue
            if char[1]:
                begun.append((node, stack, *char))
            else:
                done.append((node.next, stack))
        after = state.after[byte] = self._state(done, begun)
        return after

    def _state(self, reached: list[Position], also: Iterable[Place] = (), *, may_end: bool = False) -> State | None:
        """Return the state of everything that can be read at some positions, and of other places."""
        places, ends = self._readable(reached)
        places.update(also)
        if not places and not ends and not may_end:
            return None
        key = frozenset(places), ends or may_end
        if found := self._states.get(key):
            return found
        self._remembered += STATE_COST + len(places)
        if self._remembered > MOST_REMEMBERED:
            self._remembered = 0
            self._states.clear()
            self._stacks.clear()
        return self._states.setdefault(key, State(*key, any(isinstance(node, Token) for node, *_ in places)))

    def _readable(self, positions: list[Position]) -> tuple[set[Place], bool]:
        """Return what can be read next, and whether the grammar can end, without anything being read before."""
        pending, seen, places, may_end = positions.copy(), set[Position](), set[Place](), False
        while pending:
            position = node, stack = pending.pop()
            if position in seen:
                continue
            seen.add(position)
            match node:
                case Chars() | Token():
                    places.add((node, stack, 0, 0))
                case Fork(branches):
                    pending.extend((branch, stack) for branch in branches)
                case Call(rule, after):
                    # A call at the end of a rule needs no stack: lists of any length stay flat.
                    pending.append((rule.entry, stack if after is END else self._stack(after, stack)))
                case End():
                    if stack:
                        pending.append((stack.node, stack.below))
                    else:
                        may_end = True
            if len(seen) > MOST_PLACES:
                raise TooAmbiguous
        self._spend(len(seen))
        return places, may_end

    def _spend(self, places: int) -> None:
        self.budget -= places
        if self.budget < 0:
            raise TooAmbiguous

    def _stack(self, node: Node, below: Stack | None) -> Stack:
        position = node, below
        return self._stacks.get(position) or self._stacks.setdefault(position, Stack(node, below))


class TooAmbiguous(InvalidRequest):
    """The grammar can read the same text in so many ways that following them all takes too long."""

    def __init__(self) -> None:
        super().__init__(
            'The grammar can read the same text in too many ways. '
            'Let its alternatives begin with different characters, and repeat nothing that can be empty.'
        )


def _next_prefix(prefix: bytes) -> bytes:
    """Return what comes after everything that begins with `prefix`, in the order of bytes."""
    short = prefix.rstrip(b'\xff')
    return short[:-1] + bytes((short[-1] + 1,)) if short else b'\xff' * 1000


def _first_bytes(place: Place) -> Iterable[int]:
    node, _, _, missing = place
    if isinstance(node, Token):
        return
    if missing:
        yield from range(0x80, 0xC0)
        return
    last = -1
    for start, end in zip(node.starts, node.ends, strict=True):
        # UTF-8 keeps the order of code points, so the first bytes of a range are one, too.
        first, last = max(_lead(start), last + 1), _lead(end)
        yield from range(first, last + 1)


def _lead(code: int) -> int:
    return chr(code).encode('utf-8', 'surrogatepass')[0] if code <= 0x10FFFF else 0xF8


def _decoded(bits: int, missing: int, byte: int) -> tuple[int, int] | None:
    """Return the bits of a UTF-8 character and the bytes it still lacks; None where `byte` cannot come next."""
    if missing:
        overlong = bits == 0 and byte < {2: 0xA0, 3: 0x90}.get(missing, 0)
        return None if byte >> 6 != 0b10 or overlong else (bits << 6 | byte & 0x3F, missing - 1)
    if byte < 0x80:
        return byte, 0
    if 0xC2 <= byte <= 0xDF:
        return byte & 0x1F, 1
    if 0xE0 <= byte <= 0xEF:
        return byte & 0x0F, 2
    return (byte & 0x07, 3) if 0xF0 <= byte <= 0xF4 else None


def _code_points(bits: int, missing: int) -> tuple[int, int]:
    """Return the first and the last character that can still become of these bits."""
    low = bits << 6 * missing
    return max(low, {2: 0x800, 3: 0x10000}.get(missing, 0)), low | (1 << 6 * missing) - 1
