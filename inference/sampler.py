"""The door to llama.cpp's samplers: one `Sampler` for each request chooses its tokens.

llama.cpp ends the process on a chain that selects nothing and on much of what its grammars meet, so chains are those
of `sampling.py`, and grammars are walked by `constraint.py` in its place.
"""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.chat import TokenChoice
from inference.constraint import Constraint, constraint_of
from inference.errors import DecodeFailed
from inference.sampling import (
    Likelihoods,
    Logits,
    PenaltyWindow,
    SamplerStep,
    candidates_needed,
    check_choice,
    has_penalties,
    sampler_chain,
)
from inference.settings import SamplingSettings
from inference.vocabulary import Vocabulary

PIECE_BYTES = 256
LIKELIEST = 512
"""How many of the likeliest tokens are tried first where the grammar forbids what was sampled."""

TokenIds = npt.NDArray[np.int32]
_TOKEN_DATA = np.dtype([('id', np.int32), ('logit', np.float32), ('p', np.float32)])


class Sampler:
    """Chooses the tokens of one request; belongs to the engine's thread.

    Raises InvalidRequest for settings that this model cannot follow. `choice` is what the last token was chosen from,
    if the settings or `choices` ask for it. While `grammar_waits`, the grammar neither forbids nor sees anything: for
    the time that the model thinks.

    A grammar is no part of the chain: that would check every token of the vocabulary. A token is sampled without it
    and checked alone. Only where it is forbidden, another one is sampled, with the next random number, of those
    among the likeliest that are allowed; of all that are allowed, where these are fewer than the chain looks at.
    """

    def __init__(self, settings: SamplingSettings, vocabulary: Vocabulary, *, choices: bool = False) -> None:
        check_choice(settings, vocabulary)
        self.choice: TokenChoice | None = None
        self.grammar_waits = False
        self._vocabulary, self._needed = vocabulary, candidates_needed(settings)
        self._n_top = min(settings.n_probs, vocabulary.n_vocab) if settings.n_probs or choices else None
        self._constraint = constraint_of(settings, vocabulary)
        # Every prompt has ended turns in it; to penalize their token would make replies that never end.
        self._penalties = PenaltyWindow(settings, vocabulary.ends) if has_penalties(settings) else None
        self._biased, self._biases = _biases(settings, vocabulary)
        self._views: dict[int, Logits] = {}
        steps = sampler_chain(settings, vocabulary)
        # The likeliest token is found sooner without the library.
        self._chain = None if steps == (('greedy', ()),) else Chain(steps, vocabulary)
        self._primed = self._closed = False

    @property
    def must_end(self) -> bool:
        """Return whether the grammar is complete and only the end of the reply can follow."""
        return bool(self._active and self._active.must_end)

    def prime(self, tokens: Sequence[int]) -> None:
        """Let penalties and DRY know what comes before the reply."""
        self._primed = True
        if self._penalties:
            self._penalties.add(*tokens[-self._penalties.size :])
        if self._chain:
            self._chain.prime(tokens)

    def sample(self, context: Any, row: int, tokens: Sequence[int]) -> int:
        """Choose the token that follows `row` of the last batch; `tokens` come before it, and prime if nothing did.

        Changes the scores of the row. Raises DecodeFailed if there are none, InvalidRequest at a dead end of a grammar.
        """
        if self._closed:
            raise DecodeFailed('This reply is over; nothing more can be sampled for it.')
        if not self._primed:
            self.prime(tokens)
        logits = self._scores(context, row)
        likelihoods = Likelihoods(logits, self._n_top, self._vocabulary) if self._n_top is not None else None
        if len(self._biased):
            logits[self._biased] += self._biases
        if self._penalties:
            self._penalties.penalize(logits)
        constraint = self._active
        token = self._allowed(constraint, context, row, logits) if constraint else self._any(context, row, logits)
        self._remember(token)
        self.choice = likelihoods.choice(token) if likelihoods else None
        return token

    def observe(self, token: int) -> None:
        """Take in a token that is part of the reply without having been sampled."""
        if not 0 <= token < self._vocabulary.n_vocab:
            raise DecodeFailed(f'The model has no token {token}.')
        if self._chain:
            self._chain.accept(token)
        self._remember(token)
        self.choice = None

    def close(self) -> None:
        """Give the memory back; nothing can be sampled afterwards."""
        self._closed, self._chain = True, None

    @property
    def _active(self) -> Constraint | None:
        return None if self.grammar_waits else self._constraint

    def _scores(self, context: Any, row: int) -> Logits:
        pointer = C.llama_get_logits_ith(context, row)
        if not pointer:
            raise DecodeFailed('llama.cpp computed no scores for this step. Load the model again.')
        address = ctypes.addressof(pointer.contents)
        logits = self._views.get(address)
        if logits is None:
            logits = self._views[address] = np.ctypeslib.as_array(pointer, (self._vocabulary.n_vocab,))
        # One that is not a number is the maximum to numpy.
        if not math.isfinite(logits.item(logits.argmax())):
            raise DecodeFailed('The model computed scores that are no numbers: its file or the settings are broken.')
        return logits

    def _any(self, context: Any, row: int, logits: Logits) -> int:
        return self._chain.sample(context, row) if self._chain else int(logits.argmax())

    def _allowed(self, constraint: Constraint, context: Any, row: int, logits: Logits) -> int:
        if constraint.must_end:
            return self._end(logits)
        chain = self._chain
        remembers = chain and chain.remembers
        token = (
            chain.choose(self._vocabulary.tokens, logits) if chain and remembers else self._any(context, row, logits)
        )
        if not constraint.allows(token):
            tokens = self._candidates(constraint, logits)
            token = chain.choose(tokens, logits[tokens]) if chain else int(tokens[logits[tokens].argmax()])
        if chain and remembers:
            chain.accept(token)
        return token

    def _candidates(self, constraint: Constraint, logits: Logits) -> TokenIds:
        found = constraint.few_allowed()
        if not found:
            count = min(len(logits), max(LIKELIEST, 2 * self._needed))
            likeliest = np.argpartition(logits, -count)[-count:].tolist()
            found = [token for token in likeliest if constraint.allows(token)]
            found = found if len(found) >= self._needed else constraint.allowed()
        return np.sort(np.array(found, np.int32))

    def _end(self, logits: Logits) -> int:
        if not self._vocabulary.ends:
            raise DecodeFailed('The grammar is complete, but this model has no token that ends a reply.')
        return max(self._vocabulary.ends, key=logits.__getitem__)

    def _remember(self, token: int) -> None:
        if self._penalties:
            self._penalties.add(token)
        if self._constraint and not self.grammar_waits:
            self._constraint.accept(token)


