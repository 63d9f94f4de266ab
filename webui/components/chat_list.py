"""The chats in the sidebar, newest first."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from nicegui import ui

from presets.chat import ChatSummary
from presets.chats import ChatStore
from webui.components.controls import icon_button, set_class, text_button
from webui.components.region import Region

PAGE = 100
"""Rows that are shown at first, and added by each «Show more»."""


class ChatList(Region):
    """Follows the store; a row opens, renames or deletes its chat."""

    def __init__(
        self,
        store: ChatStore,
        *,
        on_open: Callable[[str], Awaitable[None]],
        on_rename: Callable[[ChatSummary], Awaitable[None]],
        on_delete: Callable[[ChatSummary], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._store = store
        self._on_open, self._on_rename, self._on_delete = on_open, on_rename, on_delete
        self._shown: list[tuple[str, str]] = []
        self._rows: dict[str, ui.element] = {}
        self._current = ''
        self._count = PAGE
        self.classes('chat-list').props('data-testid=chat-list role=navigation aria-label=Chats')
        self.refresh()
        self.client.on_delete(store.subscribe(self.refresh))

    def refresh(self) -> None:
        """Draw the rows again if a title or the order changed."""
        summaries = self._store.summaries()
        shown = [(summary.id, summary.title) for summary in summaries[: self._count]]
        if shown == self._shown and self._rows:
            return
        self._shown = shown
        self.clear()
        self._rows.clear()
        with self:
            self._draw(summaries)
        self.select(self._current)

    def select(self, chat_id: str) -> None:
        """Mark the chat that is open."""
        for row_id in (self._current, chat_id):
            if row := self._rows.get(row_id):
                set_class(row, 'current', row_id == chat_id)
        self._current = chat_id

    def _draw(self, summaries: list[ChatSummary]) -> None:
        if not summaries:
            ui.label('Your chats will be here.').classes('chat-group')
        group = ''
        for summary in summaries[: self._count]:
            if (day := _day(summary.updated)) != group:
                group = day
                ui.label(group).classes('chat-group')
            self._rows[summary.id] = self._row(summary)
        if len(summaries) > self._count:
            text_button('Show more', self._more)

    def _row(self, summary: ChatSummary) -> ui.element:
        with ui.element('div').classes('chat-item').props('data-testid=chat-item') as row:
            link = ui.element('button').classes('chat-link').on('click', lambda: self._run(self._on_open(summary.id)))
            link.props['title'] = summary.title
            with link:
                ui.label(summary.title).classes('ellipsis')
            with ui.element('div').classes('chat-actions'):
                icon_button('edit', 'Rename', lambda: self._run(self._on_rename(summary)), testid='rename-chat')
                icon_button('delete', 'Delete', lambda: self._run(self._on_delete(summary)), testid='delete-chat')
        return row

    async def _run(self, work: Awaitable[None]) -> None:
        # In the context of the list, because the row that was clicked may be gone before the work is done.
        with self:
            await work

    def _more(self) -> None:
        self._count += PAGE
        self.refresh()


def _day(when: datetime) -> str:
    age = datetime.now().astimezone().date() - when.astimezone().date()
    if age <= timedelta(days=1):
        return 'Yesterday' if age else 'Today'
    return 'This week' if age < timedelta(days=7) else f'{when.astimezone():%B %Y}'
