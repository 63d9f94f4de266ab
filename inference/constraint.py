"""Holds a reply to a grammar or JSON schema, token by token."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from inference.automaton import FIRST_BUDGET, Automaton, State
from inference.errors import InvalidRequest
from inference.grammar import Grammar, read_grammar
from inference.json_schema import gbnf_of_schema
from inference.settings import SamplingSettings
from inference.vocabulary import Vocabulary

BUDGET_PER_TOKEN = 5_000
NO_TOKENS = 'The grammar asks for a text that this model has no tokens for. Change the grammar.'

_TOKEN_ID = re.compile(r'<\[(\d{1,9})\]>')


class Constraint:
    """Where a reply stands in its grammar; before one of `triggers` was written, nowhere yet, and all is allowed.

    The grammar sees what a reader sees: the pieces of the vocabulary. It describes what comes after the trigger, also
    where the trigger ends in the middle of a token.
    """

    def __init__(self, automaton: Automaton, vocabulary: Vocabulary, triggers: Iterable[str] = ()) -> None:
        self._automaton, self._vocabulary = automaton, vocabulary
        self._ids = _token_ids(automaton.tokens, vocabulary)
        self._triggers = [trigger.encode('utf-8', 'replace') for trigger in triggers]
        self._kept = max(map(len, self._triggers), default=1) - 1
        self._place: State | bytes = b'' if self._triggers else automaton.start
        self._budget = FIRST_BUDGET

    @property
    def must_end(self) -> bool:
        """Return whether the grammar is complete and allows nothing more."""
        return isinstance(self._place, State) and self._place.must_end

    def allows(self, token: int) -> bool:
        """Return whether this token can come next."""
        return self._after(token) is not None

    def accept(self, token: int) -> None:
        """Go on to what follows this token. Raises InvalidRequest if it is not allowed."""
        after = self._after(token)
        if after is None:
            raise InvalidRequest('The reply has to go on with a text that its grammar forbids. Change the grammar.')
        self._place = after
        self._budget += BUDGET_PER_TOKEN

    def few_allowed(self) -> list[int]:
        """Return every token that can come next if these are few, otherwise none; mostly known from before."""
        return self._tokens(self._automaton.few_fitting)

    def allowed(self) -> list[int]:
        """Return every token that can come next. Raises InvalidRequest if there is none."""
        found = self._tokens(self._automaton.fitting)
        found = found or [token for token in range(self._vocabulary.n_vocab) if self.allows(token)]
        if not found:
            raise InvalidRequest(NO_TOKENS)
        return found

    def _tokens(self, fitting: Callable[[State, Sequence[bytes]], Iterable[int]]) -> list[int]:
        place = self._place
        if isinstance(place, bytes) or place.names_tokens:
            return []
        pieces, tokens = self._vocabulary.by_piece
        self._automaton.budget = self._budget
        found = [tokens[row] for row in fitting(place, pieces)]
        self._budget = self._automaton.budget
        return [*found, *self._vocabulary.ends] if place.may_end and found else found

    def require_beginning(self) -> None:
        """Raise InvalidRequest if no token can be the first one."""
        start, (pieces, _) = self._automaton.start, self._vocabulary.by_piece
        if not start.may_end and not start.names_tokens and next(self._automaton.fitting(start, pieces), None) is None:
            raise InvalidRequest(NO_TOKENS)

    def _after(self, token: int) -> State | bytes | None:
        place = self._place
        if token in self._vocabulary.ends:
            return place if isinstance(place, bytes) or place.may_end else None
        self._automaton.budget = self._budget
        after = self._read(place, token)
        self._budget = self._automaton.budget
        return after

    def _read(self, place: State | bytes, token: int) -> State | bytes | None:
        piece = self._vocabulary.pieces[token]
        if isinstance(place, State):
            return self._automaton.read_token(place, token, piece, self._ids)
        text = place + piece
        ends = [at + len(trigger) for trigger in self._triggers if (at := text.find(trigger)) >= 0]
        if ends:
            return self._automaton.read(self._automaton.start, text[min(ends) :])
        return text[-self._kept :] if self._kept else b''


def constraint_of(settings: SamplingSettings, vocabulary: Vocabulary) -> Constraint | None:
    """Return what a request's grammar or schema asks for; for the thread of the engine. Raises InvalidRequest."""
    grammar = grammar_of(settings)
    if not grammar:
        return None
    automaton = vocabulary.kept(('automaton', grammar), lambda: Automaton(grammar))
    return Constraint(automaton, vocabulary, settings.grammar_triggers)


def check_constraint(settings: SamplingSettings, vocabulary: Vocabulary) -> None:
    """Raise InvalidRequest if the grammar or schema cannot be followed by this model; safe on any thread."""
    if grammar := grammar_of(settings):
        Constraint(Automaton(grammar), vocabulary).require_beginning()


def grammar_of(settings: SamplingSettings) -> Grammar | None:
    """Return the grammar of a request, or of its JSON schema; equal ones are the same object. Raises InvalidRequest."""
    if settings.grammar and settings.json_schema:
        raise InvalidRequest('A reply follows either a grammar or a JSON schema, not both. Leave one of them empty.')
    if settings.grammar_triggers and not settings.grammar and not settings.json_schema:
        raise InvalidRequest('There are grammar triggers, but neither a grammar nor a JSON schema that could start.')
    if '' in settings.grammar_triggers:
        raise InvalidRequest('A grammar trigger is empty. Leave it out; without triggers the grammar starts at once.')
    if settings.json_schema:
        return _grammar_of_schema(gbnf_of_schema(settings.json_schema))
    return read_grammar(settings.grammar) if settings.grammar else None


def _grammar_of_schema(gbnf: str) -> Grammar:
    try:
        return read_grammar(gbnf)
    except InvalidRequest as error:
        raise InvalidRequest(
            f'The JSON schema cannot be used, because of the grammar that comes of it: {error}'
        ) from None


def _token_ids(names: Iterable[str], vocabulary: Vocabulary) -> Mapping[str, int]:
    """Return the ids of the tokens that a grammar names, `<like this>` or `<[7]>`."""
    ids: dict[str, int] = {}
    for name in names:
        number = _TOKEN_ID.fullmatch(name)
        token = int(number[1]) if number else vocabulary.special.get(name)
        if token is None or token >= vocabulary.n_vocab:
            raise InvalidRequest(f'The grammar names the token {name[:40]}, which this model does not have.')
        ids[name] = token
    return ids
