"""A chat as it goes on: what is sent, streamed, stopped and saved, and what happens when something fails."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from inference.errors import InvalidRequest
from inference.settings import SamplingSettings
from presets.chat import StoredMessage
from presets.chats import ChatStore
from presets.errors import NotFound, StoreError
from presets.storage import Writer
from webui.conversation import Conversation
from webui.conversations import Conversations
from webui.model_host import ModelHost
from webui.open_chat import SAVE_SECONDS
from webui.replying import ReplyRunning
from webui.turns import turns_of

WORDS = ' '.join(f'word{number}' for number in range(60))


async def load(host: ModelHost, model_id: str) -> None:
    host.load(model_id)
    await host.ready()


async def ask(conversation: Conversation, text: str) -> StoredMessage:
    """Send a message and return the complete reply."""
    await conversation.send(text)
    await conversation.wait()
    return reply_of(conversation)


async def reach(conversation: Conversation, length: int) -> None:
    """Wait until this much of the reply has arrived."""
    while conversation.chat.path()[-1].role == 'user' or len(reply_of(conversation).content) < length:
        await conversation.extended.emitted(timeout=10)


def reply_of(conversation: Conversation) -> StoredMessage:
    reply = conversation.chat.path()[-1]
    assert reply.role == 'assistant'
    return reply


def turns(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.chat.path()]


def on_disk(tmp_path: Path, conversation: Conversation) -> dict[str, dict[str, Any]]:
    """The messages in the chat's file by their ids, read past the app."""
    path = tmp_path / 'chats' / f'{conversation.chat.id}.json'
    tables = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    return {message['id']: message for message in tables.get('messages', {}).values()}


def break_disk(tmp_path: Path) -> None:
    """Put a file where the folder of the chats was, so that the system refuses every write."""
    (tmp_path / 'chats').rename(tmp_path / 'safe')
    (tmp_path / 'chats').touch()


def repair_disk(tmp_path: Path) -> None:
    (tmp_path / 'chats').unlink()
    (tmp_path / 'safe').rename(tmp_path / 'chats')


# Sending and streaming


async def test_a_message_is_on_disk_before_the_model_sees_it(
    tmp_path: Path, conversations: Conversations, host: ModelHost
) -> None:
    conversation = conversations.new()
    seen: list[tuple[str, int]] = []

    def look(message: StoredMessage) -> None:
        assert host.engine
        if message.role == 'user':
            seen.append((on_disk(tmp_path, conversation)[message.id]['content'], host.engine.status.busy))

    conversation.added.subscribe(look)
    await ask(conversation, 'are you there?')
    assert seen == [('are you there?', 0)]


async def test_a_reply_streams_in_pieces_that_add_up_to_what_is_stored(
    tmp_path: Path, conversations: Conversations, host: ModelHost
) -> None:
    await load(host, 'echo@300')
    conversation = conversations.new()
    added: list[str] = []
    pieces: list[str] = []
    states: list[str] = []
    conversation.added.subscribe(lambda message: added.append(message.role))
    conversation.extended.subscribe(lambda message, text: pieces.append(text))
    conversation.changed.subscribe(lambda: states.append(conversation.state))

    reply = await ask(conversation, WORDS)

    assert added == ['user', 'assistant']
    assert len(pieces) > 1
    assert ''.join(pieces) == reply.content == on_disk(tmp_path, conversation)[reply.id]['content'] == WORDS
    assert list(dict.fromkeys(states)) == ['waiting', 'prefill', 'streaming', 'idle']
    assert (reply.model, reply.finish_reason, reply.completion_tokens) == ('Echo', 'stop', 60)
    assert reply.prompt_tokens == 60


