"""What tests do with a conversation again and again."""

import json
from pathlib import Path
from typing import Any

from presets.chat import StoredMessage
from webui.conversation import Conversation
from webui.model_host import ModelHost

WORDS = ' '.join(f'word{number}' for number in range(60))

Said = list[tuple[str, str]]


async def load(host: ModelHost, model_id: str) -> None:
    host.load(model_id)
    await host.ready()


async def ask(conversation: Conversation, text: str) -> StoredMessage:
    """Send a message and return the complete reply."""
    await conversation.send(text)
    await conversation.wait()
    return reply_of(conversation)


async def begin(conversation: Conversation, text: str = WORDS) -> StoredMessage:
    """Send a message and return the reply once some of it has come."""
    await conversation.send(text)
    await conversation.extended.emitted(timeout=10)
    return reply_of(conversation)


def reply_of(conversation: Conversation) -> StoredMessage:
    reply = conversation.chat.path()[-1]
    assert reply.role == 'assistant'
    return reply


def said(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.chat.path()]


def on_disk(tmp_path: Path, conversation: Conversation) -> dict[str, Any]:
    """The tables of the chat's file, read past the app."""
    path = tmp_path / 'chats' / f'{conversation.chat.id}.json'
    tables: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    return tables


def messages_on_disk(tmp_path: Path, conversation: Conversation) -> dict[str, dict[str, Any]]:
    return {message['id']: message for message in on_disk(tmp_path, conversation)['messages'].values()}


def queue_on_disk(tmp_path: Path, conversation: Conversation) -> list[str]:
    return [message['content'] for message in on_disk(tmp_path, conversation)['chat']['1']['queue']]


def break_disk(tmp_path: Path) -> None:
    """Put a file where the folder of the chats was, so that the system refuses every write."""
    (tmp_path / 'chats').rename(tmp_path / 'safe')
    (tmp_path / 'chats').touch()


def repair_disk(tmp_path: Path) -> None:
    (tmp_path / 'chats').unlink()
    (tmp_path / 'safe').rename(tmp_path / 'chats')
