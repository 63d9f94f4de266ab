"""The dialog in which chats come in and go out."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args
from urllib.parse import quote

from nicegui import ui

from presets.errors import StoreError
from presets.transfer.names import Format
from presets.transfer.staged import Entry, Skipped
from presets.transfer.taking import Progress, Summary
from webui.components.controls import icon_button, text_button
from webui.components.import_choice import ImportChoice, draw_skipped
from webui.components.import_file import ImportFile
from webui.components.region import Region
from webui.services import Services
from webui.words import say
from webui.words.formats import number


class TransferDialog:
    """Opened for an export of some chats or all, or for an import; what is chosen there happens on the server."""

    def __init__(self, services: Services) -> None:
        self._imports, self._chats = services.imports, services.chats
        self._token = ''
        with ui.dialog() as self._dialog, ui.card().classes('transfer').props('data-testid=transfer'):
            with ui.element('div').classes('transfer-head'):
                self._title = ui.label().classes('transfer-title').props('role=heading aria-level=2')
                icon_button('close', say('common.close'), self._dialog.close)
            self._body = Region().classes('transfer-body')
        self._dialog.props['aria-label'] = say('transfer.name')
        self._dialog.on('hide', self._forget)
        self._dialog.client.on_delete(self._forget)

    def draw_settings(self) -> None:
        """Draw what opens the dialog from among the settings."""
        ui.label(say('transfer.settings')).classes('settings-section')
        ui.label(say('transfer.settings_note')).classes('settings-note')
        with ui.element('div').classes('transfer-settings'):
            text_button(say('transfer.settings_import'), self.open_import, testid='import-chats')
            text_button(say('transfer.settings_export'), self.open_export, testid='export-chats')

    # Out

    def open_export(self, ids: Sequence[str] = ()) -> None:
        """Offer these chats as a file, or all of them."""
        if len(ids) == 1:
            titles = [chat.title for chat in self._chats.summaries() if chat.id == ids[0]]
            title = say('transfer.export_one', title=next(iter(titles), ''))
        else:
            title = say('transfer.export_some', n=len(ids)) if ids else say('transfer.export_all')
        self._begin(title)
        with self._body:
            self._draw_export(ids)
        self._dialog.open()

    def _draw_export(self, ids: Sequence[str]) -> None:
        formats: dict[Format, str] = {name: say(f'transfer.format_{name}') for name in get_args(Format)}
        choice = ui.radio(formats, value='json', on_change=lambda event: aim(event.value))
        choice.classes('transfer-formats').props('data-testid=export-format')
        choice.props['aria-label'] = say('transfer.format')
        note = ui.label().classes('settings-note')
        with ui.element('div').classes('transfer-actions'):
            text_button(say('common.cancel'), self._dialog.close)
            link = ui.element('a').classes('transfer-download').props('download data-testid=export-download')
            with link:
                ui.label(say('transfer.download'))
            link.on('click', self._dialog.close)

        def aim(format: Format) -> None:
            link.props['href'] = _address(ids, format)
            note.set_text(say(f'transfer.about_{format}'))

        aim('json')

    # In

    def open_import(self) -> None:
        """Ask for files."""
        self._begin(say('transfer.import'))
        with self._body:
            ImportFile(self._preview)
        self._dialog.open()

    async def _preview(self, token: str, problems: list[str]) -> None:
        """Show what is in the files, to choose from."""
        with self._body:
            staged = self._imports.find(token)
            self._begin(say('transfer.found', n=len(staged.entries)))
            self._token = token
            chosen = set(range(len(staged.entries)))
            ui.label(_sources(staged.entries)).classes('settings-note').props('data-testid=import-sources')
            choice = ImportChoice(staged.entries, chosen)
            draw_skipped([*(Skipped('', problem) for problem in problems), *staged.skipped])
            with ui.element('div').classes('transfer-actions'):
                text_button(say('common.cancel'), self._dialog.close)
                button = text_button('', lambda: self._take(token, chosen), primary=True, testid='import-take')

            def name_button() -> None:
                button.set_text(say('transfer.take', n=len(chosen)))
                button.set_enabled(bool(chosen))

            choice.on_change(name_button)

    async def _take(self, token: str, chosen: set[int]) -> None:
        self._token = ''  # the files go when they are taken
        with self._body:  # not in the button, which goes now
            self._begin(say('transfer.import'))
            progress = self._draw_progress(len(chosen))
            try:
                summary = await self._imports.take(token, chosen, progress)
            except StoreError as error:
                summary = Summary(skipped=[Skipped('', str(error))])
            self._conclude(summary)

    def _draw_progress(self, total: int) -> Progress:
        bar = ui.element('progress').classes('transfer-progress')
        bar.props['max'], bar.props['aria-label'] = total, say('transfer.import')
        told = ui.label().classes('settings-note')

        def show(done: int) -> None:
            bar.props['value'] = done
            told.set_text(say('transfer.done', done=done, n=total))

        show(0)
        return show

    def _conclude(self, summary: Summary) -> None:
        self._begin(say('transfer.ended'))
        with ui.element('div').props('role=status data-testid=import-summary'):
            ui.label(say('transfer.taken', n=len(summary.taken)))
            if summary.there:
                ui.label(say('transfer.there', n=summary.there)).classes('muted')
        draw_skipped(summary.skipped)
        with ui.element('div').classes('transfer-actions'):
            text_button(say('common.close'), self._dialog.close, primary=True, testid='import-close')

    def _begin(self, title: str) -> None:
        self._forget()
        self._title.set_text(title)
        self._body.clear()

    def _forget(self) -> None:
        """Remove files that nobody wants any more."""
        token, self._token = self._token, ''
        if token:
            self._imports.drop(token)


def _address(ids: Sequence[str], format: Format) -> str:
    query = f'format={format}&language={say("transfer.document_language")}'
    if len(ids) == 1:
        return f'/api/chats/{quote(ids[0], safe="")}/export?{query}'
    return f'/api/chats/export?{query}' + (f'&ids={quote(",".join(ids), safe=",")}' if ids else '')


def _sources(entries: Sequence[Entry]) -> str:
    """Return which apps the chats come from."""
    counts = Counter(entry.source for entry in entries)
    named = [(say(f'transfer.source_{source}'), count) for source, count in counts.most_common()]
    names = [name if len(named) == 1 else f'{name} ({number(count)})' for name, count in named]
    return say('transfer.sources', sources=', '.join(names))
