"""What sampling settings mean: the chain of llama.cpp's samplers, and what is done to the scores before it."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from inference.chat import Likelihood, TokenChoice
from inference.constraint import check_constraint
from inference.errors import InvalidRequest
from inference.settings import SamplerName, SamplingSettings
from inference.vocabulary import Vocabulary

Logits = npt.NDArray[np.float32]
SamplerStep = tuple[str, tuple[Any, ...]]

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp draws a new seed when it is given this one."""
LEAST_TEMPERATURE = 0.01
"""Less is 0: divided by it, scores overflow, and what is sampled of infinities is noise."""
MOST_SORTED = 2048
"""How many of the likeliest tokens samplers that sort get to see where no top-k came before."""
SORTING = {'typical', 'top_p', 'xtc', 'temp_ext', 'mirostat', 'mirostat_v2'}
NEGLIGIBLE = 1e-9
"""As a share of the likeliest token; of one with probability 0, typical-p makes that all are equally typical."""
MIROSTAT_M = 100


def check_sampling(settings: SamplingSettings, vocabulary: Vocabulary) -> None:
    """Raise InvalidRequest for what a model cannot follow, before anything is computed; safe on any thread."""
    check_choice(settings, vocabulary)
    check_constraint(settings, vocabulary)


def check_choice(settings: SamplingSettings, vocabulary: Vocabulary) -> None:
    """Raise InvalidRequest for settings, apart from grammars, that a model cannot follow."""
    beyond = [token for token in settings.logit_bias if token >= vocabulary.n_vocab]
    if beyond:
        raise InvalidRequest(
            f'The token bias (logit_bias) names the token {beyond[0]}, but the ids of this model end at '
            f'{vocabulary.n_vocab - 1}. Leave it out.'
        )
    if settings.mirostat != 'off' and settings.adaptive_target >= 0:
        raise InvalidRequest(
            'Mirostat and adaptive-p both choose the token, so only one of them can be on. '
            'Set mirostat to off or adaptive_target to -1.'
        )


def sampler_chain(settings: SamplingSettings, vocabulary: Vocabulary) -> tuple[SamplerStep, ...]:
    """Return the steps as names and arguments of `llama_sampler_init_…`; the last one always selects a token.

    It is the chain of llama.cpp's own programs in the order of `samplers`, with three differences. At temperature 0
    only DRY can change which token is the likeliest, so the rest is left out. Where no top-k came before, the samplers
    that sort see the 2,048 likeliest tokens: to sort a whole vocabulary takes as long as to compute a token of a small
    model. And what can never be sampled does not get to typical-p, which makes nonsense of it.
    """
    order = [name for name in settings.samplers if _is_on(name, settings)]
    if is_greedy(settings):
        dry = _steps('dry', settings, vocabulary, 0) if 'dry' in order and settings.mirostat == 'off' else ()
        return (*dry, ('greedy', ()))
    seed = RANDOM_SEED if settings.seed < 0 else settings.seed
    match settings.mirostat:
        case 'off':
            selector = _selector(settings, seed)
        case 'v1':
            order, selector = ['temperature'], _mirostat('mirostat', (vocabulary.n_vocab, seed), settings, MIROSTAT_M)
        case 'v2':
            order, selector = ['temperature'], _mirostat('mirostat_v2', (seed,), settings)
    steps = (step for name in order for step in _steps(name, settings, vocabulary, seed))
    return tuple(_bounded((*steps, selector)))


def is_greedy(settings: SamplingSettings) -> bool:
    """Return whether always the likeliest token is taken."""
    return settings.temperature < LEAST_TEMPERATURE


def candidates_needed(settings: SamplingSettings) -> int:
    """Return of how many of the likeliest tokens the chain makes its choice."""
    if is_greedy(settings):
        return 1
    return settings.top_k if 'top_k' in settings.samplers and settings.top_k and settings.mirostat == 'off' else 256


def _is_on(name: SamplerName, settings: SamplingSettings) -> bool:
    """Return whether a sampler would change anything."""
    on: dict[SamplerName, bool] = {
        'dry': settings.dry_multiplier > 0 and settings.dry_penalty_last_n != 0,
        'top_n_sigma': settings.top_n_sigma > 0,
        'top_k': settings.top_k > 0,
        'typical_p': settings.typical_p < 1,
        'min_p': settings.min_p > 0,
        'top_p': settings.top_p < 1,
        'xtc': settings.xtc_probability > 0 and settings.xtc_threshold <= 0.5,
        'temperature': settings.temperature != 1 or settings.dynatemp_range > 0,
    }
    return on[name]


def _steps(name: SamplerName, settings: SamplingSettings, vocabulary: Vocabulary, seed: int) -> tuple[SamplerStep, ...]:
    match name:
        case 'dry':
            window = vocabulary.n_ctx_train if settings.dry_penalty_last_n < 0 else settings.dry_penalty_last_n
            numbers = settings.dry_multiplier, settings.dry_base, settings.dry_allowed_length, window
            return (('dry', (*numbers, settings.dry_sequence_breakers)),)
        case 'typical_p':
            return ('min_p', (NEGLIGIBLE, 1)), ('typical', (settings.typical_p, 1))
        case 'xtc':
            return (('xtc', (settings.xtc_probability, settings.xtc_threshold, 1, seed)),)
        case 'temperature':
            return (_temperature(settings),)
        case 'min_p' | 'top_p':
            return ((name, (getattr(settings, name), 1)),)
        case 'top_n_sigma' | 'top_k':
            return ((name, (getattr(settings, name),)),)
        case _ as never:
            assert_never(never)


