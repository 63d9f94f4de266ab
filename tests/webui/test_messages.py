"""What a person does with messages that are there: other variants, other texts, going on, taking out, two at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from inference.errors import InferenceError, InvalidRequest
from inference.settings import SamplingSettings
from presets.chat import Attachment, StoredMessage
from presets.chats import ChatStore
from presets.errors import NotFound, StoreError
from tests.webui.chatting import (
    WORDS,
    ask,
    begin,
    break_disk,
    load,
    messages_on_disk,
    repair_disk,
    reply_of,
    said,
)
from webui.conversation import Conversation
from webui.conversations import Conversations
from webui.model_host import ModelHost
from webui.replying import ReplyRunning

NOTES = Attachment(name='notes.txt', text='milk and bread')


@pytest.fixture
async def chat(conversations: Conversations) -> Conversation:
    """A conversation of two turns."""
    conversation = conversations.new()
    await ask(conversation, 'one')
    await ask(conversation, 'two')
    return conversation


def told(conversation: Conversation) -> list[str]:
    """Collect what pages hear of messages, from now on."""
    heard: list[str] = []
    conversation.added.subscribe(lambda message: heard.append(f'added {message.role}'))
    conversation.replaced.subscribe(lambda: heard.append('replaced'))
    return heard


# Variants


async def test_any_reply_is_answered_anew_beside_the_old_one(tmp_path: Path, chat: Conversation) -> None:
    first_question, first, *_ = chat.chat.path()
    heard = told(chat)

    await chat.regenerate(first.id)
    await chat.wait()

    assert said(chat) == ['one', 'one'], 'what followed stays with the old reply'
    new = reply_of(chat)
    assert chat.chat.variants(new.id) == [first.id, new.id]
    assert new.parent == first_question.id
    assert heard == ['replaced', 'added assistant']
    assert len(messages_on_disk(tmp_path, chat)) == 5

    await chat.show_variant(first.id)
    assert said(chat) == ['one', 'one', 'two', 'two']


async def test_a_reply_to_a_question_that_was_answered_is_a_variant_too(chat: Conversation) -> None:
    question, reply = chat.chat.path()[-2:]
    await chat.regenerate(question.id)
    await chat.wait()
    assert chat.chat.variants(reply.id) == [reply.id, reply_of(chat).id]


async def test_a_reply_that_nothing_comes_before_cannot_be_answered_anew(conversations: Conversations) -> None:
    conversation = conversations.new()
    greeting = await conversation.insert('assistant', 'How can I help?')
    with pytest.raises(InvalidRequest, match='nothing before this reply'):
        await conversation.regenerate(greeting.id)
    assert said(conversation) == ['How can I help?']


async def test_the_variant_on_screen_is_so_after_a_restart(
    chat: Conversation, store: ChatStore, host: ModelHost
) -> None:
    _, first, *_ = chat.chat.path()
    await chat.regenerate(first.id)
    await chat.wait()
    await chat.show_variant(first.id)

    again = await Conversations(store, host).open(chat.chat.id)
    assert said(again) == ['one', 'one', 'two', 'two']


async def test_another_variant_is_read_while_a_reply_is_written(chat: Conversation, host: ModelHost) -> None:
    await load(host, 'echo@50')
    _, _, _, second = chat.chat.path()
    await chat.edit(chat.chat.path()[0].id, WORDS)
    await chat.extended.emitted(timeout=5)

    await chat.show_variant(second.id)
    assert said(chat) == ['one', 'one', 'two', 'two']
    written = chat.running
    await chat.wait()
    assert written and (written.content, written.finish_reason) == (WORDS, 'stop')
    assert said(chat) == ['one', 'one', 'two', 'two'], 'the end of a reply moves nobody'


async def test_a_message_on_another_branch_is_put_on_screen(chat: Conversation) -> None:
    *_, hidden = chat.chat.path()
    await chat.regenerate(chat.chat.path()[1].id)
    await chat.wait()
    heard = told(chat)

    await chat.reveal(chat.chat.path()[0].id)
    assert heard == [], 'it is there already'
    await chat.reveal(hidden.id)
    assert hidden in chat.chat.path()
    assert heard == ['replaced']


# Editing


async def test_an_edited_question_begins_a_branch_with_its_attachments(tmp_path: Path, chat: Conversation) -> None:
    await chat.send('three', attachments=[NOTES])
    await chat.wait()
    old = chat.chat.path()[-2]

    new = await chat.edit(old.id, 'four')
    await chat.wait()

    assert said(chat)[:5] == ['one', 'one', 'two', 'two', 'four']
    assert 'milk and bread' in reply_of(chat).content, 'the model read it'
    assert (new.attachments, new.edited, old.content) == ([NOTES], False, 'three')
    assert chat.chat.variants(new.id) == [old.id, new.id]
    assert messages_on_disk(tmp_path, chat)[new.id]['attachments'][0]['name'] == 'notes.txt'

    without = await chat.edit(new.id, 'five', attachments=[])
    assert without.attachments == []


async def test_an_edited_reply_is_a_variant_and_nothing_is_generated(chat: Conversation) -> None:
    _, old, *_ = chat.chat.path()
    old.preset, old.reasoning = 'Poet', 'hm'

    new = await chat.edit(old.id, 'uno')

    assert not chat.is_running
    assert said(chat) == ['one', 'uno']
    assert (new.edited, new.finish_reason, new.model, new.preset, new.reasoning) == (True, 'stop', 'Echo', 'Poet', 'hm')
    assert (new.prompt_tokens, new.completion_tokens) == (0, 0), 'the numbers were those of the other text'
    assert (old.content, old.edited) == ('one', False)
    await chat.show_variant(old.id)
    assert said(chat) == ['one', 'one', 'two', 'two']


async def test_an_edit_to_nothing_is_refused(chat: Conversation) -> None:
    for message in chat.chat.path()[:2]:
        with pytest.raises(InvalidRequest, match='is empty'):
            await chat.edit(message.id, ' ')
    assert said(chat) == ['one', 'one', 'two', 'two']


async def test_an_edit_that_cannot_be_saved_changes_nothing(tmp_path: Path, chat: Conversation) -> None:
    question, reply, *_ = chat.chat.path()
    before = chat.chat.model_copy(deep=True)
    break_disk(tmp_path)
    for edit in (chat.edit(question.id, 'other'), chat.edit(reply.id, 'other'), chat.insert('user', 'x')):
        with pytest.raises(StoreError):
            await edit
        assert chat.chat == before
    for change in (chat.insert('user', 'x', after=question.id), chat.delete(question.id)):
        with pytest.raises(StoreError):
            await change
        assert (chat.chat.messages, chat.chat.leaf) == (before.messages, before.leaf)
    repair_disk(tmp_path)
    assert (await ask(chat, 'three')).content == 'three'


# Going on


async def test_a_reply_that_was_cut_goes_on_in_its_place(tmp_path: Path, conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.change(sampling=SamplingSettings(max_tokens=10))
    cut = await ask(conversation, WORDS)
    assert (cut.finish_reason, cut.completion_tokens) == ('length', 10)
    before = cut.prompt_tokens, cut.prefill
    pieces: list[str] = []
    heard = told(conversation)
    conversation.extended.subscribe(lambda message, text: pieces.append(text))
    await conversation.change(sampling=SamplingSettings())

    await conversation.continue_reply()
    assert conversation.running is cut
    await conversation.wait()

    assert reply_of(conversation) is cut
    assert (cut.content, cut.finish_reason) == (WORDS, 'stop')
    assert WORDS.endswith(''.join(pieces))
    assert heard == ['replaced']
    assert (cut.prompt_tokens, cut.prefill) == before, 'the prompt is what came before the whole reply'
    assert cut.completion_tokens == 60
    assert messages_on_disk(tmp_path, conversation)[cut.id]['content'] == WORDS


@pytest.mark.parametrize('reason', ['cancelled', 'interrupted', 'error', 'stop'])
async def test_a_reply_goes_on_however_it_ended(conversations: Conversations, reason: str) -> None:
    conversation = conversations.new()
    reply = await ask(conversation, WORDS)
    reply.content, reply.error = WORDS[:40].rpartition(' ')[0], 'It failed.'
    conversation.chat.messages[reply.id] = reply
    setattr(reply, 'finish_reason', reason)  # noqa: B010 (a value of the literal, from the list above)

    await conversation.continue_reply()
    await conversation.wait()
    assert (reply.content, reply.finish_reason, reply.error) == (WORDS, 'stop', '')


async def test_a_thought_that_was_cut_goes_on_as_a_thought(conversations: Conversations, host: ModelHost) -> None:
    await load(host, 'echo@50')
    conversation = conversations.new()
    await conversation.send(f'<think>{WORDS}</think>The answer.')
    await conversation.reasoned.emitted(timeout=5)
    conversation.stop()
    await conversation.wait()
    reply = reply_of(conversation)
    assert reply.reasoning and not reply.content

    await load(host, 'echo@0')
    await conversation.continue_reply()
    await conversation.wait()
    assert (reply.reasoning, reply.content, reply.finish_reason) == (WORDS, 'The answer.', 'stop')


async def test_a_reply_that_never_began_begins(conversations: Conversations, host: ModelHost) -> None:
    host.unload()
    conversation = conversations.new()
    failed = await ask(conversation, 'a question')
    assert failed.finish_reason == 'error'

    await load(host, 'echo@0')
    await conversation.continue_reply()
    await conversation.wait()
    assert reply_of(conversation) is failed
    assert failed.model_dump(include={'content', 'finish_reason', 'error'}) == {
        'content': 'a question', 'finish_reason': 'stop', 'error': '',
    }  # fmt: skip


async def test_what_cannot_go_on_keeps_its_text(chat: Conversation, host: ModelHost) -> None:
    reply = reply_of(chat)
    host.unload()
    await chat.continue_reply()
    await chat.wait()
    assert (reply.content, reply.finish_reason) == ('two', 'error')
    assert 'Pick one in the model menu' in reply.error


async def test_where_no_reply_can_go_on_it_is_said_why(chat: Conversation, conversations: Conversations) -> None:
    with pytest.raises(InvalidRequest, match='no reply that could go on'):
        await conversations.new().continue_reply()
    await chat.insert('user', 'three')
    with pytest.raises(InvalidRequest, match='no reply that could go on'):
        await chat.continue_reply()


# Without generating


async def test_examples_are_put_in_front_of_a_question(tmp_path: Path, conversations: Conversations) -> None:
    conversation = conversations.new()
    heard = told(conversation)
    await conversation.insert('user', '2+2')
    example = await conversation.insert('assistant', '4')
    assert heard == ['added user', 'added assistant']
    assert (example.finish_reason, example.edited) == ('stop', True)
    with pytest.raises(InvalidRequest, match='not a question that waits'):
        await conversation.answer()

    await conversation.insert('user', '3+3')
    await conversation.answer()
    await conversation.wait()
    assert said(conversation) == ['2+2', '4', '3+3', '3+3']
    between = await conversation.insert('user', 'in words', after=example.id)
    assert said(conversation) == ['2+2', '4', 'in words', '3+3', '3+3']
    assert messages_on_disk(tmp_path, conversation)[between.id]['parent'] == example.id


# Taking out


async def test_a_message_is_deleted_and_comes_back(tmp_path: Path, chat: Conversation) -> None:
    before = chat.chat.model_copy(deep=True)
    heard = told(chat)
    undo = await chat.delete(chat.chat.path()[1].id)
    assert said(chat) == ['one', 'two', 'two']
    assert len(messages_on_disk(tmp_path, chat)) == 3

    await undo()
    await undo()
    assert [*chat.chat.messages.items()] == [*before.messages.items()]
    assert chat.chat.leaf == before.leaf
    assert len(messages_on_disk(tmp_path, chat)) == 4
    assert heard == ['replaced', 'replaced']


async def test_a_deletion_is_undone_after_more_was_said(chat: Conversation) -> None:
    undo = await chat.delete(chat.chat.path()[2].id, below=True)
    await ask(chat, 'three')
    await undo()
    assert said(chat) == ['one', 'one', 'three', 'three']
    assert sorted(message.content for message in chat.chat.messages.values()) == sorted(['one', 'two', 'three'] * 2)


async def test_deleting_what_is_being_written_stops_it_first(chat: Conversation, host: ModelHost) -> None:
    await load(host, 'echo@50')
    reply = await begin(chat)
    question = chat.chat.path()[-2]
    undo = await chat.delete(question.id, below=True)

    assert not chat.is_running
    assert host.engine and host.engine.status.busy == 0
    assert said(chat) == ['one', 'one', 'two', 'two']
    await undo()
    assert said(chat)[-1] == reply.content
    assert WORDS.startswith(reply.content)
    assert reply.finish_reason == 'cancelled'


async def test_deleting_elsewhere_lets_the_reply_be_written(chat: Conversation, host: ModelHost) -> None:
    await load(host, 'echo@100')
    reply = await begin(chat)
    await chat.delete(chat.chat.path()[0].id)
    await chat.wait()
    assert said(chat) == ['one', 'two', 'two', WORDS, WORDS]
    assert reply.finish_reason == 'stop'


async def test_a_chat_of_which_all_was_deleted_goes_on(chat: Conversation, store: ChatStore) -> None:
    undo = await chat.delete(chat.chat.path()[0].id, below=True)
    assert said(chat) == []
    await chat.change(title='Empty')
    assert (await store.load(chat.chat.id)).title == 'Empty'
    assert (await ask(chat, 'again')).content == 'again'
    await undo()
    assert said(chat) == ['again', 'again']


# Forks


async def test_a_fork_is_a_chat_of_its_own(chat: Conversation, conversations: Conversations) -> None:
    await chat.change(system_prompt='Be brief.', sampling=SamplingSettings(max_tokens=5), title='Numbers')
    fork = await conversations.open(await conversations.fork(chat.chat.id, chat.chat.path()[1].id))

    assert said(fork) == ['one', 'one']
    assert fork.chat.id != chat.chat.id
    assert (fork.chat.display_title, fork.chat.system_prompt) == ('Numbers (2)', 'Be brief.')
    assert fork.chat.sampling.max_tokens == 5
    await ask(fork, 'three')
    assert said(chat) == ['one', 'one', 'two', 'two']

    third = await conversations.open(await conversations.fork(fork.chat.id, fork.chat.path()[0].id))
    assert third.chat.display_title == 'Numbers (3)'


async def test_a_fork_at_a_reply_that_is_written_has_what_there_is(
    chat: Conversation, conversations: Conversations, host: ModelHost
) -> None:
    await load(host, 'echo@50')
    reply = await begin(chat)
    fork = await conversations.open(await conversations.fork(chat.chat.id, reply.id))
    assert reply_of(fork).finish_reason == 'interrupted'
    assert reply.finish_reason is None
    with pytest.raises(NotFound):
        await conversations.fork(chat.chat.id, 'nobody')


# Two at once


async def test_what_is_gone_is_said_to_be_gone(chat: Conversation) -> None:
    *_, question, reply = chat.chat.path()
    await chat.delete(question.id, below=True)
    for attempt in (
        chat.regenerate(reply.id),
        chat.edit(reply.id, 'other'),
        chat.insert('user', 'x', after=question.id),
        chat.delete(reply.id),
        chat.show_variant(reply.id),
        chat.reveal(question.id),
    ):
        with pytest.raises(NotFound, match='not there any more'):
            await attempt
    assert said(chat) == ['one', 'one']


async def test_while_a_reply_is_written_none_begins(chat: Conversation, host: ModelHost) -> None:
    await load(host, 'echo@50')
    question = chat.chat.path()[0]
    await begin(chat)
    for attempt in (
        chat.send('more'),
        chat.regenerate(),
        chat.edit(question.id, 'other'),
        chat.continue_reply(),
        chat.answer(),
        chat.insert('user', 'x'),
    ):
        with pytest.raises(ReplyRunning):
            await attempt
    assert len(chat.chat.messages) == 6


async def test_a_question_that_is_deleted_while_it_is_saved_is_not_answered(chat: Conversation) -> None:
    async def delete_it() -> None:
        await asyncio.sleep(0)
        assert said(chat)[-1] == 'three'
        await chat.delete(chat.chat.path()[-1].id)

    await asyncio.gather(chat.send('three'), delete_it())
    assert said(chat) == ['one', 'one', 'two', 'two']
    assert not chat.is_running


class Person:
    """Someone at a tab of their own, who does things at random and notes what the app said it took."""

    def __init__(self, name: str, conversation: Conversation, numbers: random.Random) -> None:
        self.name, self.conversation, self.numbers = name, conversation, numbers
        self.taken: list[str] = []
        self.removed: list[StoredMessage] = []

    async def act(self, number: int) -> None:
        chat, text = self.conversation, f'{self.name} {number}'
        ids = [*chat.chat.messages] or ['']
        chosen = self.numbers.choice(ids)
        writes: list[Callable[[], Awaitable[object]]] = [
            lambda: chat.send(text),
            lambda: chat.enqueue(text),
            lambda: chat.edit(chosen, text),
            lambda: chat.insert(self.numbers.choice(['user', 'assistant']), text, after=chosen),
        ]
        others: list[Callable[[], Awaitable[object]]] = [
            lambda: chat.regenerate(chosen),
            lambda: chat.show_variant(chosen),
            chat.continue_reply,
            lambda: self.delete_and_undo(chosen),
        ]
        does = self.numbers.choice([*writes, *others])
        try:
            await does()
        except (InferenceError, NotFound):
            return  # refused, and said so
        if does in writes:
            self.taken.append(text)

    async def delete_and_undo(self, message_id: str) -> None:
        undo = await self.conversation.delete(message_id, below=self.numbers.random() < 0.5)
        for _ in range(self.numbers.randrange(20)):
            await asyncio.sleep(0)
        await undo()

    async def live(self) -> None:
        for number in range(25):
            await self.act(number)
            await asyncio.sleep(self.numbers.choice([0, 0, 0.002]))


@pytest.mark.parametrize('seed', range(8))
async def test_two_people_in_one_chat_lose_nothing(
    conversations: Conversations, store: ChatStore, host: ModelHost, seed: int
) -> None:
    conversation = conversations.new()
    await ask(conversation, 'begin')
    numbers = random.Random(seed)
    people = [Person(name, conversation, numbers) for name in ('ada', 'bob', 'cy')]
    await asyncio.gather(*(person.live() for person in people))
    conversation.stop()
    await conversation.wait()

    chat = conversation.chat
    there = [message.content for message in (*chat.messages.values(), *chat.queue)]
    for text in (text for person in people for text in person.taken):
        # A reply that was edited may go on after that.
        assert any(it.startswith(text) for it in there), f'{text!r} was taken and is not there'
    assert sum(len(person.taken) for person in people) > 5
    for message in chat.messages.values():
        assert chat.path_to(message.id)[0].parent is None
        assert message.role == 'user' or message.finish_reason
    await conversation.save()
    stored = await Conversations(store, host).open(chat.id)
    assert stored.chat.messages == chat.messages
    assert (stored.chat.leaf, stored.chat.queue) == (chat.leaf, chat.queue)