class Chain:
    """A chain of llama.cpp's samplers; freed with the object. What is accepted matters only if it `remembers`."""

    def __init__(self, steps: Sequence[SamplerStep], vocabulary: Vocabulary) -> None:
        self._native = _Native(C.llama_sampler_chain_init(C.llama_sampler_chain_default_params()))
        self.pointer = self._native.pointer
        for name, arguments in steps:
            C.llama_sampler_chain_add(self.pointer, _new(name, arguments, vocabulary))
        self.remembers = any(name in {'dry', 'adaptive_p'} for name, _ in steps)
        # DRY is the only one that wants to know what came before; its fourth argument says how much of that.
        self._window = next((arguments[3] for name, arguments in steps if name == 'dry'), 0)

    def prime(self, tokens: Sequence[int]) -> None:
        """Let DRY know what comes before the reply."""
        for token in tokens[-self._window :] if self._window else ():
            C.llama_sampler_accept(self.pointer, token)

    def sample(self, context: Any, row: int) -> int:
        """Choose a token by the scores of a row, which must have some, and accept it."""
        token: int = C.llama_sampler_sample(self.pointer, context, row)
        return token

    def choose(self, tokens: TokenIds, scores: Logits) -> int:
        """Choose one of some tokens, without accepting it."""
        data = np.empty(len(tokens), _TOKEN_DATA)
        data['id'], data['logit'] = tokens, scores
        pointer = data.ctypes.data_as(ctypes.POINTER(C.llama_token_data))
        candidates = C.llama_token_data_array(data=pointer, size=len(data), selected=-1, sorted=False)
        C.llama_sampler_apply(self.pointer, ctypes.byref(candidates))
        if not 0 <= candidates.selected < candidates.size:
            raise DecodeFailed('llama.cpp chose no token. Set the sampling settings back to their defaults.')
        return int(candidates.data[candidates.selected].id)

    def accept(self, token: int) -> None:
        """Tell the samplers which token follows."""
        C.llama_sampler_accept(self.pointer, token)