def _temperature(settings: SamplingSettings) -> SamplerStep:
    middle, width = settings.temperature, settings.dynatemp_range
    if not width:
        return 'temp', (middle,)
    # llama.cpp's lower end can come close to 0, where scores overflow.
    low, high = max(LEAST_TEMPERATURE, middle - width), middle + width
    return 'temp_ext', ((high + low) / 2, (high - low) / 2, settings.dynatemp_exponent)


def _selector(settings: SamplingSettings, seed: int) -> SamplerStep:
    if settings.adaptive_target < 0:
        return 'dist', (seed,)
    return 'adaptive_p', (settings.adaptive_target, settings.adaptive_decay, seed)


def _mirostat(name: str, first: tuple[int, ...], settings: SamplingSettings, *last: int) -> SamplerStep:
    return name, (*first, settings.mirostat_tau, settings.mirostat_eta, *last)


def _bounded(steps: Iterable[SamplerStep]) -> Iterator[SamplerStep]:
    """Put a top-k before the first step that sorts, unless there is one."""
    bounded = False
    for step in steps:
        bounded |= step[0] == 'top_k'
        if step[0] in SORTING and not bounded:
            bounded = True
            yield 'top_k', (MOST_SORTED,)
        yield step


def has_penalties(settings: SamplingSettings) -> bool:
    """Return whether a `PenaltyWindow` would change anything."""
    factors = (settings.repeat_penalty != 1, settings.presence_penalty, settings.frequency_penalty)
    return settings.repeat_last_n > 0 and any(factors)


class PenaltyWindow:
    """Counts the tokens of the last `repeat_last_n`, and makes those less likely that occurred.

    The same arithmetic as llama.cpp's `penalties`, which looks up every token of the vocabulary instead; here it takes
    the same few steps however long the reply is. Tokens that are `exempt` have their place in the window, no more.
    """

    def __init__(self, settings: SamplingSettings, exempt: AbstractSet[int] = frozenset()) -> None:
        self.size = settings.repeat_last_n
        self._settings, self._exempt = settings, exempt
        self._window: deque[int] = deque()
        self._rows: dict[int, int] = {}
        self._ids = np.zeros(self.size, np.int64)
        self._counts = np.zeros(self.size, np.float32)

    def add(self, *tokens: int) -> None:
        """Let the window end with these tokens."""
        for token in tokens:
            if len(self._window) == self.size:
                self._drop(self._window.popleft())
            self._window.append(token)
            self._count(token)

    def penalize(self, logits: Logits) -> None:
        """Change the scores (n_vocab) in place."""
        ids, repeat = self._ids[: len(self._rows)], self._settings.repeat_penalty
        scores = logits[ids]
        if repeat != 1:
            # Divided where it is positive, otherwise multiplied: that is the lower of both, or the higher one.
            choose = np.minimum if repeat > 1 else np.maximum
            scores = choose(scores * repeat, scores / repeat)
        if self._settings.frequency_penalty:
            scores -= self._counts[: len(ids)] * self._settings.frequency_penalty
        if self._settings.presence_penalty:
            scores -= self._settings.presence_penalty
        logits[ids] = scores

    def _count(self, token: int) -> None:
        row = self._rows.get(token)
        if row is not None:
            self._counts[row] += 1
        elif token not in self._exempt:
            row = self._rows[token] = len(self._rows)
            self._ids[row], self._counts[row] = token, 1

    def _drop(self, token: int) -> None:
        row = self._rows.get(token)
        if row is None:
            return
        self._counts[row] -= 1
        if not self._counts[row]:
            # The last one takes its row, so that the rows in use stay together.
            last = len(self._rows) - 1
            moved = int(self._ids[last])
            self._ids[row], self._counts[row] = moved, self._counts[last]
            self._rows[moved] = row
            del self._rows[token]


class Likelihoods:
    """What a model gave to each token, before anything was done to it; as llama-server tells it."""

    def __init__(self, logits: Logits, n_top: int, vocabulary: Vocabulary) -> None:
        self._pieces = vocabulary.pieces
        self._logits = logits.copy()
        highest = float(logits.max())
        self._log_total = highest + math.log(np.exp(logits - highest).sum(dtype=np.float64))
        top = np.argpartition(logits, -n_top)[-n_top:] if n_top else np.empty(0, np.int64)
        self._top = top[np.argsort(-logits[top], kind='stable')].tolist()

    def choice(self, token: int) -> TokenChoice:
        """Return what `token` was chosen from."""
        return TokenChoice(chosen=self._likelihood(token), top=tuple(map(self._likelihood, self._top)))

    def _likelihood(self, token: int) -> Likelihood:
        logprob = float(self._logits[token]) - self._log_total
        return Likelihood(token=token, piece=self._pieces[token], logprob=logprob)
