"""Run by test_crash.py: grow a chat for ever, and say so after each save."""

import asyncio
import sys
from itertools import count
from pathlib import Path

from presets.chat import Chat, StoredMessage
from presets.chats import ChatStore
from presets.storage import Writer


async def main(folder: Path, chat_id: str) -> None:
    store = await ChatStore.open(folder, Writer(), print)
    known = [summary.id for summary in store.summaries()]
    chat = await store.load(chat_id) if chat_id in known else Chat(id=chat_id)
    for number in count(len(chat.messages)):
        chat.append(StoredMessage(id=f'm{number}', role='user', content='word ' * 500))
        await store.save(chat)
        print(f'm{number}', flush=True)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
