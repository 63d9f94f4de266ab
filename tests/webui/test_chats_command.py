"""`run.py chats`: the chats of a folder in a terminal, while the app runs or not."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from webui import instance
from webui.config import AppConfig

pytestmark = pytest.mark.timeout(240)  # several processes each
PROJECT = Path(__file__).parents[2]
RECORDED = PROJECT / 'tests' / 'presets' / 'recorded'


def chats(folder: Path, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith('CHATBOT_')}
    command = [
        sys.executable,
        str(PROJECT / 'run.py'),
        'chats',
        '--data-dir',
        str(folder / 'data'),
        *map(str, arguments),
    ]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding='utf-8', timeout=120, check=False
    )
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A folder into which two chats were imported."""
    assert chats(tmp_path, 'import', RECORDED / 'chatgpt.json').stderr == '2 taken, 0 already there, 0 not taken\n'
    return tmp_path


def test_chats_are_listed_newest_first(filled: Path) -> None:
    tea, bread = chats(filled, 'ls').stdout.splitlines()

    assert tea.endswith('  2026-01-01 00:16      2  Green or black tea?')
    assert bread.endswith('5  Sourdough in winter  (pinned archived ChatGPT 68abcd)')


def test_a_chat_is_shown_as_markdown(filled: Path) -> None:
    chat_id = chats(filled, 'ls').stdout.split()[0]

    assert '## You\n\nGreen or black tea?\n\n## gpt-4o-mini\n\nGreen.\n' in chats(filled, 'show', chat_id).stdout


def test_chats_are_exported_to_a_file_or_the_terminal(filled: Path) -> None:
    chat_id = chats(filled, 'ls').stdout.split()[0]

    assert chats(filled, 'export', '--format', 'html').stderr == '2 chats written to chats.zip\n'
    assert len(zipfile.ZipFile(filled / 'chats.zip').namelist()) == 2
    chats(filled, 'export', chat_id, '--format', 'markdown')
    assert (filled / 'Green or black tea.md').read_text('utf-8').startswith('---\ntitle: ')
    assert len(json.loads(chats(filled, 'export', '--output', '-').stdout)['chats']) == 2


def test_an_import_can_be_looked_at_before(tmp_path: Path) -> None:
    seen = chats(tmp_path, 'import', '--dry-run', RECORDED / 'open-webui.json')

    assert 'open-webui     2026-01-01 20:40      5  📝 Notes' in seen.stdout
    assert not (tmp_path / 'data').exists()


def test_files_stay_where_they_are_and_failures_are_told(tmp_path: Path) -> None:
    content = (RECORDED / 'chatgpt.json').read_bytes()
    file = tmp_path / 'cut.json'
    file.write_bytes(content[:-300])
    with zipfile.ZipFile(tmp_path / 'export.zip', 'w') as zipped:
        zipped.writestr('conversations.json', content)
    result = chats(tmp_path, 'import', file, tmp_path / 'export.zip', code=1)

    assert result.stderr == 'New chat: the file ends in the middle of it\n2 taken, 1 already there, 1 not taken\n'
    assert file.exists()
    assert (tmp_path / 'export.zip').exists()


def test_while_the_app_runs_chats_can_be_read_but_not_imported(filled: Path) -> None:
    config = AppConfig(data_dir=filled / 'data')
    with instance.hold(config.lock_file, config.instance_file):
        assert chats(filled, 'ls').stdout
        assert 'already runs' in chats(filled, 'import', RECORDED / 'chatgpt.json', code=2).stderr


def test_what_cannot_be_done_is_said_in_a_line(tmp_path: Path) -> None:
    for arguments, reason in (
        (['ls'], 'There are no chats in'),
        (['import', 'missing.json'], 'There is no file missing.json.'),
        (['import', PROJECT / 'README.md'], 'README.md cannot be imported: it is no JSON file.'),
    ):
        (line,) = chats(tmp_path, *arguments, code=2).stderr.splitlines()
        assert line.startswith(reason)


def test_unknown_chats_are_named(filled: Path) -> None:
    assert 'There is no chat nobody.' in chats(filled, 'export', 'nobody', code=2).stderr
    assert 'There is no such chat' in chats(filled, 'show', '../../x', code=2).stderr


def test_titles_do_not_steer_the_terminal(tmp_path: Path) -> None:
    content = json.loads((RECORDED / 'chatgpt.json').read_text('utf-8'))
    content[0]['title'] = '\x1b[2J\x1b]0;owned\x07'
    (tmp_path / 'file.json').write_text(json.dumps(content), 'utf-8')

    assert '\x1b' not in chats(tmp_path, 'import', '--dry-run', 'file.json').stdout
