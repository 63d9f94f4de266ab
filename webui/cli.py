"""The command line: reads the options, refuses what cannot work, then supervises the app or is the app."""

import argparse
import errno
import importlib.util
import os
import signal
import socket
import sys
import tempfile
import typing
from collections.abc import Sequence
from pathlib import Path

if typing.TYPE_CHECKING:
    from webui.config import AppConfig

# Imports stand inside functions here: a version or an error must come at once, and the supervisor stays small.
# ruff: noqa: PLC0415

APP_VARIABLE = 'CHATBOT_APP_PROCESS'
USAGE_ERROR = 2
PROJECT = Path(__file__).parent.parent


class CannotStart(Exception):
    """What is in the way of a start, in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv`; in the app process, run the app that the supervisor described."""
    if described := os.environ.pop(APP_VARIABLE, None):
        return _be_the_app(described)
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ['bench']:
        from webui.bench import main as bench

        return bench(arguments[1:])
    if arguments[:1] == ['chats']:
        from webui.chats_command import main as chats

        return chats(arguments[1:])
    return _serve(arguments)


def _serve(arguments: list[str]) -> int:
    options = vars(_parser().parse_args(arguments))
    if (command := options.pop('command')) != 'serve':
        return _refuse(f"'{command}' comes before its options: run.py {command} NAME")
    from webui.config import AppConfig, InvalidOption
    from webui.instance import AlreadyRunning

    try:
        config = AppConfig.from_sources(options)
        chosen = options['access_code'] or os.environ.get('CHATBOT_ACCESS_CODE')
        return _supervise(config, arguments, code_is_new=not chosen)
    except (InvalidOption, CannotStart, AlreadyRunning) as error:
        return _refuse(str(error))


def _supervise(config: 'AppConfig', arguments: list[str], *, code_is_new: bool) -> int:
    """Check what can be checked cheaply, then hold the data folder for as long as the supervisor lives."""
    from webui import instance, supervisor

    _check_folders(config)
    _check_native(config)
    with instance.hold(config.lock_file, config.instance_file):
        config = config.model_copy(update={'port': _free_port(config.host, config.port)})
        instance.announce(config.instance_file, config.url)
        sys.stderr.write(_greeting(config, code_is_new))
        return supervisor.run(
            [sys.executable, str(PROJECT / 'run.py'), *arguments],
            environment={**os.environ, APP_VARIABLE: config.model_dump_json()},
            log_file=config.log_file,
        )


def _be_the_app(described: str) -> int:
    """Take over the configuration as the supervisor worked it out; the arguments are only for lists of processes."""
    import faulthandler

    from webui.config import AppConfig
    from webui.supervisor import CrashReport, exit_with_parent

    exit_with_parent()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # unlike the default, it runs what cleans up
    faulthandler.enable()
    config, crash = AppConfig.model_validate_json(described), CrashReport.take()
    if crash:
        config = config.model_copy(update={'browser': False})  # the tab is open already
    os.environ['NICEGUI_STORAGE_PATH'] = str(config.storage_dir)  # read when nicegui is imported
    try:
        from webui.app import serve

        serve(config, crash)
    except KeyboardInterrupt:  # uvicorn raises it again after it has shut down
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='run.py',
        description='Chat with local GGUF models in the browser.',
        epilog='Each option is also an environment variable, --data-dir for one CHATBOT_DATA_DIR; the option wins. '
        "'run.py bench --help' tells about the benchmarks, 'run.py chats --help' about chats in and out of the app.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('command', nargs='?', choices=['serve', 'bench', 'chats'], default='serve', help='default: serve')
    add('--host', help='address to listen at (default: 127.0.0.1)')
    add('--port', help='port to listen at, 0 for any that is free (default: 8080)')
    add('--native', action='store_true', default=None, help='open a window of its own instead of a browser tab')
    add('--lan', action='store_true', default=None, help='let other devices in, with an access code')
    add('--data-dir', metavar='FOLDER', help='where chats, settings and models are kept')
    add('--models-dir', metavar='FOLDER', help='another folder with GGUF files')
    add('--model', help='model to load at the start')
    add(
        '--load-settings',
        metavar='NAME=VALUE',
        help='how to load it, such as "n_ctx=8192 n_slots=8", or a JSON object; kept for this model',
    )
    add('--runtime', help='what runs the model (default: builtin)')
    add('--no-browser', dest='browser', action='store_false', default=None, help='do not open a browser tab')
    add('--log-level', metavar='LEVEL', help='DEBUG, INFO, WARNING or ERROR (default: INFO)')
    add('--access-code', metavar='CODE', help='code that others need (default: a new one at each start)')
    add('--version', action=_Version, nargs=0, help='show the version')
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(f'Chatbot WebUI {version()}\n')
        parser.exit()


def version() -> str:
    """Return the version that pyproject.toml declares."""
    import tomllib

    return str(tomllib.loads((PROJECT / 'pyproject.toml').read_text('utf-8'))['project']['version'])


def _check_folders(config: 'AppConfig') -> None:
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.data_dir) as probe:
            probe.write(b'probe')
    except OSError as error:
        raise CannotStart(
            f'Cannot write to the data folder {config.data_dir}: {error.strerror}. Choose another with --data-dir.'
        ) from None
    if config.models_dir and not config.models_dir.is_dir():
        raise CannotStart(f'There is no models folder {config.models_dir}. Create it or correct --models-dir.')


def _check_native(config: 'AppConfig') -> None:
    if config.native and importlib.util.find_spec('webview') is None:
        raise CannotStart(
            'A window of its own needs pywebview, which is not installed. '
            'Start with: uv run --group native run.py --native'
        )


def _free_port(host: str, port: int) -> int:
    """Return `port`, or a free one for 0, after trying to listen there as the server will."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ports = [_bind(family, address) for family, _, _, _, address in found]
        return ports[0]
    except socket.gaierror:
        raise CannotStart(
            f"The host '{host}' is unknown. Leave --host out, or use an address of this machine."
        ) from None
    except OSError as error:
        raise CannotStart(_why_not(error, host, port)) from None


def _bind(family: int, address: typing.Any) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if sys.platform == 'win32':  # there, reusing an address means taking it from its owner
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])


def _why_not(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f'Port {port} is in use by another program. Choose another with --port, for example --port {port + 1}.'
            )
        case errno.EACCES | 10013:  # the latter is what Windows says
            return f'The system does not let you use port {port}. Choose another above 1023 with --port.'
        case errno.EADDRNOTAVAIL:
            return f"'{host}' is not an address of this machine. Leave --host out, or use one of its addresses."
        case _:
            return f'Cannot listen at {host}, port {port}: {error.strerror}. Try another --port or --host.'


def _greeting(config: 'AppConfig', code_is_new: bool) -> str:
    """A code that the user chose stays out of terminals and container logs."""
    lines = [f'Chatbot WebUI starts at {config.url} (Ctrl+C stops it).']
    if config.is_public:
        path = config.open_path if code_is_new else '/ with your access code'
        lines.append(f'From other devices: http://{_lan_address()}:{config.port}{path}')
    return '\n'.join(lines) + '\n'


def _lan_address() -> str:
    """Return the address other devices most likely reach this machine at; nothing is sent to find it."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(('192.0.2.1', 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _refuse(message: str) -> int:
    sys.stderr.write(f'{message}\n')
    return USAGE_ERROR
