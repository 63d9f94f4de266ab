"""What is chosen for a machine, from measurements that were made up to show one thing each."""

from datetime import UTC, datetime

import pytest

from inference.settings import LoadSettings
from inference.tuning import (
    KV_CACHE,
    TOGETHER,
    Candidate,
    Measurements,
    Run,
    Tuning,
    apply,
    choose,
    combined,
    is_contended,
    smaller_cache,
    stages,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DEFAULT = Candidate(n_threads=3, n_threads_batch=3, flash_attn='off')
FLASH = DEFAULT.with_(flash_attn='on')
NOTHING = Tuning(measured_at=NOW)


def runs(stage: str, candidate: Candidate, *decode: float, prefill: float = 100, others: float = 0) -> list[Run]:
    """Return a run for each decode rate."""
    run = Run(stage=stage, candidate=candidate, prefill=prefill, decode=1, others=others, check=1)
    return [run.model_copy(update={'decode': rate}) for rate in decode]


def measured(*stage_runs: list[Run], cpus: int = 4) -> Measurements:
    return Measurements(default=DEFAULT, cpus=cpus, depth=1500, runs=tuple(run for runs in stage_runs for run in runs))


def chosen(*stage_runs: list[Run], cpus: int = 4) -> dict[str, object]:
    """Return what the choice changes."""
    tuning = choose(measured(*stage_runs, cpus=cpus), NOW)
    changed = tuning.model_dump(include={'n_threads', 'n_threads_batch', 'flash_attn', 'n_ubatch', 'use_extra_bufts'})
    return {name: value for name, value in changed.items() if value != getattr(NOTHING, name)}


# Deciding


def test_a_clear_winner_is_taken_with_its_rates() -> None:
    tuning = choose(measured(runs('fa', DEFAULT, 10, 10, 10), runs('fa', FLASH, 20, 21, 20)), NOW)

    assert tuning.flash_attn == 'on'
    assert (tuning.prefill_rate, tuning.decode_rate, tuning.depth) == (100, 20, 1500)
    assert tuning.gain == pytest.approx((3 + 30) / (3 + 15), abs=0.001)
    assert not tuning.contended


def test_a_gain_that_nobody_would_notice_changes_nothing() -> None:
    assert chosen(runs('fa', DEFAULT, 10, 10, 10), runs('fa', FLASH, 10.3, 10.3, 10.3)) == {}


def test_one_lucky_run_changes_nothing() -> None:
    assert chosen(runs('fa', DEFAULT, 10, 10, 10), runs('fa', FLASH, 10, 20, 10)) == {}
    assert chosen(runs('fa', DEFAULT, 10, 12.5, 10), runs('fa', FLASH, 13, 13, 13)) == {}, (
        'the default has been as good'
    )


def test_on_a_machine_that_does_not_hold_still_luck_is_no_win() -> None:
    """Both have runs like the other's; the medians differ by chance."""
    assert chosen(runs('fa', DEFAULT, 8, 9, 7), runs('fa', FLASH, 10, 15, 7)) == {}


def test_what_ran_only_once_before_the_time_was_up_changes_nothing() -> None:
    assert chosen(runs('fa', DEFAULT, 10, 10), runs('fa', FLASH, 30)) == {}


def test_nothing_measured_changes_nothing() -> None:
    assert chosen() == {}
    assert chosen(runs('fa', DEFAULT, 10)) == {}


def test_only_what_was_measured_at_the_same_time_is_compared() -> None:
    """The machine became faster between the stages."""
    early = [runs('fa', DEFAULT, 10, 10, 10), runs('fa', FLASH, 10, 10, 10)]
    late = [runs('batch', DEFAULT, 12, 12, 12), runs('batch', DEFAULT.with_(n_ubatch=128), 12, 12, 12)]

    assert chosen(*early, *late) == {}


def test_replies_and_prompts_get_the_threads_that_are_best_for_each() -> None:
    two, four = DEFAULT.with_threads(2), DEFAULT.with_threads(4)

    assert chosen(
        runs('threads', DEFAULT, 10, 10, 10),
        runs('threads', two, 13, 13, 13, prefill=70),
        runs('threads', four, 10, 10, 10, prefill=130),
    ) == {'n_threads': 2, 'n_threads_batch': 4}


def test_a_thread_count_that_collapses_once_is_out() -> None:
    """Its threads wait for one that has to share its core: two tokens a second instead of fifty."""
    four = DEFAULT.with_threads(4)
    default = runs('threads', DEFAULT, 10, 10, 10)

    assert chosen(default, runs('threads', four, 15, 2, 15)) == {}
    assert chosen(default, [*runs('threads', four, 15, 15), *runs('threads', four, 15, prefill=5)]) == {}


def test_a_thread_count_that_was_only_seen_sharing_its_cores_is_out() -> None:
    four = DEFAULT.with_threads(4)

    assert chosen(runs('threads', DEFAULT, 10, 10, 10), runs('threads', four, 15, 15, 15, others=0.5)) == {}
    assert chosen(runs('threads', DEFAULT, 10, 10, 10), runs('threads', four, 15, 15, 15, others=0.5), cpus=8)


def test_on_a_busy_machine_threads_stay_as_they_are_but_the_rest_is_judged() -> None:
    spread, four = runs('threads', DEFAULT, 10, 5, 10), DEFAULT.with_threads(4)
    threads = [spread, runs('threads', four, 15, 15, 15)]
    flash = [runs('fa', DEFAULT, 10, 10, 10), runs('fa', FLASH, 20, 20, 20)]

    assert is_contended(measured(*threads))
    assert choose(measured(*threads, *flash), NOW).contended
    assert chosen(*threads, *flash) == {'flash_attn': 'on'}


def test_all_that_won_is_tried_together_and_dropped_to_one_where_it_does_not_add_up() -> None:
    four = DEFAULT.with_threads(4)
    both = FLASH.with_threads(4)
    single = [
        runs('fa', DEFAULT, 10, 10, 10), runs('fa', FLASH, 12, 12, 12),
        runs('threads', DEFAULT, 10, 10, 10), runs('threads', four, 12, 12, 12, prefill=120),
    ]  # fmt: skip
    together = runs(TOGETHER, DEFAULT, 10, 10, 10)

    assert combined(measured(*single)) == both
    assert chosen(*single, together, runs(TOGETHER, both, 14, 14, 14)) == {
        'flash_attn': 'on', 'n_threads': 4, 'n_threads_batch': 4,
    }  # fmt: skip
    assert chosen(*single, together, runs(TOGETHER, both, 9, 9, 9)) == {'flash_attn': 'on'}


def test_a_smaller_cache_is_never_chosen_by_itself() -> None:
    assert chosen(runs(KV_CACHE, DEFAULT, 10, 10), runs(KV_CACHE, smaller_cache(DEFAULT), 30, 30)) == {}


@pytest.mark.parametrize(('step', 'helps'), [(1.5, True), (4.0, False)])
def test_drafting_helps_where_checking_costs_less_than_it_brings(step: float, helps: bool) -> None:
    """On a GPU the cores wait for memory either way; on a CPU eight more tokens are eight times the work."""
    made = [run.model_copy(update={'check': step / 10}) for run in runs('fa', DEFAULT, 10, 10)]

    assert choose(measured(made), NOW).drafting is helps


# What is tried


def test_every_number_of_threads_that_may_be_best_is_tried() -> None:
    def counts(cores: int) -> list[int]:
        default = DEFAULT.with_threads(max(1, cores - 1))
        tried = dict(stages(default, cores)).get('threads', [])
        return [candidate.n_threads for candidate in tried]

    assert {cores: counts(cores) for cores in (1, 2, 4, 16)} == {1: [], 2: [2], 4: [2, 4], 16: [8, 12, 16]}


def test_weights_that_must_not_be_repacked_are_not_tried_repacked() -> None:
    plain = DEFAULT.with_(use_extra_bufts=False)

    assert all(not one.use_extra_bufts for _, candidates in stages(plain, 4) for one in candidates)


# Using it


def test_a_tuning_fills_what_was_left_to_the_app() -> None:
    tuning = Tuning(
        n_threads=4, n_threads_batch=6, flash_attn='on', n_ubatch=128, use_extra_bufts=False, drafting=True,
        measured_at=NOW,
    )  # fmt: skip

    assert apply(LoadSettings(n_ctx=1024), tuning) == LoadSettings(
        n_ctx=1024, n_threads=4, n_threads_batch=6, flash_attn='on', n_ubatch=128, use_extra_bufts=False, draft='on'
    )


def test_a_tuning_never_overrules_the_person() -> None:
    tuning = Tuning(n_threads=4, n_threads_batch=6, flash_attn='on', n_ubatch=128, drafting=True, measured_at=NOW)
    own = LoadSettings(n_threads=2, flash_attn='off', n_ubatch=256, use_extra_bufts=False, draft='off')

    assert apply(own, tuning) == own


def test_flash_attention_stays_with_a_cache_that_was_not_measured() -> None:
    """A quantized V cache does not work without it."""
    settings = LoadSettings(type_v='q8_0')

    assert apply(settings, Tuning(flash_attn='off', measured_at=NOW)).flash_attn == 'auto'


def test_a_tuning_that_found_nothing_leaves_the_defaults() -> None:
    assert apply(LoadSettings(), NOTHING) == LoadSettings(draft='off')
