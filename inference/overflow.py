"""Which messages are left out where a conversation outgrows the context."""

import itertools
from collections.abc import Iterable, Sequence

from inference.chat import Overflow, Role
from inference.errors import ContextLengthExceeded

_AT_ONCE = 4
"""Turns are left out by so many parts of the context.

What is left out then stays the same for many turns, and the rest has not to be read again at each of them.
"""


def messages_to_leave_out(
    roles: Sequence[Role], tokens: Sequence[int], *, frame: int, n_ctx: int, reply: int, policy: Overflow
) -> tuple[int, ...]:
    """Return the places of the messages that have to go, in order.

    `tokens` are those of each message, `frame` those around them all, `reply` those wanted for the reply. Whole turns
    go, and in the last one the older calls with their results. System messages at the beginning, the last message of
    the user and what followed it last stay; where they do not fit alone ContextLengthExceeded is raised. With
    the policy 'stop' nothing is left out: that fits, or is refused, as it is.
    """
    size = frame + sum(tokens)
    excess = size + reply - n_ctx
    left_out: list[int] = []
    if policy != 'stop' and excess > 0:
        turns, rest = _parts(roles, policy)
        block = max(1, (n_ctx - frame) // _AT_ONCE)
        left_out = _first(turns, tokens, -(-excess // block) * block)
        left_out += _first(rest, tokens, excess - _size(left_out, tokens))
    size -= _size(left_out, tokens)
    if size >= n_ctx:
        raise ContextLengthExceeded(prompt_tokens=size, n_ctx=n_ctx)
    return tuple(sorted(left_out))


def _parts(roles: Sequence[Role], policy: Overflow) -> tuple[list[range], list[range]]:
    """Return what may go, in this order: turns that are over, and what goes only where that is not enough."""
    head = next((place for place, role in enumerate(roles) if role != 'system'), len(roles))
    *turns, last = _cut(roles, range(head, len(roles)), 'user')
    *steps, _ = _cut(roles, last[1:], 'assistant')
    if policy == 'middle':
        return turns[1:], [*steps, *turns[:1]]
    return turns, steps


def _cut(roles: Sequence[Role], places: range, role: Role) -> list[range]:
    """Return parts of `places` that each begin with a message of `role`, but perhaps the first; never none."""
    cuts = [place for place in places[1:] if roles[place] == role]
    return [range(start, end) for start, end in itertools.pairwise([places.start, *cuts, places.stop])]


def _first(parts: Sequence[range], tokens: Sequence[int], wanted: int) -> list[int]:
    """Return the places in the first of `parts` that together have as many tokens as wanted, or in all of them."""
    found: list[int] = []
    size = 0
    for part in parts:
        if size >= wanted:
            break
        found += part
        size += _size(part, tokens)
    return found


def _size(places: Iterable[int], tokens: Sequence[int]) -> int:
    return sum(tokens[place] for place in places)
