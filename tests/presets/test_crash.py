"""Real processes that die or run out of space while they save."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from presets.chats import ChatStore
from presets.storage import Writer

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, HERE / script, *map(str, arguments)],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_while_saving(process: subprocess.Popen[str]) -> list[str]:
    """Let it save a few times, kill it at a random moment, and return what it had acknowledged."""
    assert process.stdout
    acknowledged = [process.stdout.readline().strip() for _ in range(random.randint(1, 4))]
    time.sleep(random.uniform(0, 0.006))  # not to wait for anything: the moment is meant to be any
    process.kill()
    acknowledged += process.stdout.read().split()
    process.stdout.close()
    process.wait()
    return acknowledged


@pytest.mark.timeout(180)
async def test_fifty_kills_lose_nothing_that_was_acknowledged(
    tmp_path: Path, writer: Writer, problems: list[str]
) -> None:
    acknowledged: dict[str, list[str]] = {'left': [], 'right': []}
    for _ in range(25):
        processes = {side: run('keep_saving.py', tmp_path / side, side) for side in acknowledged}
        for side, process in processes.items():
            acknowledged[side] += kill_while_saving(process)

    for side, ids in acknowledged.items():
        store = await ChatStore.open(tmp_path / side, writer, problems.append)
        on_disk = [message.id for message in (await store.load(side)).path()]
        assert len(ids) >= 25
        assert all(name.startswith('m') for name in ids), 'no problem was reported between the kills'
        assert not set(ids) - set(on_disk)
        assert on_disk == [f'm{number}' for number in range(len(on_disk))]
        assert not [file.name for file in (tmp_path / side).iterdir() if 'damaged' in file.name]
    assert not problems


if sys.platform != 'win32':  # where a process cannot be limited in the size of its files

    def test_a_full_disk_is_explained_and_leaves_the_saved_chat_as_it_was(tmp_path: Path) -> None:
        process = run('fill_disk.py', tmp_path)
        output, _ = process.communicate()

        assert process.returncode == 0
        message, saved = output.splitlines()
        assert message.startswith('The disk is full: ')
        assert 'Free some space, then try again' in message
        assert saved == 'saved 2'
