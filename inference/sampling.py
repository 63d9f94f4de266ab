"""From `SamplingSettings` to a llama.cpp sampler chain, and the penalties that are cheaper outside of it."""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt

from inference.settings import SamplingSettings

SamplerStep = tuple[str, tuple[float, ...]]

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp draws a new seed when it is given this one."""


def sampler_chain(settings: SamplingSettings) -> tuple[SamplerStep, ...]:
    """Return the steps as names and arguments of `llama_sampler_init_…`; the last one always selects a token."""
    if settings.temperature == 0:
        return (('greedy', ()),)
    seed = RANDOM_SEED if settings.seed < 0 else settings.seed
    steps: list[SamplerStep] = []
    if settings.top_k > 0:
        steps.append(('top_k', (settings.top_k,)))
    # NOTE: min_p comes before top_p, unlike in llama.cpp: it is linear, and top_p has to sort what is left.
    if settings.min_p > 0:
        steps.append(('min_p', (settings.min_p, 1)))
    if settings.top_p < 1:
        steps.append(('top_p', (settings.top_p, 1)))
    return (*steps, ('temp', (settings.temperature,)), ('dist', (seed,)))


def has_penalties(settings: SamplingSettings) -> bool:
    """Return whether `penalize` would change anything."""
    factors = (settings.repeat_penalty != 1, settings.presence_penalty, settings.frequency_penalty)
    return settings.repeat_last_n > 0 and any(factors)


def penalize(
    logits: npt.NDArray[np.float32],
    tokens: Sequence[int],
    settings: SamplingSettings,
    exempt: AbstractSet[int] = frozenset(),
) -> None:
    """Change `logits` (n_vocab) in place by the last `repeat_last_n` of `tokens`, without those that are `exempt`.

    The same arithmetic as llama.cpp's `penalties` sampler, which walks the whole vocabulary instead.
    """
    counts = Counter(token for token in tokens[-settings.repeat_last_n :] if token not in exempt)
    ids = np.fromiter(counts.keys(), dtype=np.int64)
    seen = np.fromiter(counts.values(), dtype=np.float32)
    scores = logits[ids]
    scores = np.where(scores > 0, scores / settings.repeat_penalty, scores * settings.repeat_penalty)
    logits[ids] = scores - seen * settings.frequency_penalty - settings.presence_penalty
