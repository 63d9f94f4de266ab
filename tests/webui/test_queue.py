"""Messages that wait until the reply before them has ended: they go by themselves, or stay until someone says so."""

import asyncio
from pathlib import Path

import pytest

from inference.errors import InvalidRequest
from presets.chat import Attachment
from presets.chats import ChatStore
from presets.errors import NotFound, StoreError
from presets.storage import Writer
from tests.webui.chatting import (
    WORDS,
    ask,
    begin,
    break_disk,
    load,
    messages_on_disk,
    queue_on_disk,
    repair_disk,
    reply_of,
    said,
)
from webui.conversation import Conversation
from webui.conversations import Conversations
from webui.model_host import ModelHost


@pytest.fixture
async def busy(conversations: Conversations, host: ModelHost) -> Conversation:
    """A conversation in which a reply is being written."""
    await load(host, 'echo@100')
    conversation = conversations.new()
    await begin(conversation)
    return conversation


def waiting(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.chat.queue]


async def test_a_message_waits_on_disk_and_goes_by_itself(tmp_path: Path, busy: Conversation) -> None:
    changes: list[list[str]] = []
    busy.queue_changed.subscribe(lambda: changes.append(waiting(busy)))
    attachment = Attachment(name='a.txt', text='text')
    message = await busy.enqueue('next', attachments=[attachment])
    assert queue_on_disk(tmp_path, busy) == ['next']
    await busy.enqueue('and then')

    await busy.wait()
    assert said(busy)[:3] == [WORDS, WORDS, 'next']
    assert said(busy)[4:] == ['and then', 'and then']
    assert busy.chat.path()[2].id == message.id
    assert busy.chat.path()[2].attachments == [attachment]
    assert changes == [['next'], ['next', 'and then'], ['and then'], []]
    assert queue_on_disk(tmp_path, busy) == []
    assert set(messages_on_disk(tmp_path, busy)) == set(busy.chat.messages)


async def test_without_a_reply_to_wait_for_it_goes_at_once(conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.enqueue('hello')
    await conversation.wait()
    assert said(conversation) == ['hello', 'hello']
    with pytest.raises(InvalidRequest, match='is empty'):
        await conversation.enqueue(' ')


async def test_after_a_stop_all_wait_until_someone_says_so(tmp_path: Path, busy: Conversation) -> None:
    first, second = await busy.enqueue('first'), await busy.enqueue('second')
    busy.stop()
    await busy.wait()
    assert (busy.state, waiting(busy)) == ('idle', ['first', 'second'])
    assert queue_on_disk(tmp_path, busy) == ['first', 'second']
    assert len(said(busy)) == 2
    await busy.enqueue('third')
    assert waiting(busy) == ['first', 'second', 'third'], 'nothing overtakes those who wait'

    await busy.send_queued_now(second.id)
    await busy.wait()
    assert said(busy)[2:] == ['second', 'second', 'first', 'first', 'third', 'third']
    assert busy.chat.path()[4].id == first.id


async def test_after_a_failure_all_wait(busy: Conversation, host: ModelHost) -> None:
    await busy.enqueue('next')
    host.unload()
    await busy.wait()
    assert reply_of(busy).finish_reason == 'error'
    assert waiting(busy) == ['next']


async def test_the_queue_is_there_after_a_restart(
    tmp_path: Path, busy: Conversation, writer: Writer, host: ModelHost
) -> None:
    message = await busy.enqueue('next')
    store = await ChatStore.open(tmp_path / 'chats', writer, print)
    again = await Conversations(store, host).open(busy.chat.id)
    assert (waiting(again), again.is_running) == (['next'], False)
    busy.stop()
    await busy.wait()

    await again.send_queued_now(message.id)
    await again.wait()
    assert said(again)[2:] == ['next', 'next']


async def test_sending_one_now_stops_the_reply(busy: Conversation) -> None:
    await busy.enqueue('first')
    second = await busy.enqueue('second')
    await busy.send_queued_now(second.id)
    await busy.wait()

    cut = busy.chat.path()[1]
    assert cut.finish_reason == 'cancelled'
    assert said(busy)[2:] == ['second', 'second', 'first', 'first']


async def test_those_who_wait_are_changed_moved_and_taken_out(tmp_path: Path, busy: Conversation) -> None:
    one, two, three = [await busy.enqueue(text) for text in ('one', 'two', 'three')]
    await busy.edit_queued(two.id, 'zwei')
    await busy.move_queued(three.id, 0)
    removed = await busy.unqueue(one.id)
    assert removed.content == 'one'
    assert waiting(busy) == queue_on_disk(tmp_path, busy) == ['three', 'zwei']
    with pytest.raises(InvalidRequest, match='is empty'):
        await busy.edit_queued(two.id, '')

    busy.stop()
    await busy.wait()
    for attempt in (busy.edit_queued(one.id, 'x'), busy.move_queued(one.id, 0), busy.unqueue(one.id)):
        with pytest.raises(NotFound, match='sent or removed'):
            await attempt
    with pytest.raises(NotFound, match='sent or removed'):
        await busy.send_queued_now(one.id)
    assert waiting(busy) == ['three', 'zwei']


async def test_what_cannot_be_saved_does_not_wait(tmp_path: Path, busy: Conversation) -> None:
    first, _ = await busy.enqueue('first'), await busy.enqueue('second')
    busy.stop()
    await busy.wait()
    break_disk(tmp_path)
    for attempt in (
        busy.enqueue('third'),
        busy.edit_queued(first.id, 'x'),
        busy.move_queued(first.id, 1),
        busy.unqueue(first.id),
        busy.send_queued_now(first.id),
    ):
        with pytest.raises(StoreError):
            await attempt
        assert waiting(busy) == ['first', 'second']
    repair_disk(tmp_path)
    assert len(said(busy)) == 2


async def test_one_that_cannot_be_saved_when_its_turn_comes_waits_on(tmp_path: Path, busy: Conversation) -> None:
    await busy.enqueue('next')
    break_disk(tmp_path)
    await busy.wait()
    assert (waiting(busy), len(said(busy))) == (['next'], 2)
    assert 'could not be saved' in busy.problem
    repair_disk(tmp_path)


async def test_a_message_that_comes_just_as_the_reply_ends_is_not_forgotten(conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.send('begin')
    texts = [str(number) for number in range(20)]
    for text in texts:
        await conversation.enqueue(text)
        await asyncio.sleep(0)
    await conversation.wait()
    while conversation.is_running or conversation.chat.queue:
        await conversation.finished.emitted(timeout=5)
    assert [message.content for message in conversation.chat.path() if message.role == 'user'] == ['begin', *texts]


async def test_a_message_goes_below_the_reply_it_waited_for(busy: Conversation, host: ModelHost) -> None:
    """Though someone looks at another variant just then."""
    await busy.wait()
    first = reply_of(busy)
    await load(host, 'echo@100')
    await busy.regenerate()
    await busy.extended.emitted(timeout=5)
    second = busy.running
    await busy.enqueue('next')
    await busy.show_variant(first.id)
    await busy.wait()
    assert second
    assert [message.id for message in busy.chat.path()][1] == second.id
    assert said(busy)[2:] == ['next', 'next']


async def test_deleting_a_reply_that_is_written_lets_those_who_wait_stay(busy: Conversation) -> None:
    await busy.enqueue('next')
    await busy.delete(reply_of(busy).id)
    await busy.wait()
    assert (said(busy), waiting(busy)) == ([WORDS], ['next'])
    assert (await ask(busy, 'other')).finish_reason == 'stop'
    await busy.wait()
    assert waiting(busy) == []
