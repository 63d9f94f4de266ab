"""Who computes what next; built by hand, without a model."""

from collections.abc import Sequence

import pytest

from inference.scheduler import Request, Scheduler, Slot, Work, common_prefix


def request(*prompt: int, max_tokens: int = 10) -> Request:
    return Request(prompt=prompt, max_tokens=max_tokens)


def scheduler(*, n_slots: int = 1, n_batch: int = 100, held: Sequence[Sequence[int]] = ()) -> Scheduler[Request]:
    """Make a scheduler whose slots hold tokens of earlier requests."""
    made: Scheduler[Request] = Scheduler(n_slots=n_slots, n_batch=n_batch)
    for slot, tokens in zip(made.slots, held, strict=False):
        slot.tokens.extend(tokens)
    return made


def admit(made: Scheduler[Request], *requests: Request) -> list[tuple[int, Request, int]]:
    """Submit and admit as the step loop does, with a memory that can be cut."""
    for each in requests:
        made.submit(each)
    admitted = []
    for slot, each, reusable in made.admit():
        del slot.tokens[reusable:]
        admitted.append((slot.id, each, reusable))
    return admitted


def compute(made: Scheduler[Request], sampled: int = 7) -> list[Work[Request]]:
    """Do one step: what is scheduled goes into the slots, and a token is sampled where it is due."""
    batch = made.schedule()
    for work in batch:
        work.slot.tokens.extend(work.tokens)
        if work.samples:
            work.request.completion.append(sampled)
    return batch


def test_those_who_came_first_are_admitted_first() -> None:
    made = scheduler(n_slots=2)
    first, second, third = request(1), request(2), request(3)

    admitted = admit(made, first, second, third)

    assert [each for _, each, _ in admitted] == [first, second]
    assert list(made.waiting) == [third]
    made.release(made.slots[0])
    assert admit(made) == [(0, third, 0)]


def test_a_prompt_goes_where_most_of_it_is_known() -> None:
    made = scheduler(n_slots=3, held=[[1, 2, 9], [1, 2, 3, 4], [5]])
    new = request(1, 2, 3, 8, 8)

    assert admit(made, new) == [(1, new, 3)]


def test_of_equal_slots_a_busy_one_is_not_taken() -> None:
    made = scheduler(n_slots=2, held=[[1, 2], [1, 2]])

    assert [slot for slot, _, _ in admit(made, request(1, 2, 3), request(1, 2, 4))] == [0, 1]


def test_one_token_is_computed_even_if_all_are_known() -> None:
    made = scheduler(held=[[1, 2, 3]])

    admitted = admit(made, request(1, 2, 3))

    assert admitted[0][2] == 2
    (work,) = made.schedule()
    assert (list(work.tokens), work.position, work.samples) == ([3], 2, True)


def test_a_prompt_comes_in_pieces_and_the_last_one_samples() -> None:
    made = scheduler(n_batch=4)
    admit(made, request(*range(10)))

    works = [compute(made)[0] for _ in range(3)]

    assert [list(work.tokens) for work in works] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [work.position for work in works] == [0, 4, 8]
    assert [work.samples for work in works] == [False, False, True]


def test_a_smaller_budget_makes_smaller_pieces() -> None:
    made = scheduler(n_batch=100)
    made.prefill_tokens = 3
    admit(made, request(*range(10)))

    assert len(compute(made)[0].tokens) == 3


def test_after_the_prompt_each_step_adds_the_latest_token() -> None:
    made = scheduler()
    admit(made, request(1, 2, 3))
    compute(made, sampled=40)
    compute(made, sampled=41)

    (work,) = made.schedule()

    assert (list(work.tokens), work.position, work.samples) == ([41], 4, True)


def test_replies_go_on_while_a_prompt_is_read() -> None:
    made = scheduler(n_slots=3, n_batch=5)
    admit(made, request(1), request(2))
    compute(made)
    admit(made, request(*range(20)))

    batch = compute(made)

    assert [work.slot.id for work in batch] == [0, 1, 2]
    assert [len(work.tokens) for work in batch] == [1, 1, 3]


def test_a_batch_is_never_larger_than_allowed() -> None:
    made = scheduler(n_slots=4, n_batch=8)
    admit(made, *(request(*range(number, number + 7)) for number in range(4)))

    sizes = [sum(len(work.tokens) for work in compute(made)) for _ in range(8)]

    assert max(sizes) == 8
    assert min(sizes) > 0


def test_prompts_share_what_the_budget_leaves() -> None:
    made = scheduler(n_slots=2, n_batch=10)
    admit(made, request(*range(6)), request(*range(100, 120)))

    batch = made.schedule()

    assert [len(work.tokens) for work in batch] == [6, 4]
    assert [work.samples for work in batch] == [True, False]


def test_nothing_to_do_is_an_empty_batch() -> None:
    assert scheduler().schedule() == []


def test_the_cancelled_leave_the_queue() -> None:
    made = scheduler()
    running, gone, waiting = request(1), request(2), request(3)
    admit(made, running, gone, waiting)
    gone.cancelled = True

    assert made.withdraw() == [gone]
    assert list(made.waiting) == [waiting]
    assert made.withdraw() == []


def test_a_released_slot_remembers_for_the_next_turn() -> None:
    made = scheduler()
    admit(made, request(1, 2, 3))
    compute(made, sampled=4)
    compute(made, sampled=5)
    made.release(made.slots[0])

    assert made.running == []
    assert admit(made, request(1, 2, 3, 4, 9, 9))[0][2] == 4


def test_a_reply_whose_memory_was_lost_is_read_again() -> None:
    """Memories that cannot be cut are emptied after an aborted step; what was said stays said."""
    made = scheduler(n_batch=4)
    admit(made, request(1, 2, 3))
    for token in (40, 41, 42):
        compute(made, sampled=token)
    made.slots[0].tokens.clear()

    again = [made_work for _ in range(3) for made_work in compute(made, sampled=43)]

    assert [list(work.tokens) for work in again] == [[1, 2, 3, 40], [41], [42]]
    assert [work.samples for work in again] == [False, False, True]
    assert again[-1].request.completion == [40, 41, 42, 43]


@pytest.mark.parametrize(
    ('a', 'b', 'length'),
    [
        ((), (), 0),
        ((1,), (), 0),
        ((1, 2), (1, 2), 2),
        ((1, 2), (1, 2, 3), 2),
        ((1, 2, 3), (1, 9, 3), 1),
        ((1,), (2,), 0),
    ],
)
def test_a_common_prefix_is_found_in_any_sequence(a: tuple[int, ...], b: tuple[int, ...], length: int) -> None:
    assert common_prefix(a, b) == common_prefix(list(a), b) == common_prefix(b, list(a)) == length


def test_an_idle_slot_has_nothing_unread() -> None:
    assert Slot[Request](0).unread == 0
