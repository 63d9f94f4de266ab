"""The app is killed while replies stream: what was sent is on disk, and of a reply at most a second is missing."""

import multiprocessing
import random
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

import pytest

from presets.chat import Chat
from presets.chats import ChatStore
from presets.storage import Writer
from tests.webui.keep_chatting import Said, chat

AT_ONCE, ROUNDS = 5, 10


@pytest.fixture
def processes() -> Iterator[ForkServerContext | SpawnContext]:
    """Start processes that have the app's modules in memory already, where that is possible."""
    if sys.platform == 'win32':
        yield multiprocessing.get_context('spawn')
    else:
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['tests.webui.keep_chatting', 'pytest'])
        yield context


def chat_until_killed(processes: ForkServerContext | SpawnContext, folders: list[Path]) -> dict[Path, list[Said]]:
    """Let one process chat in each folder, kill each at a moment of its own, and return what they had said."""
    running = []
    for folder in folders:
        reader, writer = processes.Pipe(duplex=False)
        process = processes.Process(target=chat, args=(folder, random.randrange(1 << 30), writer))
        process.start()
        writer.close()
        running.append((folder, process, reader))
    said = {folder: [reader.recv()] for folder, _, reader in running}
    for folder, process, reader in running:
        time.sleep(random.uniform(0, 0.4))  # not to wait for anything: the moment is meant to be any
        process.kill()
        process.join()
        process.close()
        with reader, suppress(EOFError, OSError):  # the last one may have been cut
            while True:
                said[folder].append(reader.recv())
    return said


def missing_seconds(said: list[Said], chat: Chat) -> float:
    """How much of the last reply was shown and then lost."""
    reply = [(length, when) for what, name, length, when in said if (what, name) == ('extended', said[-1][1])]
    kept = len(chat.messages[said[-1][1]].content) if said[-1][1] in chat.messages else 0
    lost = [when for length, when in reply if length > kept]
    return lost[-1] - lost[0] if lost else 0


def names_with(word: str, folders: list[Path]) -> list[str]:
    return [file.name for folder in folders for file in folder.iterdir() if word in file.name]


@pytest.mark.timeout(300)
async def test_fifty_kills_cost_no_message_and_no_more_than_a_second_of_a_reply(
    tmp_path: Path, writer: Writer, processes: ForkServerContext | SpawnContext
) -> None:
    folders = [tmp_path / f'chats{number}' for number in range(AT_ONCE)]
    for folder in folders:
        folder.mkdir()
    acknowledged: dict[Path, dict[str, int]] = {folder: {} for folder in folders}
    problems: list[str] = []
    cut = 0
    for _ in range(ROUNDS):
        for folder, said in chat_until_killed(processes, folders).items():
            store = await ChatStore.open(folder, writer, problems.append)
            chats = [await store.load(summary.id) for summary in store.summaries()]
            acknowledged[folder].update({name: length for what, name, length, _ in said if what in ('sent', 'saved')})
            assert not [what for what, *_ in said if what == 'problem']
            if not chats:
                assert not acknowledged[folder]
                continue
            [chat] = chats
            on_disk = {message.id: len(message.content) for message in chat.messages.values()}
            assert acknowledged[folder].items() <= on_disk.items()
            assert missing_seconds(said, chat) <= 1
            assert None not in [m.finish_reason for m in chat.path() if m.role == 'assistant']
            if said[-1][0] == 'extended' and (reply := chat.messages.get(said[-1][1])):
                cut += 1
                assert reply.finish_reason in ('interrupted', 'stop')
    assert cut > ROUNDS, 'most kills came while a reply was written'
    assert not problems
    assert not names_with('damaged', folders)
