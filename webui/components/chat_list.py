"""The chats in the sidebar: pinned ones, folders, then by day. Only the lines around what is in sight are sent."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nicegui import app, ui

from presets.chats import ChatStore
from webui.components.chat_lines import ChatLines, View
from webui.words import say

AHEAD = 40
"""Lines above and below of what is in sight that are sent, too."""
AT_FIRST = 80
MOST = 200
"""Lines in sight that a page may ask for."""
OPEN_FOLDERS = 'open_folders'

Act = Callable[[str, list[str]], Awaitable[None]]


class ChatList(ui.element, component='chat_list.js'):
    """Follows the store. `actions` are what can be done with a line, as chat_list.js offers it."""

    def __init__(
        self,
        store: ChatStore,
        actions: Sequence[dict[str, Any]],
        *,
        on_open: Callable[[str], Awaitable[None]],
        on_act: Act,
        on_rename: Callable[[str, str], Awaitable[None]],
        on_put: Callable[[list[str], str], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._store = store
        self._view: View = 'chats'
        self._from, self._seen = 0, AT_FIRST - AHEAD
        self._open_folders = set[str](app.storage.user.get(OPEN_FOLDERS, []))
        self.props['data-testid'] = 'chats'
        self.props['actions'] = list(actions)
        self.props['current'] = ''
        self.on('open', lambda event: on_open(str(event.args)))
        self.on('act', lambda event: on_act(str(event.args['name']), _texts(event.args['keys'])))
        self.on('rename', lambda event: on_rename(str(event.args['key']), str(event.args['title'])))
        self.on('put', lambda event: on_put(_texts(event.args['keys']), str(event.args['to'])))
        self.on('fold', lambda event: self.fold(str(event.args)))
        self.on('window', lambda event: self._look_at(int(event.args['from']), int(event.args['seen'])))
        self.show('chats')
        self.client.on_delete(store.subscribe(self.refresh))

    def show(self, view: View) -> None:
        """Show the chats, or the archive."""
        self._view, self._from = view, 0
        names = ('label', 'actions', 'title', 'pinned', 'picked', 'done')
        words = {name: say(f'chats.list_{name}') for name in names}
        self.props['words'] = {**words, 'empty': say(f'chats.empty_{view}')}
        self.refresh()

    def refresh(self) -> None:
        """Send the lines again if one of them is another."""
        with self:  # what it says depends on whose page it is
            lines = ChatLines(self._store, self._view, self._open_folders)
            first = max(0, min(self._from - AHEAD, len(lines) - AHEAD))
            window = lines.window(first, self._from + self._seen + AHEAD)
        shown = {'first': first, 'total': len(lines), 'lines': window}
        if any(self.props.get(name) != value for name, value in shown.items()):
            with self.props.suspend_updates():
                self.props.update(shown)
            self.update()

    def select(self, chat_id: str) -> None:
        """Mark the chat that is open."""
        if self.props['current'] != chat_id:
            self.props['current'] = chat_id

    def fold(self, path: str, *, is_open: bool | None = None) -> None:
        """Open or close a folder, for this person on all their pages to come."""
        wanted = path not in self._open_folders if is_open is None else is_open
        self._open_folders = self._open_folders | {path} if wanted else self._open_folders - {path}
        app.storage.user[OPEN_FOLDERS] = sorted(self._open_folders)
        self.refresh()

    def _look_at(self, first: int, seen: int) -> None:
        self._from, self._seen = max(0, first), min(max(1, seen), MOST)
        self.refresh()


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []
