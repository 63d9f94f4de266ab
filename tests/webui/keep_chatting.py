"""Run by test_conversation_crash.py in a process that is killed: chat for ever, and say what reached the disk."""

import asyncio
import random
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from inference.catalog import Catalog
from presets.chat import StoredMessage
from presets.chats import ChatStore
from presets.models import ModelStore
from presets.storage import Writer
from webui.activity import Activity
from webui.conversations import Conversations
from webui.model_host import ModelHost

Said = tuple[str, str, int, float]
"""What happened ('ready', 'sent', 'extended', 'saved' or 'problem'), to which message, its length so far, and when."""


def chat(folder: Path, seed: int, pipe: 'Connection[Said, Said]') -> None:
    def say(what: str, message: str = '', length: int = 0) -> None:
        pipe.send((what, message, length, time.time()))

    asyncio.run(_chat(folder, random.Random(seed), say))


async def _chat(folder: Path, numbers: random.Random, say: Callable[..., None]) -> None:
    writer = Writer()
    store = await ChatStore.open(folder, writer, lambda problem: say('problem', problem))
    records = await ModelStore.open(folder.with_suffix('.models'), writer, print)
    host = ModelHost(Catalog([]), records, Activity(folder.with_suffix('.activity')))
    host.load('echo@300')
    await host.ready()
    conversations = Conversations(store, host)
    known = [summary.id for summary in store.summaries()]
    conversation = await conversations.open(known[0]) if known else conversations.new()

    def extended(message: StoredMessage, text: str) -> None:
        say('extended', message.id, len(message.content))

    conversation.extended.subscribe(extended)
    say('ready')
    while True:
        words = numbers.choice([20, 200, 2000])
        message = await conversation.send(' '.join(f'{number}' for number in range(words)))
        say('sent', message.id, len(message.content))
        await conversation.wait()
        reply = conversation.chat.path()[-1]
        say('saved', reply.id, len(reply.content))
