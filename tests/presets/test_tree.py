"""The tree of a chat under whatever people do to it."""

import random
from collections.abc import Callable, Iterator

import pytest

from presets.chat import Chat, StoredMessage
from presets.tree import MessageTree, Removal

State = tuple[list[tuple[str, str | None]], str | None]
Step = Callable[[], object]


def message(text: str = '', role: str = 'user') -> StoredMessage:
    return StoredMessage.model_validate({'role': role, 'content': text})


def talk(*texts: str) -> tuple[Chat, dict[str, str]]:
    """Return a chat of messages in a row, and their ids by their texts."""
    chat = Chat.new()
    for text in texts:
        chat.append(message(text))
    return chat, {stored.content: key for key, stored in chat.messages.items()}


def said(chat: Chat) -> list[str]:
    return [stored.content for stored in chat.path()]


def state_of(chat: Chat) -> State:
    return [(stored.id, stored.parent) for stored in chat.messages.values()], chat.leaf


def check(chat: Chat) -> None:
    """Every message hangs on one that is there, without circles, and the path ends where nothing follows."""
    for key, stored in chat.messages.items():
        assert stored.id == key
        assert stored.parent is None or stored.parent in chat.messages
        assert chat.path_to(key)[0].parent is None
        assert key in chat.variants(key)
    assert (chat.leaf in chat.messages) if chat.messages else chat.leaf is None
    assert chat.leaf not in {stored.parent for stored in chat.messages.values()} or chat.leaf is None


# Variants


def test_variants_stand_in_the_order_of_their_creation() -> None:
    chat, ids = talk('question', 'first', 'more')
    chat.add(second := message('second'), ids['question'])

    assert chat.variants(ids['first']) == chat.variants(second.id) == [ids['first'], second.id]
    assert said(chat) == ['question', 'second']
    assert chat.newest_below(ids['question']) == second.id
    assert chat.newest_below(ids['first']) == ids['more']
    assert chat.newest_below(None) == second.id
    assert chat.below(ids['first']) == {ids['first'], ids['more']}


def test_a_circle_in_a_damaged_file_ends_every_walk() -> None:
    chat, ids = talk('a', 'b', 'c')
    chat.messages[ids['a']].parent = ids['c']

    assert chat.below(ids['a']) == set(ids.values())
    assert chat.newest_below(ids['a']) == ids['c']
    tree = MessageTree(chat)
    removal = tree.remove(ids['b'], below=True)
    assert not chat.messages
    tree.put_back(removal)
    assert set(chat.messages) == set(ids.values())


# Inserting and removing


def test_what_is_inserted_stands_before_all_that_followed() -> None:
    chat, ids = talk('question', 'answer')
    chat.add(message('other answer'), ids['question'])
    tree = MessageTree(chat)

    tree.insert(message('example'), ids['question'])
    assert said(chat) == ['question', 'example', 'other answer']
    assert len(chat.variants(ids['answer'])) == 2
    tree.insert(message('end'), chat.leaf)
    assert said(chat) == ['question', 'example', 'other answer', 'end']
    check(chat)


def test_a_message_is_removed_alone_and_its_children_move_up() -> None:
    chat, ids = talk('a', 'b', 'c')
    before = state_of(chat)
    tree = MessageTree(chat)

    removal = tree.remove(ids['b'])
    assert said(chat) == ['a', 'c']
    tree.put_back(removal)
    assert state_of(chat) == before


def test_where_the_last_message_goes_its_variant_is_shown() -> None:
    chat, ids = talk('question', 'first')
    chat.add(second := message('second'), ids['question'])

    MessageTree(chat).remove(second.id)
    assert said(chat) == ['question', 'first']


def test_with_everything_below_nothing_of_the_branch_is_left() -> None:
    chat, ids = talk('a', 'b', 'c', 'd')
    before = state_of(chat)
    tree = MessageTree(chat)

    removal = tree.remove(ids['a'], below=True)
    assert (chat.messages, chat.leaf) == ({}, None)
    tree.put_back(removal)
    assert state_of(chat) == before


