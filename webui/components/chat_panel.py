"""The chats' part of the sidebar: the search, the list or the archive, and a menu for what is beside them."""

from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui

from presets.folders import with_parents
from webui.components.chat_deeds import ChatDeeds, Export, actions
from webui.components.chat_lines import View
from webui.components.chat_list import ChatList
from webui.components.controls import Handler, Toasts, icon_button
from webui.components.region import Region
from webui.components.search_field import SearchField
from webui.services import Services
from webui.words import say

OpenChat = Callable[..., Awaitable[None]]
"""Opens a chat by its id, at a message if one is named."""


class ChatPanel(Region):
    """Finds, opens and arranges chats; `on_gone` hears of those that were deleted here."""

    def __init__(
        self,
        services: Services,
        toasts: Toasts,
        *,
        on_open: OpenChat,
        on_gone: Callable[[Sequence[str]], None],
        on_export: Export | None = None,
        on_import: Handler | None = None,
    ) -> None:
        super().__init__()
        self._toasts = toasts
        self._on_export, self._on_import = on_export, on_import
        self._deeds = ChatDeeds(services, toasts, on_gone=on_gone, on_folder=self._unfold, on_export=on_export)
        self.classes('chat-panel')
        with self:
            with ui.element('div').classes('chat-head'):
                self.search = SearchField(services.search, on_open=on_open)
                with icon_button('more_vert', say('chats.more'), lambda: None, testid='chats-menu'):
                    self._build_menu()
            self._archive_head = self._build_archive_head()
            self.list = ChatList(
                services.chats,
                actions(with_export=bool(on_export)),
                on_open=on_open,
                on_act=self._act,
                on_rename=self._deeds.rename,
                on_put=self._put,
            )

    def show(self, view: View) -> None:
        """Show the chats, or the archive."""
        self._archive_head.set_visibility(view == 'archive')
        self.list.show(view)

    def _build_menu(self) -> None:
        with ui.menu().props('auto-close').classes('chat-menu'):
            _item('create_new_folder', say('chats.new_folder'), self._add_folder, 'new-folder')
            _item('archive', say('chats.archive'), lambda: self.show('archive'), 'show-archive')
            _item('delete', say('chats.trash'), lambda: ui.navigate.to('/trash'), 'show-trash')
            if self._on_import:
                _item('upload', say('transfer.menu_import'), self._on_import, 'import-menu')
            if on_export := self._on_export:
                _item('download', say('transfer.menu_export'), lambda: on_export([]), 'export-menu')

    def _build_archive_head(self) -> ui.element:
        with ui.element('div').classes('archive-head') as head:
            icon_button('arrow_back', say('chats.back'), lambda: self.show('chats'), testid='leave-archive')
            ui.label(say('chats.archive')).classes('name')
        head.set_visibility(False)
        return head

    def _unfold(self, folder: str) -> None:
        for path in with_parents([folder]):
            self.list.fold(path, is_open=True)

    # Dialogs belong to the page, not to the sidebar, which a phone closes.

    async def _act(self, name: str, keys: list[str]) -> None:
        with self._toasts:
            await self._deeds.act(name, keys)

    async def _put(self, keys: list[str], to: str) -> None:
        with self._toasts:
            await self._deeds.put(keys, to)

    async def _add_folder(self) -> None:
        with self._toasts:
            await self._deeds.add_folder()


def _item(icon: str, text: str, on_click: Handler, testid: str) -> None:
    item = ui.element('button').classes('menu-item').on('click', on_click)
    item.props.update({'type': 'button', 'role': 'menuitem', 'data-testid': testid})
    with item:
        ui.icon(f'sym_o_{icon}')
        ui.label(text)