def read_vocabulary(model: Any) -> Vocabulary:
    """Return what sampling has to know about the tokens of a model; takes a microsecond a token."""
    pointer = C.llama_model_get_vocab(model)
    tokens = range(C.llama_vocab_n_tokens(pointer))
    ordinary = C.LLAMA_TOKEN_ATTR_NORMAL | C.LLAMA_TOKEN_ATTR_BYTE
    special = (token for token in tokens if not C.llama_vocab_get_attr(pointer, token) & ordinary)
    count = ctypes.c_int32()
    suppressed = C.llama_vocab_get_suppress_tokens(pointer, ctypes.byref(count))
    return Vocabulary(
        pointer=pointer,
        n_ctx_train=C.llama_model_n_ctx_train(model),
        pieces=[piece_of(pointer, token, special=False) for token in tokens],
        ends=frozenset(token for token in tokens if C.llama_vocab_is_eog(pointer, token)),
        suppressed=frozenset(suppressed[: count.value] if count.value else ()),
        special={piece_of(pointer, token, special=True).decode('utf-8', 'replace'): token for token in special},
    )


def piece_of(vocabulary: Any, token: int, *, special: bool) -> bytes:
    """Return the bytes of a token that exists; with `special` also of those that are only for the model."""
    buffer = ctypes.create_string_buffer(PIECE_BYTES)
    size = C.llama_token_to_piece(vocabulary, token, buffer, PIECE_BYTES, 0, special)
    if size < 0:
        buffer = ctypes.create_string_buffer(-size)
        size = C.llama_token_to_piece(vocabulary, token, buffer, -size, 0, special)
    return buffer.raw[:size]


class _Native:
    """Owns one of the library's samplers."""

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer

    def __del__(self) -> None:
        C.llama_sampler_free(self.pointer)


def _new(name: str, arguments: tuple[Any, ...], vocabulary: Vocabulary) -> Any:
    if name != 'dry':
        return getattr(C, f'llama_sampler_init_{name}')(*arguments)
    # To find its breakers in the vocabulary takes many milliseconds, to copy it none.
    first = vocabulary.kept((name, arguments), lambda: _Native(_new_dry(vocabulary, *arguments)))
    return C.llama_sampler_clone(first.pointer)


def _new_dry(vocabulary: Vocabulary, *arguments: Any) -> Any:
    *numbers, breakers = arguments
    texts = (ctypes.c_char_p * len(breakers))(*(text.encode('utf-8', 'replace') for text in breakers))
    return C.llama_sampler_init_dry(vocabulary.pointer, *numbers, texts, len(breakers))


def _biases(settings: SamplingSettings, vocabulary: Vocabulary) -> tuple[npt.NDArray[np.int64], Logits]:
    """Return tokens and what is added to their scores."""
    forbidden = vocabulary.suppressed | (vocabulary.ends if settings.ignore_eos else frozenset())
    biases = settings.logit_bias | dict.fromkeys(forbidden, -np.inf)
    return np.fromiter(biases, np.int64), np.fromiter(biases.values(), np.float32)
