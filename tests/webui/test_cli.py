"""Starting the app from a command line: what it says, in one line and at once, when it cannot."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from webui import cli, instance

PROJECT = Path(__file__).parents[2]


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith('CHATBOT_')} | variables
    command = [sys.executable, 'run.py', *map(str, arguments)]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, encoding='utf-8', timeout=30, check=False
    )


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """Return the only line the command printed, after making sure that it failed."""
    assert result.returncode == 2
    assert result.stdout == ''
    (line,) = result.stderr.splitlines()
    return line


def test_the_version_is_the_one_of_the_project() -> None:
    result = run('--version')

    assert (result.returncode, result.stdout) == (0, f'Chatbot WebUI {cli.version()}\n')


def test_the_help_lists_every_option() -> None:
    text = run('--help').stdout

    for option in ('--host', '--port', '--native', '--lan', '--data-dir', '--models-dir', '--model', '--runtime'):
        assert option in text
    for option in ('--no-browser', '--log-level', '--access-code', 'CHATBOT_DATA_DIR', 'bench'):
        assert option in text


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        line = refusal(run('serve', '--port', str(port), '--data-dir', tmp_path))

    assert line.startswith(f'Port {port} is in use by another program. Choose another with --port')


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    line = refusal(run('--host', '192.0.2.1', '--port', '0', '--data-dir', tmp_path))

    assert line.startswith("'192.0.2.1' is not an address of this machine.")


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('in the way', 'utf-8')
    folder = tmp_path / 'file' / 'data'
    line = refusal(run('--data-dir', folder))

    assert line.startswith(f'Cannot write to the data folder {folder}: ')
    assert line.endswith('Choose another with --data-dir.')


def test_a_models_folder_that_does_not_exist(tmp_path: Path) -> None:
    line = refusal(run('--data-dir', tmp_path, '--models-dir', tmp_path / 'none'))

    assert line == f'There is no models folder {tmp_path / "none"}. Create it or correct --models-dir.'


def test_a_bad_environment_variable(tmp_path: Path) -> None:
    assert refusal(run(CHATBOT_PORT='many', CHATBOT_DATA_DIR=str(tmp_path))).startswith(
        "CHATBOT_PORT: cannot use 'many'"
    )


def test_a_second_instance_is_told_where_the_first_one_runs(tmp_path: Path) -> None:
    with instance.hold(tmp_path / 'instance.lock', tmp_path / 'instance.json'):
        instance.announce(tmp_path / 'instance.json', 'http://127.0.0.1:8123')
        line = refusal(run('--data-dir', tmp_path, '--port', '0'))

    expected = f'Chatbot WebUI already runs at http://127.0.0.1:8123 (process {os.getpid()}) with the data folder'
    assert line.startswith(f'{expected} {tmp_path}.')


def test_an_instance_that_was_killed_does_not_keep_the_data_folder(tmp_path: Path) -> None:
    lock_file, instance_file = tmp_path / 'instance.lock', tmp_path / 'instance.json'
    holder = """
import sys
from pathlib import Path
from webui import instance
with instance.hold(*map(Path, sys.argv[1:])):
    instance.announce(Path(sys.argv[2]), 'http://127.0.0.1:1')
    print('held', flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, '-c', holder, str(lock_file), str(instance_file)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == 'held\n'
        with pytest.raises(instance.AlreadyRunning, match=r'http://127\.0\.0\.1:1'):
            instance.hold(lock_file, instance_file).__enter__()
        process.kill()

    with instance.hold(lock_file, instance_file):
        pass


def test_a_window_without_pywebview_names_the_command_that_brings_it(tmp_path: Path) -> None:
    without_pywebview = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *rest):
        return None if name == 'webview' else super().find_spec(name, *rest)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from webui.cli import main
sys.exit(main(['--native', '--data-dir', sys.argv[1]]))
"""
    command = [sys.executable, '-c', without_pywebview, str(tmp_path)]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)

    assert refusal(result).endswith('Start with: uv run --group native run.py --native')


def test_the_supervisor_process_stays_small() -> None:
    code = 'import sys; from webui import cli, config, instance, supervisor; print(*sys.modules)'
    result = subprocess.run([sys.executable, '-c', code], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert not {'nicegui', 'starlette', 'llama_cpp', 'numpy', 'tinydb', 'psutil'} & set(result.stdout.split())
