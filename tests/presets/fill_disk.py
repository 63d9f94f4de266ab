"""Run by test_crash.py: save a chat that does not fit, then one that fits again."""

import asyncio
import resource
import sys
from pathlib import Path

from presets.chat import Chat, StoredMessage
from presets.chats import ChatStore
from presets.errors import StoreError
from presets.storage import Writer


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


async def main(folder: Path) -> None:
    store = await ChatStore.open(folder, Writer(), print)
    chat = Chat(id='growing')
    chat.append(StoredMessage(role='user', content='It fits.'))
    await store.save(chat)
    before = (folder / 'growing.json').read_bytes()

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    chat.append(StoredMessage(role='assistant', content='x' * 50_000))
    try:
        await store.save(chat)
    except StoreError as error:
        print(error)
    assert (folder / 'growing.json').read_bytes() == before
    assert names(folder) == {'growing.json', 'trash'}, 'nothing half-written stays behind'

    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.save(chat)
    print('saved', len((await store.load('growing')).messages))


asyncio.run(main(Path(sys.argv[1])))
