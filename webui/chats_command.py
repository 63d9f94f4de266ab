"""`run.py chats …`: the chats of a data folder, listed, shown, taken out and brought in, without the page."""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from presets.chat import ChatSummary
from presets.chats import ChatStore
from presets.errors import InvalidImport, NotFound, StoreError
from presets.storage import Writer
from presets.transfer import markdown
from presets.transfer.names import ENDINGS, Format
from presets.transfer.staged import Staged
from presets.transfer.taking import Summary, take
from webui import instance
from webui.config import AppConfig, InvalidOption

if TYPE_CHECKING:
    from webui.export import Export

NOT_ALL, FAILED = 1, 2


def main(argv: Sequence[str]) -> int:
    """Run one command; returns 0, 1 if some chats could not be taken, or 2 if nothing could be done."""
    options = _parser().parse_args(argv)
    try:
        given = {'data_dir': options.data_dir} if options.data_dir else {}
        return asyncio.run(_run(options, AppConfig.from_sources(given)))
    except (StoreError, InvalidOption, instance.AlreadyRunning) as error:
        _tell(str(error))
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='run.py chats', description='List, show, export and import chats.')
    parser.add_argument('--data-dir', metavar='FOLDER', help='where the chats are kept')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    commands.add_parser('ls', help='list the chats, newest first')
    show = commands.add_parser('show', help='print a chat as Markdown')
    show.add_argument('id', help='as ls shows it')
    export = commands.add_parser('export', help='write chats to a file')
    export.add_argument('ids', nargs='*', metavar='ID', help='as ls shows it; all chats without')
    export.add_argument('--format', choices=list(ENDINGS), default='json', help='default: json')
    export.add_argument(
        '--output', metavar='FILE', help='default: a name of its own in this folder; - for the terminal'
    )
    into = commands.add_parser('import', help='bring in chats of this app, ChatGPT, Open WebUI and LM Studio')
    into.add_argument('files', nargs='+', metavar='FILE', type=Path, help='a JSON file, or a zip with such files')
    into.add_argument('--dry-run', action='store_true', help='only say what is in the files')
    return parser


async def _run(options: argparse.Namespace, config: AppConfig) -> int:
    if not config.chats_dir.is_dir() and options.command != 'import':
        raise NotFound(f'There are no chats in {config.data_dir}. Name the folder with --data-dir.')
    match options.command:
        case 'ls':
            async with _opened(config) as store:
                _list(store.summaries())
        case 'show':
            async with _opened(config) as store:
                _print(markdown.write(await store.load(options.id)).encode())
        case 'export':
            async with _opened(config) as store:
                await _export(store, options.ids, options.format, options.output)
        case 'import':
            return await _import(options.files, config, dry_run=options.dry_run)
    return 0


@contextlib.asynccontextmanager
async def _opened(config: AppConfig) -> AsyncIterator[ChatStore]:
    """The chats, which may be read while the app runs: each file of theirs is whole at every moment."""
    writer = Writer()
    try:
        config.chats_dir.mkdir(parents=True, exist_ok=True)
        yield await ChatStore.open(config.chats_dir, writer, _tell)
    finally:
        writer.close()


def _list(chats: Sequence[ChatSummary]) -> None:
    for chat in chats:
        marks = ' '.join(filter(None, ['pinned' * chat.pinned, 'archived' * chat.archived, chat.folder]))
        line = f'{chat.id}  {chat.updated:%Y-%m-%d %H:%M}  {chat.message_count:>5}  {chat.title}'
        _print_line(f'{line}  ({marks})' if marks else line)


async def _export(store: ChatStore, ids: Sequence[str], format: Format, output: str | None) -> None:
    chats = [chat for chat in store.summaries() if not ids or chat.id in ids]
    if missing := set(ids) - {chat.id for chat in chats}:
        raise NotFound(f'There is no chat {", ".join(sorted(missing))}. "run.py chats ls" lists them.')
    from webui.export import export_many, export_one  # noqa: PLC0415 - it takes a while, and only this needs it
    from webui.words import FALLBACK  # noqa: PLC0415

    one = len(ids) == 1
    export = (
        export_one(await store.load(ids[0]), format, FALLBACK) if one else export_many(store, chats, format, FALLBACK)
    )
    if output == '-':
        async for piece in export.content:
            _print(piece)
        return
    path = Path(output or export.name)
    await _write(export, path)
    _tell(f'{len(chats)} {"chat" if len(chats) == 1 else "chats"} written to {path}')


async def _write(export: 'Export', path: Path) -> None:
    try:
        with path.open('wb') as file:
            async for piece in export.content:
                file.write(piece)
    except OSError as error:
        raise StoreError(f'{path} cannot be written: {error.strerror}. Choose another file with --output.') from None


async def _import(files: Sequence[Path], config: AppConfig, *, dry_run: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        staged = Staged(Path(folder))
        for file in files:
            if not file.is_file():
                raise InvalidImport(f'There is no file {file}.')
            staged.add(file, file.name)
        if dry_run:
            _preview(staged)
            return NOT_ALL if staged.skipped else 0
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with instance.hold(config.lock_file, config.instance_file):
            async with _opened(config) as store:
                summary = await take(store, staged, range(len(staged.entries)), lambda done: None)
                await store.close()
    return _conclude(summary)


def _preview(staged: Staged) -> None:
    for entry in staged.entries:
        _print_line(f'{entry.source:<13}  {entry.updated:%Y-%m-%d %H:%M}  {entry.messages:>5}  {entry.title}')
    for chat, reason in staged.skipped:
        _tell(f'{chat}: {reason}')


def _conclude(summary: Summary) -> int:
    for chat, reason in summary.skipped:
        _tell(f'{chat}: {reason}')
    _tell(f'{len(summary.taken)} taken, {summary.there} already there, {len(summary.skipped)} not taken')
    return NOT_ALL if summary.skipped else 0


def _print_line(text: str) -> None:
    _print(f'{_harmless(text)}\n'.encode())


def _print(content: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _tell(text: str) -> None:
    sys.stderr.write(f'{_harmless(text)}\n')


def _harmless(text: str) -> str:
    """Return the text without what would steer the terminal: titles come from anywhere."""
    return ''.join(sign if sign.isprintable() else ' ' for sign in text)
