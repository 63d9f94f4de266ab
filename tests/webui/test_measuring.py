"""How much of the context a chat takes, before anything is sent."""

import pytest

from inference.errors import NoModelLoaded
from inference.settings import SamplingSettings
from presets.chat import Attachment, StoredMessage
from tests.webui.chatting import WORDS, ask, load, reply_of
from webui.conversation import Conversation
from webui.conversations import Conversations
from webui.measuring import ContextUse
from webui.model_host import ModelHost

NOTES = Attachment(name='notes.txt', text='milk and bread')
N_NOTES = len(['File:', 'notes.txt', '```', 'milk', 'and', 'bread', '```'])
N_CTX = 100_000


async def reads(conversation: Conversation, text: str, *files: Attachment) -> int:
    """Send a message, and return how many tokens the model read."""
    await conversation.send(text, attachments=files)
    await conversation.wait()
    return reply_of(conversation).prompt_tokens


async def test_the_parts_add_up_to_what_is_read(conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.change(system_prompt='Be very brief.')
    await ask(conversation, 'one two')
    await conversation.send('this', attachments=[NOTES])
    await conversation.wait()
    other = Attachment(name='b.txt', text='more')

    use = await conversation.measure('and this one', [other])
    assert (use.system, use.draft) == (3, 3)
    assert use.attachments == N_NOTES + len(['File:', 'b.txt', '```', 'more', '```'])
    assert use.history == use.total - use.system - use.draft - use.attachments
    assert (use.n_ctx, use.left_out, use.fits) == (N_CTX, (), True)
    assert await reads(conversation, 'and this one', other) == use.total


async def test_a_chat_that_is_new_has_nothing_but_its_draft(conversations: Conversations) -> None:
    conversation = conversations.new()
    assert await conversation.measure() == ContextUse(n_ctx=N_CTX)
    assert await conversation.measure('one two', [NOTES]) == ContextUse(draft=2, attachments=N_NOTES, n_ctx=N_CTX)
    await conversation.change(system_prompt='Be brief.')
    assert await conversation.measure() == ContextUse(system=2, n_ctx=N_CTX)
    assert not conversation.chat.messages


async def test_what_will_be_left_out_is_said_before(conversations: Conversations) -> None:
    conversation = conversations.new()
    await conversation.change(overflow='roll', sampling=SamplingSettings(max_tokens=1))
    for role, text in (('user', 'word ' * 60_000), ('assistant', 'fine'), ('user', 'so?'), ('assistant', 'yes')):
        conversation.chat.append(StoredMessage.model_validate({'role': role, 'content': text, 'finish_reason': 'stop'}))
    long, *_ = conversation.chat.path()
    draft = 'word ' * 50_000

    assert (await conversation.measure('short')).left_out == ()
    use = await conversation.measure(draft)
    assert (use.left_out, use.fits, use.draft) == ((long.id,), True, 50_000)
    assert await reads(conversation, draft) == use.total
    assert conversation.chat.left_out() == [long.id]


async def test_what_does_not_fit_is_said_before(conversations: Conversations) -> None:
    conversation = conversations.new()
    await ask(conversation, 'one')
    use = await conversation.measure('word ' * 120_000)
    assert (use.fits, use.total >= 120_000, use.left_out) == (False, True, ())


async def test_the_reply_that_is_being_written_counts(conversations: Conversations, host: ModelHost) -> None:
    await load(host, 'echo@100')
    conversation = conversations.new()
    await conversation.send(WORDS)
    await conversation.extended.emitted(timeout=5)
    assert (await conversation.measure()).history > 60
    await conversation.wait()
    assert (await conversation.measure()).history == 120


async def test_without_a_model_nothing_can_be_measured(conversations: Conversations, host: ModelHost) -> None:
    host.unload()
    with pytest.raises(NoModelLoaded):
        await conversations.new().measure('one')
