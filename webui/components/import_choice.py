"""What is in files that were given for an import: the chats to choose from, and what cannot be taken."""

from collections.abc import Callable, Sequence

from nicegui import ui

from presets.transfer.staged import Entry, Skipped
from webui.components.controls import text_button
from webui.components.region import Region
from webui.words import say
from webui.words.formats import day

PAGE = 100
"""Rows that are shown at first, and added by each «Show more»."""


class ImportChoice(Region):
    """A list of chats with a box each; `chosen` are the places of those that are ticked, and changes with them."""

    def __init__(self, entries: Sequence[Entry], chosen: set[int]) -> None:
        super().__init__()
        self._entries, self._chosen = entries, chosen
        self._changed: Callable[[], object] = lambda: None
        self._boxes: list[ui.checkbox] = []
        self.classes('transfer-list').props('data-testid=import-list role=group')
        self.props['aria-label'] = say('transfer.chats')
        with self:
            self._all = ui.checkbox(
                say('transfer.all'), value=True, on_change=lambda event: self._tick_all(event.value)
            )
            self._all.props('dense data-testid=import-all')
            self._rows = ui.element('div')
            self._more = text_button(say('transfer.more'), self._show_more)
        self._show_more()

    def on_change(self, callback: Callable[[], object]) -> None:
        """Call back now and whenever a box is ticked."""
        self._changed = callback
        callback()

    def _show_more(self) -> None:
        shown = len(self._boxes)
        with self._rows:
            for place, entry in enumerate(self._entries[shown : shown + PAGE], shown):
                self._boxes.append(self._row(place, entry))
        self._more.set_visibility(len(self._boxes) < len(self._entries))

    def _row(self, place: int, entry: Entry) -> ui.checkbox:
        with ui.element('div').classes('transfer-row').props('data-testid=import-row'):
            box = ui.checkbox(entry.title, value=place in self._chosen)
            box.props('dense').on_value_change(lambda event: self._tick(place, event.value))
            facts = [say('transfer.messages', n=entry.messages), day(entry.updated)]
            facts += [say('transfer.parts', n=entry.left_out)] if entry.left_out else []
            ui.label(' · '.join(facts)).classes('muted small')
        return box

    def _tick(self, place: int, ticked: bool) -> None:
        (self._chosen.add if ticked else self._chosen.discard)(place)
        self._changed()

    def _tick_all(self, ticked: bool) -> None:
        self._chosen.clear()
        self._chosen.update(range(len(self._entries)) if ticked else ())
        for box in self._boxes:
            box.set_value(ticked)
        self._changed()


def draw_skipped(skipped: Sequence[Skipped]) -> None:
    """Draw what cannot be taken and why, folded if it is much."""
    if not skipped:
        return
    with ui.element('details').classes('transfer-skipped').props('data-testid=import-skipped') as details:
        if len(skipped) <= 5:
            details.props('open')
        with ui.element('summary'):
            ui.label(say('transfer.skipped', n=len(skipped)))
        with ui.element('ul'):
            for chat, reason in skipped[:PAGE]:
                with ui.element('li'):
                    ui.label(f'{chat}: {reason}' if chat else reason)
            if len(skipped) > PAGE:
                with ui.element('li'):
                    ui.label('…')
