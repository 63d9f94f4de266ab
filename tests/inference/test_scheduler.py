"""Who computes what next; built by hand, without a model."""

from collections.abc import Sequence

import pytest

from inference.scheduler import Request, Scheduler, Slot, Work, common_prefix


def request(*prompt: int, max_tokens: int = 10, user: str = '', checkpoint: int = 0) -> Request:
    return Request(prompt=prompt, max_tokens=max_tokens, user=user, checkpoint=checkpoint)


def anywhere(slot: Slot[Request], length: int) -> bool:
    """A memory that can be cut anywhere."""
    return True


def nowhere(slot: Slot[Request], length: int) -> bool:
    """A memory that cannot be cut."""
    return False


def scheduler(
    *, n_slots: int = 1, n_batch: int = 100, n_cells: int = 1000, held: Sequence[Sequence[int]] = ()
) -> Scheduler[Request]:
    """Make a scheduler whose slots hold tokens of earlier requests."""
    made: Scheduler[Request] = Scheduler(n_slots=n_slots, n_batch=n_batch, n_cells=n_cells)
    for slot, tokens in zip(made.slots, held, strict=False):
        slot.tokens.extend(tokens)
    return made


def admit(made: Scheduler[Request], *requests: Request) -> list[tuple[int, Request, int]]:
    """Submit and admit as the step loop does, with a memory that can be cut."""
    for new in requests:
        made.submit(new)
    admitted = []
    while each := made.admit():
        seat = made.seat(each, anywhere, copies=True)
        seat.slot.tokens[:] = seat.source.tokens[: seat.length]
        made.occupy(seat.slot, each)
        admitted.append((seat.slot.id, each, seat.length))
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
    assert (list(work.tokens), work.position, work.samples) == ([3], 2, 1)


def test_a_prompt_comes_in_pieces_and_the_last_one_samples() -> None:
    made = scheduler(n_batch=4)
    admit(made, request(*range(10)))

    works = [compute(made)[0] for _ in range(3)]

    assert [list(work.tokens) for work in works] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [work.position for work in works] == [0, 4, 8]
    assert [work.samples for work in works] == [0, 0, 1]


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


def test_prompts_share_the_budget_evenly() -> None:
    made = scheduler(n_slots=3, n_batch=12)
    admit(made, request(*range(2)), request(*range(100, 120)), request(*range(200, 220)))

    batch = made.schedule()

    assert [len(work.tokens) for work in batch] == [2, 5, 5]
    assert [work.samples for work in batch] == [1, 0, 0]


def test_a_long_prompt_keeps_nobody_from_being_read() -> None:
    made = scheduler(n_slots=2, n_batch=8)
    admit(made, request(*range(500)), request(*range(600, 610)))

    steps = [[work.slot.id for work in compute(made)] for _ in range(3)]

    assert steps == [[1, 0], [1, 0], [1, 0]]
    assert made.slots[1].request and made.slots[1].request.completion


def test_guesses_are_checked_with_the_latest_token() -> None:
    made = scheduler()
    admit(made, request(1, 2, 3))
    compute(made, sampled=40)
    assert made.slots[0].request
    made.slots[0].request.draft = (41, 42)

    (work,) = made.schedule()

    assert (list(work.tokens), work.position, work.samples) == ([40, 41, 42], 3, 3)


def test_a_piece_ends_where_the_memory_is_to_be_saved() -> None:
    made = scheduler()
    admit(made, request(*range(10), checkpoint=7))

    assert [list(work.tokens) for _ in range(2) for work in compute(made)] == [[*range(7)], [7, 8, 9]]


def test_a_request_is_admitted_by_what_its_prompt_needs_now() -> None:
    made = scheduler(n_slots=3, n_cells=100)
    small, large, waiting = request(*range(20)), request(*range(70)), request(*range(20))

    assert [each for _, each, _ in admit(made, small, large, waiting)] == [small, large]

    made.release(made.slots[1])
    assert [each for _, each, _ in admit(made)] == [waiting]


def test_nobody_overtakes_one_that_is_too_large_for_now() -> None:
    made = scheduler(n_slots=3, n_cells=100)
    running, large, small = request(*range(50)), request(*range(60)), request(1)

    assert [each for _, each, _ in admit(made, running, large, small)] == [running]
    assert list(made.waiting) == [large, small]


def test_one_user_has_no_more_replies_than_allowed_and_lets_others_pass() -> None:
    made = scheduler(n_slots=4)
    made.most_per_user = 1
    first, second, other, nameless = request(1, user='a'), request(2, user='a'), request(3, user='b'), request(4)

    assert [each for _, each, _ in admit(made, first, second, other, nameless)] == [first, other, nameless]
    made.release(made.slots[0])
    assert [each for _, each, _ in admit(made)] == [second]


def test_fewer_replies_at_once_are_made_from_now_on() -> None:
    made = scheduler(n_slots=4)
    made.most_running = 2

    assert len(admit(made, *(request(number) for number in range(4)))) == 2


def test_the_beginning_of_a_prompt_is_taken_from_a_busy_slot() -> None:
    made = scheduler(n_slots=3, held=[[], [5, 6]])
    admit(made, request(1, 2, 3, 4))
    compute(made)

    seat = made.seat(request(1, 2, 3, 9), anywhere, copies=True)

    assert (seat.slot.id, seat.source.id, seat.length) == (2, 0, 3)
    assert made.seat(request(1, 2, 3, 9), anywhere, copies=False).length == 0


def test_a_memory_that_cannot_be_cut_is_of_use_as_a_whole() -> None:
    made = scheduler(n_slots=3, held=[[1, 2, 3, 4], [1, 2], [1, 2, 3, 9, 9]])

    seat = made.seat(request(1, 2, 3, 9), nowhere, copies=False)

    assert (seat.slot.id, seat.length) == (1, 2)


def test_the_slot_that_is_missed_least_is_given_up() -> None:
    made = scheduler(n_slots=2)
    for prompt in ((1, 2), (3, 4)):
        admit(made, request(*prompt))
        compute(made)
    made.release(made.slots[1])
    made.release(made.slots[0])

    assert made.spare() is made.slots[1]
    assert [slot.id for slot in made.idle] == [1, 0]


def test_one_that_has_to_make_room_comes_back_first() -> None:
    made = scheduler(n_slots=2)
    older, newer, waiting = request(1, 2), request(3, 4), request(5, 6)
    admit(made, older, newer, waiting)

    made.put_back(made.slots[1])

    assert list(made.waiting) == [newer, waiting]


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
    assert [work.samples for work in again] == [0, 0, 1]
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
