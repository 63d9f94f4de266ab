"""From settings to a chain of llama.cpp's samplers, and what is done to the scores beside it: llama.cpp judges."""

import ctypes
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from llama_cpp import llama_cpp as C  # noqa: N812

from inference.sampler import Chain
from inference.sampling import Likelihoods, PenaltyWindow, has_penalties, sampler_chain
from inference.settings import SamplerName, SamplingSettings
from inference.vocabulary import Vocabulary

N_VOCAB = 300
VOCABULARY = Vocabulary(pointer=None, n_ctx_train=512, pieces=[b'x'] * N_VOCAB, ends=frozenset())
SELECTORS = {'greedy', 'dist', 'mirostat', 'mirostat_v2', 'adaptive_p'}
PLAIN: dict[str, Any] = {'temperature': 1, 'top_k': 0, 'top_p': 1, 'min_p': 0}

Logits = npt.NDArray[np.float32]


def names(settings: SamplingSettings) -> list[str]:
    return [name for name, _ in sampler_chain(settings, VOCABULARY)]


def random_logits(seed: int) -> Logits:
    return np.random.default_rng(seed).normal(0, 4, N_VOCAB).astype(np.float32)


def applied(sampler: object, logits: Logits) -> Any:
    """Let llama.cpp run a sampler over `logits`."""
    rows: list[Any] = [(token, logit, 0) for token, logit in enumerate(logits.tolist())]
    data = (C.llama_token_data * len(rows))(*rows)
    candidates: Any = C.llama_token_data_array(data, len(logits), -1, False)
    C.llama_sampler_apply(sampler, ctypes.byref(candidates))
    return candidates


def scores_after(sampler: object, logits: Logits) -> list[float]:
    candidates = applied(sampler, logits)
    left = {candidates.data[row].id: candidates.data[row].logit for row in range(candidates.size)}
    return [left.get(token, -np.inf) for token in range(len(logits))]


def shares(chain: Chain, logits: Logits) -> Logits:
    """Return with which probability each token would be selected by what a chain leaves."""
    scores = np.array(scores_after(chain.pointer, logits))
    weights = np.exp(scores - scores.max())
    chances: Logits = (weights / weights.sum()).astype(np.float32)
    return chances


def own_chain(steps: Iterable[tuple[str, tuple[Any, ...]]]) -> Chain:
    return Chain(tuple(steps), VOCABULARY)


def picked(settings: SamplingSettings, logits: Logits) -> int:
    return Chain(sampler_chain(settings, VOCABULARY), VOCABULARY).choose(VOCABULARY.tokens, logits)


def test_temperature_zero_takes_the_likeliest_token() -> None:
    settings = SamplingSettings(temperature=0, top_k=5, seed=3, xtc_probability=1, mirostat='v2')

    assert sampler_chain(settings, VOCABULARY) == (('greedy', ()),)
    assert picked(settings, random_logits(0)) == random_logits(0).argmax()


def test_dry_works_at_temperature_zero_as_well() -> None:
    assert names(SamplingSettings(temperature=0, dry_multiplier=0.8)) == ['dry', 'greedy']
    assert names(SamplingSettings(temperature=0, dry_multiplier=0.8, dry_penalty_last_n=0)) == ['greedy']


@pytest.mark.parametrize(
    ('temperature', 'top_k', 'top_p', 'min_p', 'rest'),
    [
        *itertools.product((0, 1e-30, 0.01, 5), (0, 1, 1000), (0, 1), (0, 1), ({}, {'typical_p': 0})),
        *((0.7, 0, 0.9, 0, {'mirostat': version, 'mirostat_tau': tau}) for version in ('v1', 'v2') for tau in (0, 20)),
        *((0.7, 40, 0.9, 0, {'adaptive_target': target, 'adaptive_decay': 0.99}) for target in (0, 1)),
        *((0.7, 40, 0.9, 0, {'top_n_sigma': sigma, 'xtc_probability': 1, 'xtc_threshold': 0}) for sigma in (1e-9, 10)),
        *((1, 0, 1, 0, {'dynatemp_range': 5, 'dynatemp_exponent': exponent}) for exponent in (0.01, 10)),
    ],
)
def test_every_chain_selects_a_token(temperature: float, top_k: int, top_p: float, min_p: float, rest: Any) -> None:
    """One that does not would end the process."""
    settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, **rest)

    assert names(settings)[-1] in SELECTORS
    for seed in range(5):
        assert 0 <= picked(settings, random_logits(seed)) < N_VOCAB


