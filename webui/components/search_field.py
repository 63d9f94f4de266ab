"""Finding chats and messages in the sidebar, as one types."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from nicegui import ui

from presets.search import CHATS, ChatHit, ChatSearch, Found
from presets.search_text import Span
from webui.words import formats, say

TYPING_SECONDS = 0.12
"""How long no letter was typed before the search begins."""
MOST_CHATS = 1000
FEW = 5
"""Chats that may be missing from the index without a word."""

Open = Callable[[str, str], Awaitable[None]]
"""What opens a chat at a message, or at its end if that is ''."""


class SearchField(ui.element, component='search_field.js'):
    """A field with what was found below it; while something is found out, only the latest text waits."""

    def __init__(self, search: ChatSearch, *, on_open: Open) -> None:
        super().__init__()
        self._search, self._on_open = search, on_open
        self._wanted: tuple[str, int] = ('', CHATS)
        self._busy = False
        self.props['words'] = {name: say(f'search.{name}') for name in ('label', 'clear', 'nothing')}
        self.props['wait'] = TYPING_SECONDS * 1000
        self._show(Found(''))
        self.on('find', lambda event: self._find(str(event.args), CHATS))
        self.on('more', lambda: self._find(self._wanted[0], min(self._wanted[1] * 5, MOST_CHATS)))
        self.on('choose', lambda event: self._on_open(str(event.args['chat']), str(event.args['message'])))

    def focus(self) -> None:
        """Put the cursor into the field."""
        self.run_method('focus')

    def set_text(self, text: str) -> None:
        """Look for a text as if it was typed."""
        self.run_method('setText', text)

    async def _find(self, text: str, limit: int) -> None:
        self._wanted = (text, limit)
        if self._busy:
            return
        self._busy, shown = True, None
        try:
            while shown != self._wanted:
                shown = self._wanted
                self._show(await self._search.find(*shown))
        finally:
            self._busy = False

    def _show(self, found: Found) -> None:
        hits = [line for hit in found.chats for line in _lines(hit)]
        left = found.total - len(found.chats)
        with self.props.suspend_updates():
            self.props['hits'] = hits
            self.props['found'] = found.text
            self.props['summary'] = say('search.summary', n=found.total)
            self.props['more'] = say('search.more', n=left) if left and len(found.chats) < MOST_CHATS else ''
            self.props['note'] = _note(found)
        self.update()


def _lines(hit: ChatHit) -> Iterable[dict[str, Any]]:
    """Yield a line for the chat with its first message, and one for each message after that."""
    first, *others = hit.messages or (None,)
    rest = hit.count - len(hit.messages)
    yield {
        'key': hit.chat.id,
        'chat': hit.chat.id,
        'message': first.id if first else '',
        'title': _pieces(hit.title),
        'date': _date(hit.chat.updated),
        'snippet': _pieces(first.snippet) if first else [],
        'rest': say('search.rest', n=rest) if rest > 0 and not others else '',
    }
    for message in others:
        yield {
            'key': f'{hit.chat.id} {message.id}',
            'chat': hit.chat.id,
            'message': message.id,
            'title': None,
            'snippet': _pieces(message.snippet),
            'rest': say('search.rest', n=rest) if rest > 0 and message is others[-1] else '',
        }


def _date(when: datetime) -> str:
    """Return a date as short as a narrow column needs it: the time, the day, or the month of another year."""
    local, now = when.astimezone(), datetime.now().astimezone()
    if local.date() == now.date():
        return f'{local:%H:%M}'
    month = formats.month_name(local.month)[:3]
    return say('search.day', day=local.day, month=month) if local.year == now.year else f'{month} {local.year}'


def _note(found: Found) -> str:
    if found.unread > FEW:  # the others are those in which something was just said
        return say('search.reading', n=found.unread)
    return say('search.slow') if found.is_slow else ''


def _pieces(spans: Sequence[Span]) -> list[tuple[str, bool]]:
    return [(span.text, span.hit) for span in spans]
