"""Which messages are left out where a conversation does not fit into the context."""

import itertools
import random
from collections.abc import Sequence

import pytest

from inference.chat import Overflow, Role
from inference.errors import ContextLengthExceeded
from inference.overflow import messages_to_leave_out

ROLES: dict[str, Role] = {'s': 'system', 'u': 'user', 'a': 'assistant', 't': 'tool'}


def left_out(
    roles: str, tokens: Sequence[int], policy: Overflow = 'roll', *, n_ctx: int = 100, reply: int = 10, frame: int = 0
) -> tuple[int, ...]:
    return messages_to_leave_out(
        [ROLES[role] for role in roles], tokens, frame=frame, n_ctx=n_ctx, reply=reply, policy=policy
    )


@pytest.mark.parametrize('policy', ['stop', 'roll', 'middle'])
def test_what_fits_stays(policy: Overflow) -> None:
    assert left_out('suau', [10, 20, 30, 30], policy) == ()


def test_roll_keeps_the_system_prompt_and_the_newest_turns() -> None:
    assert left_out('suauau', [10, 20, 20, 20, 20, 15]) == (1, 2)
    assert left_out('suauau', [10, 20, 20, 30, 30, 30]) == (1, 2, 3, 4)


def test_middle_keeps_the_first_question_and_its_answer_too() -> None:
    assert left_out('suauauau', [10, 10, 10, 20, 20, 15, 15, 5], 'middle') == (3, 4)


def test_the_beginning_goes_where_nothing_else_is_enough() -> None:
    assert left_out('suauau', [10, 30, 30, 20, 20, 50], 'middle') == (1, 2, 3, 4)


def test_stop_leaves_nothing_out() -> None:
    assert left_out('suau', [10, 30, 30, 29], 'stop') == ()
    with pytest.raises(ContextLengthExceeded, match='100 tokens'):
        left_out('suau', [10, 30, 30, 30], 'stop')


def test_what_a_turn_called_goes_with_it() -> None:
    assert left_out('suatatau', [10, 10, 5, 10, 5, 10, 10, 50]) == (1, 2, 3, 4, 5, 6)


def test_in_the_last_turn_older_calls_go_with_their_results() -> None:
    assert left_out('suatattat', [10, 10, 5, 30, 5, 10, 10, 5, 10]) == (2, 3)


def test_what_was_said_before_the_first_question_is_a_turn() -> None:
    assert left_out('sauau', [10, 30, 20, 20, 30]) == (1,)


def test_a_question_without_an_answer_is_a_turn() -> None:
    assert left_out('suuau', [10, 30, 20, 20, 20]) == (1,)


def test_the_reply_may_get_less_room_than_was_wanted() -> None:
    assert left_out('sua', [10, 80, 5], reply=50) == ()
    assert left_out('suau', [10, 20, 20, 80], reply=50) == (1, 2)


@pytest.mark.parametrize('policy', ['roll', 'middle'])
def test_what_must_stay_and_does_not_fit_is_refused(policy: Overflow) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        left_out('suau', [10, 20, 20, 85], policy, frame=5)

    assert caught.value.prompt_tokens == 100


def test_the_cut_stays_where_it_is_for_many_turns() -> None:
    cuts = [left_out('ua' * turns + 'u', [10] * (2 * turns + 1), n_ctx=400, reply=50) for turns in range(60)]

    assert len(set(cuts)) < 12
    for before, after in itertools.pairwise(cuts):
        assert set(before) <= set(after)


@pytest.mark.parametrize('seed', range(50))
def test_only_whole_turns_go_and_the_rest_fits(seed: int) -> None:
    source = random.Random(seed)
    turns = [source.choice(['u', 'ua', 'uata', 'uattata']) for _ in range(source.randint(1, 12))]
    roles = source.choice(['', 's', 'a', 'sa']) + ''.join(turns) + source.choice(['u', 'uat', 'ua'])
    tokens = [source.randint(1, 30) for _ in roles]
    for policy in ('roll', 'middle'):
        gone = left_out(roles, tokens, policy, n_ctx=140, reply=20)

        assert sum(tokens) - sum(tokens[place] for place in gone) + 20 <= 140 or not set(range(len(roles))) - set(gone)
        assert roles.rindex('u') not in gone
        assert not any(roles[place] == 's' for place in gone)
        for place, role in enumerate(roles):
            if role == 't':
                call = max(start for start in range(place) if roles[start] == 'a')
                assert (place in gone) == (call in gone)
            if role == 'a' and 'u' in roles[:place]:
                question = roles.rindex('u', 0, place)
                assert question not in gone or place in gone