def test_what_changes_nothing_is_left_out() -> None:
    assert names(SamplingSettings(**PLAIN)) == ['dist']
    assert names(SamplingSettings()) == ['top_k', 'min_p', 'top_p', 'temp', 'dist']


def test_the_samplers_work_in_the_order_of_the_settings() -> None:
    order: tuple[SamplerName, ...] = ('temperature', 'min_p', 'top_k', 'xtc')

    assert names(SamplingSettings(samplers=order, xtc_probability=0.5)) == ['temp', 'min_p', 'top_k', 'xtc', 'dist']
    assert names(SamplingSettings(samplers=())) == ['dist']


def test_mirostat_takes_the_place_of_all_but_temperature() -> None:
    everything: dict[str, Any] = {'dry_multiplier': 1, 'xtc_probability': 1, 'typical_p': 0.5}

    assert names(SamplingSettings(mirostat='v2', **everything)) == ['temp', 'top_k', 'mirostat_v2']


@pytest.mark.parametrize(
    'sorting', [{'top_p': 0.9}, {'typical_p': 0.9}, {'xtc_probability': 0.5}, {'dynatemp_range': 1}]
)
def test_no_sampler_has_to_sort_the_whole_vocabulary(sorting: dict[str, Any]) -> None:
    chain = sampler_chain(SamplingSettings(**PLAIN | sorting), VOCABULARY)

    assert ('top_k', (2048,)) in chain
    assert names(SamplingSettings(**PLAIN | sorting | {'top_k': 7})).count('top_k') == 1


LLAMA_CPP: list[tuple[dict[str, Any], list[tuple[str, tuple[Any, ...]]]]] = [
    ({'temperature': 0.7}, [('temp_ext', (0.7, 0, 1))]),
    ({'top_k': 9}, [('top_k', (9,))]),
    ({'top_p': 0.8}, [('top_p', (0.8, 0))]),
    ({'min_p': 0.02}, [('min_p', (0.02, 0))]),
    ({'typical_p': 0.6}, [('typical', (0.6, 0))]),
    ({'top_n_sigma': 1.5}, [('top_n_sigma', (1.5,))]),
    ({'xtc_probability': 1, 'xtc_threshold': 0.02}, [('xtc', (1, 0.02, 0, 1))]),
    ({'dynatemp_range': 0.5, 'dynatemp_exponent': 2}, [('temp_ext', (1, 0.5, 2))]),
    (
        {'top_n_sigma': 2, 'top_k': 50, 'min_p': 0.01, 'top_p': 0.9, 'temperature': 1.5},
        [('top_n_sigma', (2,)), ('top_k', (50,)), ('min_p', (0.01, 0)), ('top_p', (0.9, 0)), ('temp_ext', (1.5, 0, 1))],
    ),
]


@pytest.mark.parametrize(('settings', 'theirs'), LLAMA_CPP)
def test_what_a_chain_leaves_is_what_that_of_llama_cpp_leaves(
    settings: dict[str, Any], theirs: list[tuple[str, tuple[Any, ...]]]
) -> None:
    """`theirs` is what llama.cpp's own programs make of these settings."""
    chain = sampler_chain(SamplingSettings(**PLAIN | settings), VOCABULARY)

    for seed in range(10):
        logits = random_logits(seed)
        np.testing.assert_allclose(shares(own_chain(chain[:-1]), logits), shares(own_chain(theirs), logits), rtol=1e-4)


