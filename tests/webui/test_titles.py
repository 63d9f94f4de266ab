"""What chats are called when nobody names them."""

import asyncio
import re
from pathlib import Path

import pytest

from inference.catalog import Catalog
from inference.engine import Engine
from tests.tiny_models import write_tiny_model
from tests.webui.chatting import WORDS, ask, load
from webui.conversation import MOST_TITLES, Conversation
from webui.conversations import Conversations
from webui.model_host import ModelHost
from webui.titles import FREE_SECONDS, LONGEST, REQUEST, clean_title

SAID = 'the cat sees a dog'


@pytest.fixture
async def namer(tmp_path: Path, conversations: Conversations, host: ModelHost, catalog: Catalog) -> str:
    """Load a model that has one answer to everything, and return its id."""
    write_tiny_model(tmp_path / 'models' / 'namer.gguf', sentence=f'{SAID}.')
    catalog.scan()
    await load(host, catalog.chat_models[0].id)
    return catalog.chat_models[0].id


async def titled(conversation: Conversation) -> str:
    """Return the title once there is one."""
    async with asyncio.timeout(5):
        while not conversation.chat.title:
            await conversation.changed.emitted()
    return conversation.chat.title


async def naming(host: ModelHost) -> Engine:
    """Return the engine once it thinks of a title."""
    engine = await host.ready()
    async with asyncio.timeout(5):
        while not engine.status.busy:  # noqa: ASYNC110 (an engine has no event for that)
            await asyncio.sleep(0.01)
    return engine


async def pass_by(host: ModelHost) -> None:
    """Let a free moment pass by, and what may be done in it."""
    await asyncio.sleep(FREE_SECONDS + 0.3)
    await (await host.ready()).idle()


@pytest.fixture
def chat(conversations: Conversations) -> Conversation:
    conversation = conversations.new()
    conversation.titling = 'model'
    return conversation


async def test_the_model_names_a_chat_after_its_first_reply(chat: Conversation, namer: str, host: ModelHost) -> None:
    changes: list[str] = []
    chat.changed.subscribe(lambda: changes.append(chat.chat.title))
    await ask(chat, 'why is the sky blue?')
    assert await titled(chat) == SAID
    assert changes[-1] == SAID, 'pages are told'
    assert len(chat.chat.messages) == 2
    assert not chat.is_running

    await chat.change(title='Sky')
    await ask(chat, 'and the sea?')
    await pass_by(host)
    assert chat.chat.title == 'Sky', 'a name that a person gave stays'


async def test_a_name_given_while_the_model_thinks_of_one_stays(chat: Conversation, host: ModelHost) -> None:
    await load(host, 'echo@50')
    await ask(chat, 'hi')
    engine = await naming(host)
    await chat.change(title='Mine')
    await engine.idle()
    await asyncio.sleep(0)
    assert chat.chat.title == 'Mine'


async def test_whoever_asks_for_something_comes_first(
    chat: Conversation, namer: str, conversations: Conversations, host: ModelHost
) -> None:
    await load(host, 'echo@20')
    await ask(chat, 'hi')
    await naming(host)
    reply = await ask(conversations.new(), 'me')
    assert reply.queued < 0.5
    assert chat.chat.title == ''

    await load(host, namer)
    await ask(chat, 'again')
    assert await titled(chat) == SAID, 'the next free moment will do'


async def test_a_stop_and_the_end_of_the_app_end_it(chat: Conversation, host: ModelHost) -> None:
    await load(host, 'echo@20')
    await ask(chat, 'hi')
    engine = await naming(host)
    chat.stop()
    await engine.idle()
    assert chat.chat.title == ''


async def test_a_title_that_only_repeats_the_request_is_none(chat: Conversation, host: ModelHost) -> None:
    await ask(chat, 'hi')
    await pass_by(host)
    assert (chat.chat.title, chat.chat.display_title) == ('', 'hi')


async def test_nothing_is_named_after_a_reply_that_was_stopped(chat: Conversation, host: ModelHost) -> None:
    await load(host, 'echo@100')
    await chat.send(WORDS)
    await chat.extended.emitted(timeout=5)
    chat.stop()
    await chat.wait()
    await pass_by(host)
    assert chat.chat.title == ''


async def test_it_is_not_tried_for_ever(chat: Conversation, namer: str, host: ModelHost) -> None:
    for number in range(MOST_TITLES):
        await ask(chat, str(number))
        await titled(chat)
        chat.chat.title = ''
    await ask(chat, 'more')
    await pass_by(host)
    assert chat.chat.title == ''


async def test_by_default_a_chat_is_called_by_its_first_line(conversations: Conversations, host: ModelHost) -> None:
    conversation = conversations.new()
    await ask(conversation, 'first line\nsecond')
    await pass_by(host)
    assert (conversation.chat.title, conversation.chat.display_title) == ('', 'first line')


async def test_a_chat_that_is_never_to_be_named_is_called_by_its_beginning(conversations: Conversations) -> None:
    conversation = conversations.new()
    conversation.titling = 'never'
    await ask(conversation, 'something private')
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d', conversation.chat.display_title)


@pytest.mark.parametrize(
    ('text', 'title'),
    [
        ('Rain in Spring', 'Rain in Spring'),
        ('  "Rain in Spring."\nIt is about rain.', 'Rain in Spring'),
        ('**Title:** Rain in Spring', 'Rain in Spring'),
        ('Chat title: „Regen im Frühling“', 'Regen im Frühling'),
        ('## Rain: how it *forms*', 'Rain: how it *forms'),
        ('Sure! Here is a title:\n\n*Rain*', 'Rain'),
        ('\n\n---\nRain', 'Rain'),
        ('Learning C#', 'Learning C#'),
        ('雨について', '雨について'),
        ("I'm ready to help. What's your topic?", ''),
        (REQUEST, ''),
        ('At most six words, in its language', ''),
        ('Why is the sky blue?', 'Why is the sky blue?'),
        ('', ''),
        ('...', ''),
        ('🌧️🌧️', ''),
        ('"', ''),
        ('a\0b\ud83d', 'a\ufffdb\ufffd'),
    ],
)
def test_a_title_is_what_is_left_without_decoration(text: str, title: str) -> None:
    assert clean_title(text) == title


def test_a_long_title_ends_with_a_word() -> None:
    assert clean_title('rain ' * 30) == 'rain ' * 11 + 'rain…'
    assert len(clean_title('x' * 500)) == LONGEST
