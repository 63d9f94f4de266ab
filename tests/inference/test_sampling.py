"""From settings to a chain of llama.cpp's samplers, and the penalties beside it."""

import ctypes
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from llama_cpp import llama_cpp as C  # noqa: N812

from inference.runner import Sampler
from inference.sampling import has_penalties, penalize, sampler_chain
from inference.settings import SamplingSettings

N_VOCAB = 300
SELECTORS = {'greedy', 'dist'}


def names(settings: SamplingSettings) -> list[str]:
    return [name for name, _ in sampler_chain(settings)]


def random_logits(seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 4, N_VOCAB).astype(np.float32)


def apply(sampler: object, logits: npt.NDArray[np.float32]) -> tuple[list[float], int]:
    """Let llama.cpp itself run a sampler over `logits`; returns its scores and the token it selected."""
    token_data: Any = C.llama_token_data
    data = (token_data * len(logits))(*((token, logit, 0) for token, logit in enumerate(logits.tolist())))
    candidates: Any = C.llama_token_data_array(data, len(logits), -1, False)
    C.llama_sampler_apply(sampler, ctypes.byref(candidates))
    left = {candidates.data[row].id: candidates.data[row].logit for row in range(candidates.size)}
    selected = candidates.data[candidates.selected].id if candidates.selected >= 0 else -1
    return [left.get(token, -np.inf) for token in range(len(logits))], selected


def picked(settings: SamplingSettings, logits: npt.NDArray[np.float32]) -> int:
    sampler = Sampler(settings)  # its chain lives as long as it does
    return apply(sampler.chain, logits)[1]


def test_temperature_zero_takes_the_likeliest_token() -> None:
    assert sampler_chain(SamplingSettings(temperature=0, top_k=5, seed=3)) == (('greedy', ()),)

    logits = random_logits(0)
    assert picked(SamplingSettings(temperature=0), logits) == logits.argmax()


@pytest.mark.parametrize(
    ('temperature', 'top_k', 'top_p', 'min_p'),
    [*itertools.product((0, 0.01, 5), (0, 1, 1000), (0, 0.5, 1), (0, 0.1, 1))],
)
def test_every_chain_selects_a_token(temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    """One that does not would end the process."""
    settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)

    assert names(settings)[-1] in SELECTORS
    assert 0 <= picked(settings, random_logits(1)) < N_VOCAB


def test_what_changes_nothing_is_left_out() -> None:
    assert names(SamplingSettings(top_k=0, top_p=1, min_p=0)) == ['temp', 'dist']
    assert names(SamplingSettings()) == ['top_k', 'min_p', 'top_p', 'temp', 'dist']


def test_a_seed_decides() -> None:
    def drawn(seed: int) -> list[int]:
        sampler = Sampler(SamplingSettings(temperature=2, top_k=0, top_p=1, min_p=0, seed=seed))
        return [apply(sampler.chain, random_logits(number))[1] for number in range(20)]

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
    tokens = np.random.default_rng(last_n).integers(0, 40, 200).tolist()
    logits = random_logits(2)
    theirs = C.llama_sampler_init_penalties(N_VOCAB, last_n, repeat, frequency, presence)
    for token in tokens:
        C.llama_sampler_accept(theirs, token)
    expected, _ = apply(theirs, logits)
    C.llama_sampler_free(theirs)

    penalize(logits, tokens, settings)

    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_penalties_touch_only_what_occurred_in_the_window() -> None:
    logits = np.ones(N_VOCAB, np.float32)

    penalize(logits, [5, 6, 7, 7], SamplingSettings(repeat_last_n=3, frequency_penalty=0.5, repeat_penalty=1))

    assert np.flatnonzero(logits != 1).tolist() == [6, 7]
    assert logits[[6, 7]].tolist() == [0.5, 0]


def test_the_tokens_that_end_a_reply_are_spared() -> None:
    logits = np.ones(N_VOCAB, np.float32)

    penalize(logits, [5, 6, 7], SamplingSettings(repeat_penalty=2), exempt={6})

    assert np.flatnonzero(logits != 1).tolist() == [5, 7]
