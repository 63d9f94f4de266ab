"""The trash: what was deleted, and its way back or out."""

from collections.abc import Awaitable, Sequence
from functools import partial

from nicegui import ui

from presets.errors import StoreError
from presets.trash import TRASH_DAYS, Trashed
from webui.components.chat_dialogs import ask
from webui.components.controls import Toasts, icon_button, text_button
from webui.components.region import Region
from webui.services import Services
from webui.words import formats, say

SHOWN = 100
"""Rows at first; each «more» shows as many again."""


class TrashPage:
    """One browser tab with the trash; it follows what happens to chats elsewhere."""

    def __init__(self, services: Services) -> None:
        self._chats = services.chats
        self._shown = SHOWN
        self._drawn: tuple[list[Trashed], int] | None = None
        self._toasts = Toasts()
        with ui.element('div').classes('trash-page'):
            with ui.element('div').classes('trash-head'):
                icon_button('arrow_back', say('chats.back'), lambda: ui.navigate.to('/'), testid='leave-trash')
                ui.label(say('chats.trash')).classes('title').props('role=heading aria-level=1')
                self._empty_button = text_button(say('chats.empty_trash'), self._ask_to_empty, testid='empty-trash')
            ui.label(say('chats.trash_about', days=TRASH_DAYS)).classes('muted small')
            self._rows = Region().classes('trash-rows')
        self._draw()
        ui.context.client.on_delete(self._chats.subscribe(self._draw))

    def _draw(self) -> None:
        """Draw the rows again if there are others."""
        entries = self._chats.trashed()
        if (entries, self._shown) == self._drawn:
            return
        self._drawn = (entries, self._shown)
        self._empty_button.set_visibility(bool(entries))
        self._rows.clear()
        with self._rows:
            if not entries:
                ui.label(say('chats.trash_empty')).classes('trash-empty')
            for entry in entries[: self._shown]:
                self._draw_row(entry)
            if len(entries) > self._shown:
                text_button(say('chats.trash_more', n=len(entries) - self._shown), self._show_more)

    def _draw_row(self, entry: Trashed) -> None:
        chat = entry.summary
        facts = say('chats.trash_facts', when=formats.moment(entry.deleted), size=formats.size(entry.size))
        with ui.element('div').classes('trash-row').props('data-testid=trash-row'):
            with ui.element('div').classes('grow'):
                ui.label(chat.title).classes('ellipsis').props['title'] = chat.title
                ui.label(facts).classes('muted small')
            text_button(say('chats.restore'), partial(self._restore, entry), testid='restore-chat')
            icon_button('delete_forever', say('chats.purge'), partial(self._ask_to_purge, [entry]), testid='purge-chat')

    def _show_more(self) -> None:
        self._shown += SHOWN
        self._draw()

    # The row that was clicked is gone before a handler ends, so these work in the place of the toasts.

    async def _restore(self, entry: Trashed) -> None:
        with self._toasts:
            if await self._guard(self._chats.restore(entry.summary.id)):
                open_it = partial(ui.navigate.to, f'/c/{entry.summary.id}')
                self._toasts.show(say('chats.restored', title=entry.summary.title), action=(say('chats.open'), open_it))

    async def _ask_to_empty(self) -> None:
        await self._ask_to_purge(self._chats.trashed())

    async def _ask_to_purge(self, entries: Sequence[Trashed]) -> None:
        with self._toasts:
            question = say('chats.purge_ask', n=len(entries), title=entries[0].summary.title)
            if await ask(question, say('chats.purge')):
                await self._guard(self._chats.purge([entry.summary.id for entry in entries]))

    async def _guard(self, work: Awaitable[None]) -> bool:
        try:
            await work
        except StoreError as error:
            self._toasts.show(str(error), error=True)
            return False
        return True