def test_what_was_said_since_stays_when_a_removal_is_undone() -> None:
    chat, ids = talk('a', 'b', 'c')
    tree = MessageTree(chat)
    removal = tree.remove(ids['b'], below=True)
    chat.append(message('instead'))

    tree.put_back(removal)
    assert said(chat) == ['a', 'instead'], 'the person reads on where they were'
    assert [stored.content for stored in chat.path_to(ids['c'])] == ['a', 'b', 'c']
    check(chat)


def test_removals_that_lie_in_each_other_are_undone_in_any_order() -> None:
    chat, ids = talk('a', 'b', 'c', 'd')
    before = state_of(chat)
    tree = MessageTree(chat)
    inner, outer = tree.remove(ids['c']), tree.remove(ids['b'], below=True)
    assert said(chat) == ['a']

    tree.put_back(inner)
    assert said(chat) == ['a', 'c'], 'it hangs on what is there of what it hung on'
    tree.put_back(outer)
    chat.leaf = chat.newest_below(chat.leaf)
    assert state_of(chat)[0] == before[0]
    check(chat)


# Anything


class Play:
    """Random steps, each of which is possible where it is taken."""

    def __init__(self, seed: int) -> None:
        self.numbers = random.Random(seed)
        self.chat = Chat.new()
        self.tree = MessageTree(self.chat)
        self.removals: list[tuple[State, Removal]] = []
        self.written: set[str] = set()

    def any_id(self) -> str:
        return self.numbers.choice([*self.chat.messages])

    def steps(self) -> Iterator[Step]:
        yield self.append
        if self.chat.messages:
            yield from (self.branch, self.insert, self.show, self.remove, self.remove)
        if self.removals:
            yield self.undo

    def new(self) -> StoredMessage:
        stored = message(str(len(self.written)))
        self.written.add(stored.id)
        return stored

    def append(self) -> None:
        self.chat.append(self.new())
        self.removals.clear()

    def branch(self) -> None:
        self.chat.add(self.new(), self.chat.messages[self.any_id()].parent)
        self.removals.clear()

    def insert(self) -> None:
        self.tree.insert(self.new(), self.any_id())
        self.removals.clear()

    def show(self) -> None:
        self.chat.leaf = self.chat.newest_below(self.any_id())
        self.removals.clear()

    def remove(self) -> None:
        before = state_of(self.chat)
        self.removals.append((before, self.tree.remove(self.any_id(), below=self.numbers.random() < 0.3)))

    def undo(self) -> None:
        """Undo the last removal; nothing else was done since, so that all is as it was."""
        before, removal = self.removals.pop()
        self.tree.put_back(removal)
        assert state_of(self.chat) == before


@pytest.mark.parametrize('seed', range(40))
def test_the_tree_stays_whole_whatever_is_done(seed: int) -> None:
    play = Play(seed)
    for _ in range(150):
        play.numbers.choice([*play.steps()])()
        check(play.chat)
        assert set(play.chat.messages) <= play.written


@pytest.mark.parametrize('seed', range(40))
def test_all_comes_back_in_whatever_order_and_whatever_was_added(seed: int) -> None:
    play = Play(seed)
    for _ in range(30):
        play.numbers.choice([play.append, play.branch] if play.chat.messages else [play.append])()
    before = dict(state_of(play.chat)[0])
    removals = []
    while play.chat.messages.keys() & before.keys():
        known = [key for key in play.chat.messages if key in before]
        removals.append(play.tree.remove(play.numbers.choice(known), below=play.numbers.random() < 0.2))
        if play.numbers.random() < 0.5:
            play.append()
    play.numbers.shuffle(removals)
    for removal in removals:
        play.tree.put_back(removal)
        check(play.chat)

    assert set(play.chat.messages) == play.written
    assert {key: play.chat.messages[key].parent for key in before} == before
    assert [key for key in play.chat.messages if key in before] == [*before], 'variants stand as they stood'
