"""Chats on their way out, as a stream: one document, or all of them in one file, without more than one in memory."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from presets.chat import Chat, ChatSummary
from presets.chats import ChatStore
from presets.errors import StoreError
from presets.transfer import markdown, own
from presets.transfer.fields import Table
from presets.transfer.markdown import Labels
from presets.transfer.names import ENDINGS, Format, file_name
from webui import html_export
from webui.words import say_in

TYPES = {'json': 'application/json', 'md': 'text/markdown', 'html': 'text/html', 'zip': 'application/zip'}
NOT_EXPORTED = 'not-exported.txt'


@dataclass(frozen=True, slots=True)
class Export:
    """A file to be: its name, its kind and its content in pieces."""

    name: str
    media_type: str
    content: AsyncIterator[bytes]


def export_one(chat: Chat, format: Format, language: str) -> Export:
    """Return one chat as one file."""
    ending = ENDINGS[format]
    return Export(file_name(chat.display_title, ending), TYPES[ending], _one(chat, format, language))


def export_many(store: ChatStore, chats: Sequence[ChatSummary], format: Format, language: str) -> Export:
    """Return several chats as one file: JSON holds them all, documents come in a zip."""
    ending = 'json' if format == 'json' else 'zip'
    content = _json(store, chats) if format == 'json' else _zip(store, chats, format, language)
    return Export(f'chats.{ending}', TYPES[ending], content)


def document(chat: Chat, format: Format, language: str) -> bytes:
    """Return a chat as one file, all at once."""
    match format:
        case 'json':
            return b''.join(own.joined([own.line_of(chat)]))
        case 'markdown':
            return markdown.write(chat, labels(language)).encode()
        case 'html':
            return ''.join(html_export.write(chat, labels(language), language)).encode()


def labels(language: str) -> Labels:
    """Return the words of a document."""
    names = ('user', 'assistant', 'system', 'tool', 'system_prompt', 'reasoning', 'attached', 'edited', 'failed')
    return Labels(**{name: say_in(language, f'transfer.document_{name}') for name in names})


async def _one(chat: Chat, format: Format, language: str) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(document, chat, format, language)


async def _json(store: ChatStore, chats: Sequence[ChatSummary]) -> AsyncIterator[bytes]:
    left_out: list[Table] = []
    yield own.opening()
    separator = b''
    for summary in chats:
        try:
            chat = await store.load(summary.id)
        except StoreError as error:
            left_out.append({'id': summary.id, 'title': summary.title, 'reason': str(error)})
            continue
        yield separator + await asyncio.to_thread(own.line_of, chat)
        separator = own.separator()
    yield own.ending(left_out)


async def _zip(store: ChatStore, chats: Sequence[ChatSummary], format: Format, language: str) -> AsyncIterator[bytes]:
    sink = _Sink()
    archive = zipfile.ZipFile(sink, 'w', zipfile.ZIP_DEFLATED)
    taken = {NOT_EXPORTED}
    left_out: list[str] = []
    for summary in chats:
        try:
            chat = await store.load(summary.id)
        except StoreError as error:
            left_out.append(f'{summary.title}: {error}\n')
            continue
        await asyncio.to_thread(
            _pack, archive, file_name(chat.display_title, ENDINGS[format], taken), chat, format, language
        )
        yield sink.take()
    if left_out:
        archive.writestr(NOT_EXPORTED, ''.join(left_out))
    archive.close()
    yield sink.take()


def _pack(archive: zipfile.ZipFile, name: str, chat: Chat, format: Format, language: str) -> None:
    entry = zipfile.ZipInfo(name, chat.updated.timetuple()[:6] if chat.updated.year >= 1980 else (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, document(chat, format, language))


class _Sink(io.RawIOBase):
    """What a zip is written to, and taken from piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: object) -> int:
        content = bytes(piece)  # type: ignore[call-overload]
        self._pieces.append(content)
        return len(content)

    def take(self) -> bytes:
        """Return what came since the last call."""
        pieces, self._pieces = self._pieces, []
        return b''.join(pieces)
