"""A grammar as a graph of nodes that `automaton.py` walks, free of what would make a walk endless.

llama.cpp ends the process on a rule that begins with itself behind an empty one; here it is an InvalidRequest.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar, assert_never

from inference.errors import InvalidRequest
from inference.gbnf import Alternatives, Group, Item, NamedToken, Reader, Reference, Repeat, Set, mistake, shown

MOST_NODES = 50_000
"""Of one grammar, its repetitions written out; a literal character is one."""
MOST_STEPS = 1_000_000
"""In the search for left recursion, which is quadratic in odd cases."""
CACHED_GRAMMARS = 8


@dataclass(eq=False, slots=True)
class Rule:
    """A name and where its graph begins."""

    name: str
    entry: 'Node' = field(init=False, repr=False)


@dataclass(eq=False, slots=True)
class Chars:
    """Reads one character out of a set."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    next: 'Node'

    def matches(self, low: int, high: int) -> bool:
        """Return whether one of the code points from `low` to `high` is in the set."""
        place = bisect_right(self.starts, high) - 1
        return place >= 0 and self.ends[place] >= low


@dataclass(eq=False, slots=True)
class Token:
    """Reads the token of this text, or with `negated` any other."""

    text: str
    negated: bool
    next: 'Node'


@dataclass(eq=False, slots=True)
class Fork:
    """Goes on with any of its branches; reads nothing."""

    branches: tuple['Node', ...]


@dataclass(eq=False, slots=True)
class Call:
    """Goes through a rule and then on with `next`."""

    rule: Rule
    next: 'Node'


@dataclass(eq=False, slots=True)
class End:
    """The end of a rule."""


Node = Chars | Token | Fork | Call | End
_N = TypeVar('_N', bound=Node)
END = End()


@dataclass(frozen=True, eq=False, slots=True)
class Grammar:
    """A grammar that can be walked without surprises; `tokens` are the texts of the tokens that it names."""

    root: Rule
    tokens: frozenset[str]


@lru_cache(CACHED_GRAMMARS)
def read_grammar(text: str) -> Grammar:
    """Read GBNF. Raises InvalidRequest with the line and what is wrong there."""
    return _Compiler(text).grammar()


class _Compiler:
    """Connects the rules of a text to a graph, each item to the one that follows it."""

    def __init__(self, text: str) -> None:
        self._text, self._sources = text, Reader(text).rules()
        self._rules = {name: Rule(name) for name in self._sources}
        self._left = MOST_NODES
        self._tokens: set[str] = set()

    def grammar(self) -> Grammar:
        if 'root' not in self._rules:
            raise InvalidRequest('The grammar has no rule named root. It needs one: that is what the reply follows.')
        for name, source in self._sources.items():
            self._rules[name].entry = self._alternatives(source, END)
        _refuse_left_recursion(self._rules.values())
        return Grammar(self._rules['root'], frozenset(self._tokens))

    def _alternatives(self, alternatives: Alternatives, after: Node) -> Node:
        branches = [self._sequence(items, after) for items in alternatives]
        return self._new(Fork(tuple(branches))) if len(branches) > 1 else branches[0]

    def _sequence(self, items: Sequence[Item], after: Node) -> Node:
        for item in reversed(items):
            after = self._item(item, after)
        return after

    def _item(self, item: Item, after: Node) -> Node:
        match item:
            case Set(points):
                return self._new(Chars(tuple(low for low, _ in points), tuple(high for _, high in points), after))
            case NamedToken(text, negated):
                self._tokens.add(text)
                return self._new(Token(text, negated, after))
            case Reference(name, at):
                if name not in self._rules:
                    raise mistake(self._text, at, f'there is no rule named {shown(name)}')
                return self._new(Call(self._rules[name], after))
            case Group(alternatives):
                return self._alternatives(alternatives, after)
            case Repeat(inner, least, most):
                return self._repeat(inner, least, most, after)
            case _ as never:
                assert_never(never)

    def _repeat(self, item: Item, least: int, most: int | None, after: Node) -> Node:
        if isinstance(item, Group) and max(least, most or 0) > 1:
            item = self._named(item)
        node = after
        if most is None:
            node = loop = self._new(Fork(()))
            loop.branches = (self._item(item, loop), after)
        else:
            for _ in range(most - least):
                node = self._new(Fork((self._item(item, node), after)))
        for _ in range(least):
            node = self._item(item, node)
        return node

    def _named(self, item: Item) -> Reference:
        """Make a rule of what is repeated, so that each time costs one node."""
        rule = Rule(f'part {len(self._rules)}')
        self._rules[rule.name] = rule
        rule.entry = self._item(item, END)
        return Reference(rule.name, 0)

    def _new(self, node: _N) -> _N:
        self._left -= 1
        if self._left < 0:
            raise InvalidRequest(
                f'The grammar is too large: with its repetitions written out it has more than {MOST_NODES:,} parts. '
                'Lower the numbers in { } or leave alternatives out.'
            )
        return node


def _refuse_left_recursion(rules: Iterable[Rule]) -> None:
    """Raise InvalidRequest if a rule can come back to itself before anything was read: that never ends."""
    empty: set[Rule] = set()
    graph: dict[Rule, set[Rule]] = {}
    callers: defaultdict[Rule, set[Rule]] = defaultdict(set)
    todo, steps = list(rules), 0
    while todo:
        rule = todo.pop()
        graph[rule], can_be_empty, looked_at = _first_calls(rule, empty)
        for called in graph[rule]:
            callers[called].add(rule)
        if can_be_empty and rule not in empty:
            empty.add(rule)
            todo.extend(callers[rule])
        steps += looked_at
        if steps > MOST_STEPS:
            raise InvalidRequest('The grammar is too complicated: too many of its rules can be empty. Simplify them.')
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names = ' → '.join(rule.name[:40] for rule in error.args[1][:5])
        raise InvalidRequest(
            f'The grammar never ends: a rule begins with itself ({names}). Let it read something first.'
        ) from None


def _first_calls(rule: Rule, empty: AbstractSet[Rule]) -> tuple[set[Rule], bool, int]:
    """Return the rules that are entered before anything is read, whether the end is reached so, and the nodes seen."""
    calls: set[Rule] = set()
    seen: set[Node] = set()
    todo = [rule.entry]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        match node:
            case Fork(branches):
                todo.extend(branches)
            case Call(called, after):
                calls.add(called)
                if called in empty:
                    todo.append(after)
    return calls, END in seen, len(seen)