async def test_the_next_question_builds_on_the_ones_before(conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.change(system_prompt='Be brief.')
    await ask(conversation, 'one')
    reply = await ask(conversation, 'two')
    assert turns(conversation) == [('user', 'one'), ('assistant', 'one'), ('user', 'two'), ('assistant', 'two')]
    assert reply.prompt_tokens == len(['Be', 'brief.', 'one', 'one', 'two'])


async def test_the_settings_of_the_chat_apply_to_its_next_reply(
    conversations: Conversations, tmp_path: Path, writer: Writer
) -> None:
    conversation = conversations.new()
    await ask(conversation, 'one two three')
    await conversation.change(sampling=SamplingSettings(max_tokens=1), title='Short', system_prompt='Be brief.')

    assert (await ask(conversation, 'four five')).content == 'four'
    other = await ChatStore.open(tmp_path / 'chats', writer, print)
    stored = await other.load(conversation.chat.id)
    assert (stored.title, stored.system_prompt, stored.sampling.max_tokens) == ('Short', 'Be brief.', 1)


async def test_a_new_chat_is_no_file_before_its_first_message(tmp_path: Path, conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.change(title='Plans')
    assert not list((tmp_path / 'chats').glob('*.json'))


@pytest.mark.parametrize('nothing', ['', '   ', ' \n\t '])
async def test_an_empty_message_is_refused(conversations: Conversations, nothing: str) -> None:
    conversation = conversations.new()
    with pytest.raises(InvalidRequest, match='Write something first'):
        await conversation.send(nothing)
    assert not conversation.chat.messages


async def test_what_no_file_can_hold_is_replaced(tmp_path: Path, conversations: Conversations) -> None:
    conversation = conversations.new()
    reply = await ask(conversation, 'half an emoji \ud83d, a \0 and a whole one \U0001f600')
    text = 'half an emoji \ufffd, a \ufffd and a whole one \U0001f600'
    assert turns(conversation) == [('user', text), ('assistant', text)]
    assert on_disk(tmp_path, conversation)[reply.id]['content'] == text


async def test_one_reply_at_a_time(conversations: Conversations, host: ModelHost) -> None:
    await load(host, 'echo@20')
    conversation = conversations.new()
    await conversation.send(WORDS)
    with pytest.raises(ReplyRunning, match='stop it first'):
        await conversation.send('me too')
    with pytest.raises(ReplyRunning):
        await conversation.regenerate()
    assert [role for role, _ in turns(conversation)].count('user') == 1


async def test_of_two_messages_at_the_same_moment_one_is_taken(conversations: Conversations) -> None:
    conversation = conversations.new()
    outcomes = await asyncio.gather(*(conversation.send(text) for text in ('one', 'two')), return_exceptions=True)
    await conversation.wait()
    assert [type(outcome) for outcome in outcomes] == [StoredMessage, ReplyRunning]
    assert turns(conversation) == [('user', 'one'), ('assistant', 'one')]


async def test_a_question_right_after_a_reply_does_not_mix_with_it(
    conversations: Conversations, host: ModelHost
) -> None:
    await load(host, 'echo@200')
    conversation = conversations.new()
    questions = ['short', WORDS, 'short again', WORDS]
    for question in questions:
        await conversation.send(question)
        await conversation.finished.emitted(timeout=5)
    await conversation.wait()
    assert turns(conversation) == [(role, question) for question in questions for role in ('user', 'assistant')]


async def test_chats_wait_for_each_other_and_say_so(conversations: Conversations, host: ModelHost) -> None:
    await load(host, 'echo@20')
    first, second = conversations.new(), conversations.new()
    await first.send(WORDS)
    await reach(first, 1)
    await second.send('short')
    while not second.place:
        await second.changed.emitted(timeout=5)
    assert (second.state, second.place) == ('waiting', 1)
    second.stop()
    await second.wait()
    assert (second.state, second.place) == ('idle', 0)
    assert reply_of(second).finish_reason == 'cancelled'

    await second.send('again')
    first.stop()
    await second.wait()
    assert reply_of(second).finish_reason == 'stop'


# What is not text


async def test_reasoning_is_kept_apart_and_given_back_to_the_model(
    tmp_path: Path, conversations: Conversations, host: ModelHost
) -> None:
    await load(host, 'echo@100')
    conversation = conversations.new()
    thoughts: list[str] = []
    conversation.reasoned.subscribe(lambda message, text: thoughts.append(text))
    conversation.extended.subscribe(lambda message, text: thoughts.append('answer'))

    reply = await ask(conversation, f'<think>{WORDS}</think>The answer.')
    assert (reply.reasoning, reply.content) == (WORDS, 'The answer.')
    assert 0.1 < reply.reasoning_seconds < 10
    assert len(thoughts) > 2 and ''.join(thoughts).startswith(WORDS), 'it streams, and comes before the answer'
    assert on_disk(tmp_path, conversation)[reply.id]['reasoning'] == WORDS
    question, answer, *_ = [
        turn.message for turn in turns_of(conversation.chat, StoredMessage(role='user', content=''))
    ]
    assert (answer.content, answer.reasoning) == ('The answer.', WORDS)
    assert question.reasoning == ''


async def test_a_stop_while_the_model_thinks_keeps_its_thoughts(conversations: Conversations, host: ModelHost) -> None:
    await load(host, 'echo@50')
    conversation = conversations.new()
    await conversation.send(f'<think>{WORDS}</think>The answer.')
    await conversation.reasoned.emitted(timeout=5)
    conversation.stop()
    await conversation.wait()

    reply = reply_of(conversation)
    assert reply.reasoning and WORDS.startswith(reply.reasoning)
    assert (reply.content, reply.finish_reason) == ('', 'cancelled')
    assert reply.reasoning_seconds > 0


def crowded(conversation: Conversation) -> list[StoredMessage]:
    """Fill a chat with two turns that leave no room for a third."""
    for role, text in (('user', 'word ' * 60_000), ('assistant', 'fine'), ('user', 'so?'), ('assistant', 'yes')):
        message = StoredMessage.model_validate({'role': role, 'content': text})
        message.finish_reason = 'stop' if role == 'assistant' else None
        conversation.chat.append(message)
    return conversation.chat.path()


async def test_what_does_not_fit_is_left_out_and_marked_until_it_is_sent_again(conversations: Conversations) -> None:
    conversation = conversations.new()
    long, *_ = crowded(conversation)
    marks: list[list[str]] = []
    conversation.marked.subscribe(lambda: marks.append(conversation.chat.left_out()))
    await conversation.change(overflow='roll', sampling=SamplingSettings(max_tokens=1), system_prompt='Be brief.')

    assert (await ask(conversation, 'word ' * 50_000)).prompt_tokens == 2 + 3 + 50_000
    assert conversation.chat.left_out() == [long.id]
    assert marks == [[long.id]]

    conversation.chat.leaf = conversation.chat.path()[-3].id
    await ask(conversation, 'short again')
    assert conversation.chat.left_out() == []
    await conversation.regenerate()
    await conversation.wait()
    assert marks == [[long.id]], 'nothing to tell where nothing changed'


async def test_marks_stay_until_it_is_known_what_is_sent(conversations: Conversations, host: ModelHost) -> None:
    conversation = conversations.new()
    long, *_ = crowded(conversation)
    await conversation.change(overflow='roll', sampling=SamplingSettings(max_tokens=1))
    await ask(conversation, 'word ' * 50_000)
    host.unload()
    await ask(conversation, 'and now?')

    assert conversation.chat.left_out() == [long.id]


async def test_without_a_policy_a_full_context_is_an_error(conversations: Conversations) -> None:
    conversation = conversations.new()
    crowded(conversation)

    reply = await ask(conversation, 'word ' * 50_000)
    assert (reply.finish_reason, reply.left_out) == ('error', [])
    assert 'the context holds 100,000' in reply.error


async def test_why_a_reply_ended_is_kept(tmp_path: Path, conversations: Conversations) -> None:
    conversation = conversations.new()
    reply = await ask(conversation, 'word ' * 99_998)

    assert (reply.finish_reason, reply.detail) == ('length', 'The context of 100,000 tokens is full.')
    assert on_disk(tmp_path, conversation)[reply.id]['detail'] == 'The context of 100,000 tokens is full.'


# Stopping


async def test_stop_keeps_what_came(tmp_path: Path, conversations: Conversations, host: ModelHost) -> None:
    await load(host, 'echo@50')
    conversation = conversations.new()
    await conversation.send(WORDS)
    await reach(conversation, 20)
    conversation.stop()
    await conversation.wait()

    reply = reply_of(conversation)
    assert reply.finish_reason == 'cancelled'
    assert 20 <= len(reply.content) < len(WORDS)
    assert WORDS.startswith(reply.content)
    assert on_disk(tmp_path, conversation)[reply.id] == reply.model_dump(mode='json')
    assert conversation.state == 'idle'


async def test_stop_at_the_very_start_leaves_the_chat_usable(conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.send('one')
    conversation.stop()
    conversation.stop()
    await conversation.wait()
    assert reply_of(conversation).finish_reason == 'cancelled'
    assert not conversation.is_running
    assert (await ask(conversation, 'two')).finish_reason == 'stop'


async def test_stop_without_a_reply_is_nothing(conversations: Conversations) -> None:
    conversation = conversations.new()
    conversation.stop()
    await conversation.wait()
    assert (await ask(conversation, 'one')).finish_reason == 'stop'


# Saving


async def test_the_file_follows_the_stream(tmp_path: Path, conversations: Conversations, host: ModelHost) -> None:
    await load(host, 'echo@100')
    conversation = conversations.new()
    arrived: list[tuple[float, int]] = []
    behind: list[float] = []

    def measure(message: StoredMessage, text: str) -> None:
        arrived.append((time.monotonic(), len(message.content)))
        saved = len(on_disk(tmp_path, conversation).get(message.id, {}).get('content', ''))
        behind.append(arrived[-1][0] - next((when for when, length in arrived if length > saved), arrived[-1][0]))

    conversation.extended.subscribe(measure)
    await ask(conversation, ' '.join([WORDS] * 3))
    assert len(arrived) > 20
    assert max(behind) <= SAVE_SECONDS + 0.4  # the write takes its time


async def test_a_message_that_cannot_be_saved_is_refused(tmp_path: Path, conversations: Conversations) -> None:
    conversation = conversations.new()
    await ask(conversation, 'one')
    before = conversation.chat.model_copy(deep=True)

    break_disk(tmp_path)
    with pytest.raises(StoreError, match='could not be saved'):
        await conversation.send('two')
    assert conversation.chat == before

    repair_disk(tmp_path)
    assert (await ask(conversation, 'two')).content == 'two'


async def test_a_reply_goes_on_when_it_cannot_be_saved(
    tmp_path: Path, conversations: Conversations, host: ModelHost
) -> None:
    await load(host, 'echo@50')
    conversation = conversations.new()
    problems: list[str] = []
    conversation.changed.subscribe(lambda: problems.append(conversation.problem))
    await conversation.send(WORDS)
    await reach(conversation, 1)
    break_disk(tmp_path)
    await conversation.wait()

    reply = reply_of(conversation)
    assert (reply.content, reply.finish_reason, reply.error) == (WORDS, 'stop', '')
    assert 'could not be saved' in conversation.problem
    assert conversation.problem == problems[-1], 'pages are told'

    repair_disk(tmp_path)
    saved = asyncio.Event()
    conversation.changed.subscribe(saved.set)
    await saved.wait()
    assert (conversation.problem, problems[-1]) == ('', ''), 'it is tried again by itself'
    assert on_disk(tmp_path, conversation)[reply.id]['content'] == WORDS


async def test_a_folder_that_was_removed_is_explained_too(tmp_path: Path, conversations: Conversations) -> None:
    conversation = conversations.new()
    (tmp_path / 'chats').rename(tmp_path / 'moved')
    with pytest.raises(StoreError, match='Check that the drive is connected'):
        await conversation.send('one')
    assert not conversation.chat.messages
    assert conversation.chat.leaf is None


# Answering again, and failures


async def test_regenerate_keeps_the_old_reply_beside_the_new_one(conversations: Conversations) -> None:
    conversation = conversations.new()
    first = await ask(conversation, 'a question')
    redrawn: list[list[tuple[str, str]]] = []
    conversation.replaced.subscribe(lambda: redrawn.append(turns(conversation)))
    await conversation.regenerate()
    await conversation.wait()

    second = reply_of(conversation)
    assert second.id != first.id
    assert second.parent == first.parent
    assert conversation.chat.messages[first.id] == first
    assert redrawn == [[('user', 'a question')]]
    assert turns(conversation) == [('user', 'a question'), ('assistant', 'a question')]


async def test_regenerate_in_an_empty_chat_is_nothing(conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.regenerate()
    assert not conversation.is_running
    assert not conversation.chat.messages


async def test_a_chat_that_begins_with_a_reply_keeps_it(conversations: Conversations, store: ChatStore) -> None:
    conversation = conversations.new()
    conversation.chat.append(StoredMessage(role='assistant', content='How can I help?', finish_reason='stop'))
    await conversation.regenerate()
    assert turns(conversation) == [('assistant', 'How can I help?')]


async def test_without_a_model_the_reply_says_so_and_the_question_is_asked_again(
    conversations: Conversations, host: ModelHost
) -> None:
    host.unload()
    conversation = conversations.new()
    failed = await ask(conversation, 'first question')
    assert (failed.content, failed.finish_reason) == ('', 'error')
    assert failed.error == 'No model is loaded. Pick one in the model menu first.'

    await load(host, 'echo@0')
    reply = await ask(conversation, 'second question')
    assert reply.content == 'first question\n\nsecond question', 'the model got both in one turn'
    assert [role for role, _ in turns(conversation)] == ['user', 'assistant'] * 2


async def test_trying_again_replaces_a_failed_reply(conversations: Conversations, host: ModelHost) -> None:
    host.unload()
    conversation = conversations.new()
    await ask(conversation, 'a question')
    await load(host, 'echo@0')
    await conversation.regenerate()
    await conversation.wait()
    assert turns(conversation) == [('user', 'a question'), ('assistant', 'a question')]


async def test_a_model_that_goes_away_leaves_what_came_and_an_error(
    conversations: Conversations, host: ModelHost
) -> None:
    await load(host, 'echo@50')
    conversation = conversations.new()
    await conversation.send(WORDS)
    await reach(conversation, 10)
    host.unload()
    await conversation.wait()
    reply = reply_of(conversation)
    assert reply.finish_reason == 'error'
    assert 'Load a model and try again' in reply.error
    assert WORDS.startswith(reply.content)
    assert len(reply.content) >= 10


# All conversations


async def test_everybody_who_opens_a_chat_gets_the_same_conversation(conversations: Conversations) -> None:
    first = conversations.new()
    await ask(first, 'one')
    chat_id = first.chat.id
    assert await conversations.open(chat_id) is first

    await ask(other := conversations.new(), 'two')
    other_id = other.chat.id
    del other, first
    opened = await asyncio.gather(*(conversations.open(other_id) for _ in range(3)))
    assert len({id(conversation) for conversation in opened}) == 1
    assert turns(opened[0]) == [('user', 'two'), ('assistant', 'two')]


async def test_a_reply_goes_on_while_no_page_shows_it(
    conversations: Conversations, host: ModelHost, store: ChatStore
) -> None:
    await load(host, 'echo@300')
    conversation = conversations.new()
    await conversation.send(WORDS)
    chat_id = conversation.chat.id
    del conversation
    again = await conversations.open(chat_id)
    assert again.is_running
    await again.wait()
    assert reply_of(again).content == WORDS


async def test_a_deleted_chat_stops_and_comes_back_with_its_text(
    conversations: Conversations, host: ModelHost, store: ChatStore
) -> None:
    await load(host, 'echo@50')
    conversation = conversations.new()
    await conversation.send(WORDS)
    await reach(conversation, 10)
    chat_id = conversation.chat.id
    await conversations.delete(chat_id)

    assert not conversation.is_running
    assert host.engine and host.engine.status.busy == 0
    assert not store.summaries()
    with pytest.raises(StoreError, match='Restore it from the trash'):
        await conversation.send('still there?')
    with pytest.raises(NotFound):
        await store.load(chat_id)

    said = turns(conversation)
    await store.restore(chat_id)
    assert [summary.id for summary in store.summaries()] == [chat_id]
    assert turns(await conversations.open(chat_id)) == said
    assert [(m.role, m.content) for m in (await store.load(chat_id)).path()] == said
    assert (await ask(conversation, 'back again')).content == 'back again'


async def test_a_message_on_its_way_when_the_chat_is_deleted_is_not_answered(
    conversations: Conversations, host: ModelHost, store: ChatStore
) -> None:
    await load(host, 'echo@20')
    conversation = conversations.new()
    await ask(conversation, 'one')
    await asyncio.gather(conversation.send(WORDS), conversations.delete(conversation.chat.id))
    await conversation.wait()
    assert host.engine and host.engine.status.busy == 0
    assert reply_of(conversation).finish_reason == 'cancelled'

    await store.restore(conversation.chat.id)
    assert WORDS in [message.content for message in (await store.load(conversation.chat.id)).path()]


async def test_a_chat_is_renamed_whether_it_is_open_or_not(
    conversations: Conversations, store: ChatStore, host: ModelHost
) -> None:
    conversation = conversations.new()
    await ask(conversation, 'one')
    told: list[str] = []
    conversation.changed.subscribe(lambda: told.append(conversation.chat.display_title))
    await conversations.rename(conversation.chat.id, '  Rain\ud83d  ')
    assert told == ['Rain\ufffd']
    assert (await store.load(conversation.chat.id)).title == 'Rain\ufffd'

    await Conversations(store, host).rename(conversation.chat.id, 'Snow')
    assert [summary.title for summary in store.summaries()] == ['Snow']


async def test_closing_the_app_saves_what_runs(
    tmp_path: Path, conversations: Conversations, host: ModelHost, writer: Writer
) -> None:
    await load(host, 'echo@50')
    running = [conversations.new() for _ in range(3)]
    for conversation in running:
        await conversation.send(WORDS)
    await reach(running[0], 10)
    await conversations.close()

    store = await ChatStore.open(tmp_path / 'chats', writer, print)
    stored = [(await store.load(conversation.chat.id)).path()[-1] for conversation in running]
    assert [reply.finish_reason for reply in stored] == ['cancelled'] * 3
    assert stored[0].content == reply_of(running[0]).content
    assert len(stored[0].content) >= 10
