"""Chats that are there before the app starts, long ones above all."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from presets.chat import Chat, StoredMessage
from presets.chats import ChatStore
from presets.storage import Writer

LONG = 'long0000long0000'


def long_chat(turns: int, chat_id: str = LONG) -> Chat:
    """Return a chat of so many questions, each with an answer of a kilobyte or two."""
    chat = Chat(id=chat_id, title=f'A chat of {turns} questions', overflow='roll')
    for number in range(turns):
        chat.append(StoredMessage(role='user', content=f'Question {number}: what is there to say about it?'))
        chat.append(
            StoredMessage(role='assistant', content=_answer(number), finish_reason='stop', completion_tokens=250)
        )
    return chat


def store(data_dir: Path, *chats: Chat) -> None:
    """Write chats as the app does."""

    async def write() -> None:
        folder = data_dir / 'chats' / 'local'
        folder.mkdir(parents=True, exist_ok=True)
        writer = Writer()
        opened = await ChatStore.open(folder, writer, print)
        for chat in chats:
            await opened.save(chat)
        await opened.close()
        writer.close()

    # On a thread of its own, because Playwright's loop runs on this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, write()).result()


def _answer(number: int) -> str:
    sentence = 'Every ship has a crew, and every crew has stories that nobody on land would believe. '
    return '\n\n'.join(
        [
            f'Answer {number} begins here. {sentence * 4}',
            f'- first of {number}\n- **second**\n- third with `code`',
            f'```python\ndef answer_{number}(value):\n    """Add a number."""\n    return value + {number}\n```',
            f'| name | value |\n|---|--:|\n| number | {number} |',
            sentence * 8,
            f'Answer {number} ends here.',
        ]
    )
