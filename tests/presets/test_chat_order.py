"""The order of the list, which is kept as chats come, change and go."""

import random
from datetime import UTC, datetime, timedelta

from presets.chat import ChatSummary
from presets.chat_order import ARCHIVED, PINNED, UNFILED, ChatOrder, Section, section_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def summary(chat_id: str, minute: int = 0, **places: object) -> ChatSummary:
    when = START + timedelta(minutes=minute)
    facts = {'id': chat_id, 'title': chat_id, 'updated': when, 'created': when, 'model': '', 'message_count': 1}
    return ChatSummary.model_validate({**facts, **places})


def ids(chats: object) -> list[str]:
    return [chat.id for chat in chats]  # type: ignore[attr-defined]


def test_a_chat_is_in_one_section() -> None:
    order = ChatOrder([
        summary('plain'),
        summary('pinned', pinned=True, folder='Work'),
        summary('filed', folder='Work/Taxes'),
        summary('archived', archived=True, pinned=True, folder='Work'),
    ])  # fmt: skip

    assert ids(order.section(UNFILED)) == ['plain']
    assert ids(order.section(PINNED)) == ['pinned']
    assert ids(order.section(ARCHIVED)) == ['archived']
    assert ids(order.section(Section('folder', 'Work/Taxes'))) == ['filed']
    assert order.folders() == ['Work/Taxes']
    assert len(order.all()) == 4


def test_whatever_changes_the_order_is_as_if_everything_were_sorted() -> None:
    chance = random.Random(1)
    order, chats = ChatOrder(), dict[str, ChatSummary]()
    for _ in range(2000):
        chat_id = f'{chance.randrange(60)}'
        if chance.random() < 0.2:
            chats.pop(chat_id, None)
            order.remove(chat_id)
        else:
            places = {'pinned': chance.random() < 0.2, 'folder': chance.choice(['', '', 'A', 'A/B'])}
            chats[chat_id] = summary(chat_id, chance.randrange(9), archived=chance.random() < 0.2, **places)
            order.put(chats[chat_id])

        expected = sorted(chats.values(), key=lambda chat: (-chat.updated.timestamp(), chat.id))
        assert list(order.all()) == expected
        section = chance.choice([PINNED, UNFILED, ARCHIVED, Section('folder', 'A')])
        assert list(order.section(section)) == [chat for chat in expected if section_of(chat) == section]
