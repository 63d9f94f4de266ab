"""Which settings make a model fast on this machine: decided from what was measured. Nothing is measured here.

The measure is a typical turn of a chat: some hundred new tokens are read and some hundred are written, far into the
context. What was not measured, or did not win clearly, stays as it is without a measurement.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from inference.drafting import MOST_DRAFT
from inference.settings import KVType, LoadSettings

NEW_TOKENS, REPLY_TOKENS = 300, 300
"""Of the typical turn."""
LEAST_GAIN = 1.05
"""A change that gains less is not worth being different from everybody else."""
COLLAPSED, UNSTEADY = 0.5, 1.5
"""The share of its best rate at which a setting has collapsed, and the spread at which the machine has other work."""
LEAST_RUNS = 2
NOTICEABLE = 0.25
"""Cores that other programs keep busy, from which on they count."""
GUESSED_RIGHT = 0.3
"""The share of drafted tokens that has to be expected: chats that repeat themselves and chats that do not."""

DEFAULTS = LoadSettings()
Cost = Callable[['Run'], float]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra='forbid')


class Candidate(_Record):
    """Settings to try."""

    n_threads: int
    n_threads_batch: int
    flash_attn: Literal['on', 'off']
    kv_type: KVType = 'f16'
    n_ubatch: int = DEFAULTS.n_ubatch
    use_extra_bufts: bool = True

    def with_(self, **changes: object) -> 'Candidate':
        """Return the candidate with some of its settings changed."""
        return self.model_copy(update=changes)

    def with_threads(self, n_threads: int) -> 'Candidate':
        """Return the candidate with so many threads for prompts and replies."""
        return self.with_(n_threads=n_threads, n_threads_batch=n_threads)

    def settings(self, base: LoadSettings) -> LoadSettings:
        """Return `base` with what is tried."""
        changes = {**self.model_dump(exclude={'kv_type'}), 'type_k': self.kv_type, 'type_v': self.kv_type}
        return base.model_copy(update=changes)


class Run(_Record):
    """One measurement: tokens a second, seconds of a step that checks a draft, cores that others kept busy.

    A stage measures candidates in turns with the default, and only what is in the same stage is compared.
    """

    stage: str
    candidate: Candidate
    prefill: float
    decode: float
    check: float = 0.0
    others: float = 0.0

    @property
    def turn(self) -> float:
        """Seconds of a typical turn."""
        return NEW_TOKENS / self.prefill + REPLY_TOKENS / self.decode


class Measurements(_Record):
    """What was measured; `depth` are the tokens in the context at that time, `notes` say what is missing and why."""

    default: Candidate
    cpus: int
    depth: int = 0
    runs: tuple[Run, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, stage: str, candidate: Candidate) -> list[Run]:
        """Return the runs of a candidate in a stage."""
        return [run for run in self.runs if (run.stage, run.candidate) == (stage, candidate)]

    def pairs(self) -> Iterator[tuple[str, Candidate]]:
        """Yield every candidate that is not the default, with its stage."""
        yield from dict.fromkeys((run.stage, run.candidate) for run in self.runs if run.candidate != self.default)


class Tuning(_Record):
    """What won on this machine, with its rates in tokens a second far into the context; `gain` is against the default.

    Zero threads and 'auto' mean that the default is best, or that nothing could be told.
    """

    n_threads: int = 0
    n_threads_batch: int = 0
    flash_attn: Literal['auto', 'on', 'off'] = 'auto'
    n_ubatch: int = DEFAULTS.n_ubatch
    use_extra_bufts: bool = True
    drafting: bool = False
    prefill_rate: float = 0.0
    decode_rate: float = 0.0
    gain: float = 1.0
    depth: int = 0
    contended: bool = False
    measured_at: AwareDatetime


TOGETHER, KV_CACHE = 'together', 'KV cache'


def stages(default: Candidate, cores: int) -> Iterator[tuple[str, list[Candidate]]]:
    """Yield what is tried against the default, the most rewarding first."""
    other = 'off' if default.flash_attn == 'on' else 'on'
    yield 'flash attention', [default.with_(flash_attn=other)]
    if counts := sorted({max(1, cores // 2), max(1, cores * 3 // 4), cores - 1, cores} - {0, default.n_threads}):
        yield 'threads', [default.with_threads(count) for count in counts]
    if default.use_extra_bufts:
        yield 'repacked weights', [default.with_(use_extra_bufts=False)]
    yield 'physical batch', [default.with_(n_ubatch=size) for size in (128, 256) if size != default.n_ubatch]


def smaller_cache(default: Candidate) -> Candidate:
    """Return what halves the KV cache at a small loss; it is measured to be told, not to be chosen."""
    return default.with_(kv_type='q8_0', flash_attn='on')


def combined(measured: Measurements) -> Candidate:
    """Return everything that won by itself in one candidate; the default if nothing did."""
    n_threads, n_threads_batch = _best_threads(measured)
    return _best_layout(measured).with_(n_threads=n_threads, n_threads_batch=n_threads_batch)


def choose(measured: Measurements, now: AwareDatetime) -> Tuning:
    """Decide. A KV type that loses quality is never chosen: that is for the person to decide."""
    default, best = measured.default, combined(measured)
    if measured.of(TOGETHER, best) and not _wins(measured, TOGETHER, best, _turn):
        best = _best_layout(measured)
    runs = _runs_of(measured, best) or _runs_of(measured, default)
    return Tuning(
        n_threads=best.n_threads if best.n_threads != default.n_threads else 0,
        n_threads_batch=best.n_threads_batch if best.n_threads_batch != default.n_threads_batch else 0,
        flash_attn=best.flash_attn if best.flash_attn != default.flash_attn else 'auto',
        n_ubatch=best.n_ubatch,
        use_extra_bufts=best.use_extra_bufts,
        drafting=_drafting_helps(runs),
        prefill_rate=_median(runs, lambda run: run.prefill),
        decode_rate=_median(runs, lambda run: run.decode),
        gain=_gain(measured, best),
        depth=measured.depth,
        contended=is_contended(measured),
        measured_at=now,
    )


def apply(settings: LoadSettings, tuning: Tuning) -> LoadSettings:
    """Return `settings` with what was measured, wherever the person left the choice to the app."""
    changes: dict[str, object] = {}
    if settings.n_threads == 0:
        changes['n_threads'] = tuning.n_threads
        if settings.n_threads_batch == 0:
            changes['n_threads_batch'] = tuning.n_threads_batch
    if settings.flash_attn == 'auto' and (settings.type_k, settings.type_v) == (DEFAULTS.type_k, DEFAULTS.type_v):
        changes['flash_attn'] = tuning.flash_attn
    if settings.n_ubatch == DEFAULTS.n_ubatch:
        changes['n_ubatch'] = tuning.n_ubatch
    if settings.use_extra_bufts:
        changes['use_extra_bufts'] = tuning.use_extra_bufts
    if settings.draft == 'auto':
        changes['draft'] = 'on' if tuning.drafting else 'off'
    return settings.model_copy(update=changes)


def is_contended(measured: Measurements) -> bool:
    """Whether other programs were so busy that thread counts cannot be compared."""
    runs = _runs_of(measured, measured.default)
    turns = [run.turn for run in runs]
    return bool(runs) and (max(turns) > UNSTEADY * min(turns) or any(_is_disturbed(measured, run) for run in runs))


def is_out(measured: Measurements, stage: str, candidate: Candidate) -> bool:
    """Whether a candidate collapsed in any of its runs, or was seen sharing its cores only."""
    runs = measured.of(stage, candidate)
    shared = sum(_is_disturbed(measured, run) for run in runs)
    return shared > len(runs) / 2 or any(
        min(rates) < COLLAPSED * max(rates) for rates in ([run.decode for run in runs], [run.prefill for run in runs])
    )


def _best_layout(measured: Measurements) -> Candidate:
    """Return the winner among those that differ from the default in anything but threads and KV type."""
    default = measured.default
    found = {
        candidate: _median(measured.of(stage, candidate), _turn) / _median(measured.of(stage, default), _turn)
        for stage, candidate in measured.pairs()
        if stage != TOGETHER
        and candidate.kv_type == default.kv_type
        and candidate.n_threads == default.n_threads
        and _wins(measured, stage, candidate, _turn)
    }
    changes: dict[str, object] = {}
    for candidate in sorted(found, key=lambda one: found[one], reverse=True):
        changes |= {name: value for name, value in candidate if value != getattr(default, name)}
    return default.with_(**changes)


def _best_threads(measured: Measurements) -> tuple[int, int]:
    """Return the threads for replies and for prompts; the default where the machine does not hold still."""
    default = measured.default
    if is_contended(measured):
        return default.n_threads, default.n_threads_batch
    return _threads_for(measured, lambda run: 1 / run.decode), _threads_for(measured, lambda run: 1 / run.prefill)


def _threads_for(measured: Measurements, cost: Cost) -> int:
    found = {
        candidate.n_threads: _median(measured.of(stage, candidate), cost)
        for stage, candidate in measured.pairs()
        if candidate == measured.default.with_threads(candidate.n_threads)
        and not is_out(measured, stage, candidate)
        and _wins(measured, stage, candidate, cost)
    }
    return min(found, key=lambda count: found[count], default=measured.default.n_threads)


def _wins(measured: Measurements, stage: str, candidate: Candidate, cost: Cost) -> bool:
    """Whether a candidate beats the default clearly, as a rule (median) and at its best, and never fell behind it."""
    mine, theirs = ([cost(run) for run in measured.of(stage, one)] for one in (candidate, measured.default))
    if min(len(mine), len(theirs)) < LEAST_RUNS or max(mine) >= min(theirs):
        return False
    return all(typical(theirs) >= LEAST_GAIN * typical(mine) for typical in (statistics.median, min))


def _runs_of(measured: Measurements, candidate: Candidate) -> list[Run]:
    return [run for run in measured.runs if run.candidate == candidate]


def _is_disturbed(measured: Measurements, run: Run) -> bool:
    threads = max(run.candidate.n_threads, run.candidate.n_threads_batch)
    return run.others > NOTICEABLE and run.others + threads > measured.cpus


def _drafting_helps(runs: Sequence[Run]) -> bool:
    """Whether checking a draft pays, if no more of it is right than must be expected."""
    checked = [run for run in runs if run.check]
    if not checked:
        return False
    steps = _median(checked, lambda run: run.check * run.decode)  # what a check costs, in steps of one token
    return LEAST_GAIN * steps <= 1 + MOST_DRAFT * GUESSED_RIGHT


def _gain(measured: Measurements, best: Candidate) -> float:
    gains = [
        _median(measured.of(stage, measured.default), _turn) / _median(measured.of(stage, best), _turn)
        for stage, candidate in measured.pairs()
        if candidate == best and measured.of(stage, measured.default)
    ]
    return round(gains[-1], 3) if gains else 1.0


def _turn(run: Run) -> float:
    return run.turn


def _median(runs: Sequence[Run], value: Cost) -> float:
    return round(statistics.median(map(value, runs)), 6) if runs else 0.0
