"""The page with a chat of a thousand messages and among ten thousand chats, in a real browser."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from presets.chat import Chat
from webui.bench import page_list, page_open, page_save, page_stream
from webui.bench.browser import open_browser
from webui.bench.chats import long_chat, write_chat, write_chats
from webui.bench.page_report import Figure, report
from webui.bench.report import Report
from webui.launch import CannotLaunch, start_app

PARTS = ('ready', 'search', 'open', 'stream', 'tabs', 'save')
LONG_CHATS = 3
QUICK = {'chats': 500, 'messages': 200, 'tabs': 5, 'tokens': 800, 'words': 30}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument('--chats', type=int, default=10_000, help='chats in the list')
    parser.add_argument('--messages', type=int, default=1_000, help='messages of the long chat, a kilobyte each')
    parser.add_argument('--tabs', type=int, default=20, help='tabs that show one stream')
    parser.add_argument('--tokens', type=int, default=4_000, help='tokens of a reply')
    parser.add_argument('--rate', type=int, default=200, help='tokens a second that the model makes')
    parser.add_argument('--words', type=int, default=100, help='words to search for')
    parser.add_argument('--parts', type=_parts, default=','.join(PARTS), help='what is measured')
    parser.add_argument('--quick', action='store_true', help='take small numbers instead: a trial, not a result')


def run(options: argparse.Namespace) -> Report:
    """Make the chats, start the app on them twice, and measure one part after the other."""
    if options.quick:
        options = argparse.Namespace(**{**vars(options), **QUICK})
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(options, Path(folder, 'data'))
    title = f'The page with {options.chats:,} chats, one of them of {options.messages:,} messages'
    return report(title, figures)


def _measure(options: argparse.Namespace, data_dir: Path) -> list[Figure]:
    chats_dir, engine = data_dir / 'chats' / 'local', ('--model', f'echo@{options.rate}')
    _tell(f'Writing {options.chats:,} chats')
    said = write_chats(chats_dir, options.chats)
    long = [_write_long(chats_dir, options.messages, number) for number in range(1, LONG_CHATS + 1)]
    with start_app(data_dir, *engine) as app:
        first, read = app.answered_after, page_list.wait_for_index(app)
    with start_app(data_dir, *engine) as app, open_browser() as browser:
        figures = [
            Figure(key='first_start_seconds', text='start of the app, chats unknown (s)', value=first),
            Figure(key='index_seconds', text='all that is said can be found after (s)', value=read),
            Figure(key='start_seconds', text='start of the app (s)', value=app.answered_after),
        ]
        parts: dict[str, Callable[[], list[Figure]]] = {
            'ready': lambda: page_list.measure_ready(app, browser),
            'search': lambda: page_list.measure_search(app, browser, said, options.words),
            'open': lambda: page_open.measure(app, browser, long, f'{options.messages:,} messages'),
            'stream': lambda: page_stream.measure_long(app, browser, long[0], options.tokens),
            'tabs': lambda: page_stream.measure_tabs(app, browser, options.tabs, options.tokens),
        }
        for name, measure in parts.items():
            figures += _part(options, name, measure)
    return figures + _part(options, 'save', lambda: page_save.measure(chats_dir, options.chats, options.messages))


def _part(options: argparse.Namespace, name: str, measure: Callable[[], list[Figure]]) -> list[Figure]:
    """Measure one part; where the machine is too slow for it, the others still count."""
    from playwright.sync_api import Error  # noqa: PLC0415 (a development tool)

    if name not in options.parts:
        return []
    _tell(f'Measuring: {name}')
    try:
        figures = measure()
    except (Error, CannotLaunch) as error:
        _tell(f'It could not be measured: {error}')
        return [Figure(key=f'{name}_failures', text=f'{name}: could not be measured', value=None, most=0)]
    for figure in figures:
        _tell(f'  {figure.text}: {figure.value}')
    return figures


def _write_long(folder: Path, messages: int, number: int) -> Chat:
    chat = long_chat(f'Long chat {number}', messages, seed=100 + number)
    write_chat(folder, chat, datetime.now(UTC))
    return chat


def _parts(text: str) -> tuple[str, ...]:
    found = tuple(text.split(','))
    if unknown := set(found) - set(PARTS):
        raise argparse.ArgumentTypeError(f'{min(unknown)} is not one of {", ".join(PARTS)}')
    return found


def _tell(text: str) -> None:
    sys.stderr.write(f'{text}\n')
