"""What saving a message costs among few and among many chats. The store runs in this process, without a page."""

import asyncio
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from presets.chat import Chat, StoredMessage
from presets.chats import ChatStore
from presets.storage import Writer
from webui.bench.chats import Writing, write_chats
from webui.bench.page_lag import Ticker
from webui.bench.page_report import Figure

MOST_RATIO, MOST_HELD_MS = 1.25, 10.0
FEW = 10
SAVES, WARM = 60, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """Milliseconds: the median of a save, and the longest that the event loop was held."""

    save: float
    held: float


def measure(folder: Path, count: int, messages: int) -> list[Figure]:
    """Save a chat of ten messages again and again, each time with one more; then a long one for the event loop."""
    few = folder.parent / 'few'
    write_chats(few, FEW)
    among_few = asyncio.run(_save(few, 10))
    among_many = asyncio.run(_save(folder, 10))
    long = asyncio.run(_save(folder, messages))
    shutil.rmtree(few)
    held = max(among_many.held, long.held)
    return [
        Figure(key='save_few_ms', text=f'save a message among {FEW} chats (ms)', value=among_few.save),
        Figure(key='save_many_ms', text=f'save a message among {count:,} chats (ms)', value=among_many.save),
        Figure(key='save_ratio', text='many chats to few', value=among_many.save / among_few.save, most=MOST_RATIO),
        Figure(key='save_long_ms', text=f'save a message to a chat of {messages:,} (ms)', value=long.save),
        Figure(key='save_held_ms', text='event loop held meanwhile (ms)', value=held, most=MOST_HELD_MS),
    ]


async def _save(folder: Path, messages: int) -> Saved:
    writer = Writer()
    store = await ChatStore.open(folder, writer, lambda problem: None)
    chat, writing, taken = Chat.new(), Writing(messages), []
    for message in writing.messages(messages):
        chat.append(message)
    for _ in range(WARM):
        await store.save(chat)
    ticker = Ticker()
    for _ in range(SAVES):
        chat.append(StoredMessage(role='user', content=writing.sentence()))
        started = time.perf_counter()
        await store.save(chat)
        taken.append(1000 * (time.perf_counter() - started))
        await asyncio.sleep(0.01)
    await store.close()
    ticker.stop()
    await store.delete(chat.id)
    writer.close()
    return Saved(save=statistics.median(taken), held=ticker.worst_ms)
