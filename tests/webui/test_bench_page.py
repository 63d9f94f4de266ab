"""The benchmark of the page in the smallest size: what it does and prints, not how fast this machine is."""

import json
from pathlib import Path

import pytest

from presets.chats import ChatStore
from presets.storage import Writer
from webui.bench import main
from webui.bench.chats import ENDING, long_chat, write_chats

SMALL = ('--chats', '12', '--messages', '8', '--tabs', '2', '--tokens', '150', '--rate', '100', '--words', '5')


@pytest.mark.timeout(240)
def test_every_figure_of_the_page_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['page', *SMALL]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    facts = json.loads(last)

    assert facts['benchmark'] == 'page'
    taken = {key for key, value in facts.items() if isinstance(value, float | int) and value > 0}
    assert taken >= {
        'start_seconds', 'ready_seconds', 'ready_again_seconds', 'open_seconds', 'open_again_seconds', 'read_seconds',
        'tab_mb', 'heap_mb', 'nodes', 'browser_percent', 'stream_rate', 'key_p95_ms', 'answer_p50_ms', 'save_few_ms',
        'save_many_ms', 'save_ratio',
    }  # fmt: skip
    assert {'jump_px', 'jumps', 'server_ms_per_token', 'many_tabs_ratio', 'save_held_ms'} <= set(facts)
    assert any(line.startswith('open a chat of 8 messages (s)') and '≤ 0.7' in line for line in table)
    assert len(facts['targets']) == 13


def test_one_part_is_measured_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['page', *SMALL, '--parts', 'save']) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert facts['save_few_ms'] > 0
    assert 'open_seconds' not in facts


def test_a_part_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['page', '--parts', 'save,sound'])

    assert 'sound is not one of ready, search, open, stream, tabs, save' in capsys.readouterr().err


async def test_the_chats_it_makes_are_chats_of_the_app(tmp_path: Path) -> None:
    problems: list[str] = []
    words = write_chats(tmp_path, 20)
    writer = Writer()
    store = await ChatStore.open(tmp_path, writer, problems.append)
    chats = [await store.load(summary.id) for summary in store.summaries()]
    writer.close()

    assert (len(chats), len(words), problems) == (20, 20, [])
    assert all(any(word in message.content.lower() for chat in chats for message in chat.path()) for word in words)
    assert any('```python' in message.content for chat in chats for message in chat.path())


def test_a_long_chat_has_a_kilobyte_of_markdown_a_message() -> None:
    chat = long_chat('Long', 1_000, seed=1)
    sizes = [len(message.content) for message in chat.path()]

    assert len(sizes) == 1_000
    assert 900_000 < sum(sizes) < 1_200_000
    assert chat.path()[-1].content.endswith(ENDING)