def test_typical_p_is_not_confused_by_tokens_that_are_forbidden() -> None:
    """In llama.cpp one token with probability 0 makes all of them equally typical."""
    logits = random_logits(3)
    typical = sampler_chain(SamplingSettings(**PLAIN | {'typical_p': 0.9}), VOCABULARY)[:-1]
    expected = shares(own_chain(typical), logits)
    unlikely = int(logits.argmin())
    assert expected[unlikely] == 0

    logits[unlikely] = -np.inf

    np.testing.assert_allclose(shares(own_chain(typical), logits), expected, rtol=1e-4)
    assert (shares(own_chain([('typical', (0.9, 1))]), logits) != expected).any()


def test_a_dynamic_temperature_never_falls_to_where_scores_overflow() -> None:
    (name, (middle, width, _)), _ = sampler_chain(SamplingSettings(**PLAIN | {'dynatemp_range': 3}), VOCABULARY)[1:]

    assert name == 'temp_ext'
    assert (middle - width, middle + width) == pytest.approx((0.01, 4))


def test_a_seed_decides() -> None:
    def drawn(seed: int) -> list[int]:
        chain = own_chain(sampler_chain(SamplingSettings(**PLAIN | {'temperature': 2, 'seed': seed}), VOCABULARY))
        return [chain.choose(VOCABULARY.tokens, random_logits(number)) for number in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(0) == drawn(0)
    assert drawn(-1) != drawn(-1)


def test_only_a_mild_repeat_penalty_is_on_by_default() -> None:
    assert has_penalties(SamplingSettings())
    assert not has_penalties(SamplingSettings(repeat_penalty=1))
    assert not has_penalties(SamplingSettings(repeat_penalty=1.2, repeat_last_n=0))
    assert has_penalties(SamplingSettings(presence_penalty=-0.5))


@pytest.mark.parametrize('last_n', [1, 7, 64, 500])
@pytest.mark.parametrize(('repeat', 'presence', 'frequency'), [(1.3, 0, 0), (0.7, 0, 0), (1, 0.5, -0.25), (1.1, -2, 2)])
def test_penalties_are_those_of_llama_cpp(last_n: int, repeat: float, presence: float, frequency: float) -> None:
    settings = SamplingSettings(
        repeat_last_n=last_n, repeat_penalty=repeat, presence_penalty=presence, frequency_penalty=frequency
    )
    theirs, ours = C.llama_sampler_init_penalties(N_VOCAB, last_n, repeat, frequency, presence), PenaltyWindow(settings)
    for number, token in enumerate(np.random.default_rng(last_n).integers(0, 40, 200).tolist()):
        C.llama_sampler_accept(theirs, token)
        ours.add(token)
        if number % 20 == 0:
            logits = random_logits(number)
            expected = scores_after(theirs, logits)
            ours.penalize(logits)
            np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    C.llama_sampler_free(theirs)


def penalized(settings: SamplingSettings, tokens: list[int], exempt: frozenset[int] = frozenset()) -> Logits:
    logits = np.ones(N_VOCAB, np.float32)
    window = PenaltyWindow(settings, exempt)
    window.add(*tokens)
    window.penalize(logits)
    return logits


def test_penalties_touch_only_what_occurred_in_the_window() -> None:
    logits = penalized(SamplingSettings(repeat_last_n=3, frequency_penalty=0.5, repeat_penalty=1), [5, 6, 7, 7])

    assert np.flatnonzero(logits != 1).tolist() == [6, 7]
    assert logits[[6, 7]].tolist() == [0.5, 0]


def test_the_tokens_that_end_a_reply_are_spared() -> None:
    logits = penalized(SamplingSettings(repeat_penalty=2), [5, 6, 7], frozenset({6}))

    assert np.flatnonzero(logits != 1).tolist() == [5, 7]


def test_likelihoods_are_those_of_the_model() -> None:
    logits = random_logits(5)
    expected = logits - np.log(np.exp(logits.astype(np.float64)).sum())

    choice = Likelihoods(logits, 3, VOCABULARY).choice(7)

    assert choice.chosen.logprob == pytest.approx(expected[7], abs=1e-5)
    assert [one.token for one in choice.top] == np.argsort(-logits)[:3].tolist()
    assert [one.logprob for one in choice.top] == pytest.approx(sorted(expected)[:-4:-1], abs=1e-5)
    assert Likelihoods(logits, 0, VOCABULARY).choice(7).top == ()
