"""What a person does with chats and folders in the list, each with a way back."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from inference.errors import InferenceError
from presets.errors import StoreError
from webui.cabinet import Undo
from webui.components.chat_dialogs import ask_folder, ask_name
from webui.components.chat_lines import FOLDER_KEY, beside
from webui.components.controls import Toasts
from webui.services import Services
from webui.words import say

Export = Callable[[list[str]], object]

_ACTIONS: tuple[dict[str, Any], ...] = (
    {'name': 'rename', 'kind': 'chat', 'icon': 'edit'},
    {'name': 'pin', 'kind': 'chat', 'icon': 'keep', 'when': {'pinned': False, 'archived': False}},
    {'name': 'unpin', 'kind': 'chat', 'icon': 'keep_off', 'when': {'pinned': True, 'archived': False}},
    {'name': 'move', 'kind': 'chat', 'icon': 'drive_file_move', 'many': True, 'when': {'archived': False}},
    {'name': 'select', 'kind': 'chat', 'icon': 'check_box'},
    {'name': 'export', 'kind': 'chat', 'icon': 'download', 'many': True},
    {'name': 'archive', 'kind': 'chat', 'icon': 'archive', 'many': True, 'when': {'archived': False}},
    {'name': 'unarchive', 'kind': 'chat', 'icon': 'unarchive', 'many': True, 'when': {'archived': True}},
    {'name': 'delete', 'kind': 'chat', 'icon': 'delete', 'many': True},
    {'name': 'rename', 'kind': 'folder', 'icon': 'edit'},
    {'name': 'subfolder', 'kind': 'folder', 'icon': 'create_new_folder'},
    {'name': 'remove', 'kind': 'folder', 'icon': 'folder_delete'},
)


def actions(*, with_export: bool) -> list[dict[str, Any]]:
    """Return what the list offers, in the words of the page."""
    offered = [action for action in _ACTIONS if with_export or action['name'] != 'export']
    return [
        {**action, 'icon': f'sym_o_{action["icon"]}', 'text': say(f'chats.{action["name"]}_{action["kind"]}')}
        for action in offered
    ]


class ChatDeeds:
    """Does what the list asks for and tells how it went; `on_gone` hears of chats that are in the trash now,
    `on_folder` of a folder that was made or named."""

    def __init__(
        self,
        services: Services,
        toasts: Toasts,
        *,
        on_gone: Callable[[Sequence[str]], None],
        on_folder: Callable[[str], None],
        on_export: Export | None,
    ) -> None:
        self._services, self._toasts = services, toasts
        self._cabinet = services.cabinet
        self._on_gone, self._on_folder, self._on_export = on_gone, on_folder, on_export

    async def act(self, name: str, keys: list[str]) -> None:
        """Do one of the actions with these lines."""
        match name:
            case 'pin' | 'unpin':
                await self._guard(self._cabinet.pin(keys, name == 'pin'))
            case 'move':
                await self._move(keys)
            case 'export' if self._on_export:
                self._on_export(keys)
            case 'archive' | 'unarchive':
                await self._archive(keys, name == 'archive')
            case 'delete':
                await self._delete(keys)
            case 'subfolder':
                await self.add_folder(keys[0].removeprefix(FOLDER_KEY))
            case 'remove':
                await self._remove_folder(keys[0].removeprefix(FOLDER_KEY))

    async def rename(self, key: str, name: str) -> None:
        """Give a chat or a folder another name."""
        if not key.startswith(FOLDER_KEY):
            await self._guard(self._services.conversations.rename(key, name))
            return
        old = key.removeprefix(FOLDER_KEY)
        new = beside(old, name)
        if await self._guard(self._cabinet.rename_folder(old, new)):
            self._on_folder(new)

    async def put(self, keys: list[str], to: str) -> None:
        """Put chats where they were dropped."""
        if to == 'pinned':
            await self._guard(self._cabinet.pin(keys))
        elif to == 'unfiled':
            await self._guard(self._cabinet.pin(keys, pinned=False))
            await self._file(keys, '')
        else:
            await self._file(keys, to.removeprefix('folder:'))

    async def add_folder(self, inside: str = '') -> None:
        """Ask for a name and make a folder."""
        if name := await ask_name(say('chats.new_folder'), say('chats.create')):
            path = f'{inside}/{name}' if inside else name
            if await self._guard(self._cabinet.add_folder(path)):
                self._on_folder(path)

    async def _move(self, keys: list[str]) -> None:
        summaries = [self._services.chats.summary(key) for key in keys]
        now = {summary.folder for summary in summaries if summary}
        folder = await ask_folder(self._services.chats.folders(), now.pop() if len(now) == 1 else None)
        if folder is not None:
            await self._file(keys, folder)

    async def _file(self, keys: list[str], folder: str) -> None:
        text = say('chats.moved', n=len(keys), folder=folder) if folder else say('chats.moved_out', n=len(keys))
        if undo := await self._with_undo(self._cabinet.move(keys, folder)):
            self._tell(text, undo)

    async def _archive(self, keys: list[str], archived: bool) -> None:
        async def undo() -> None:
            await self._cabinet.archive(keys, not archived)

        if await self._guard(self._cabinet.archive(keys, archived)):
            self._tell(say('chats.archived' if archived else 'chats.unarchived', n=len(keys)), undo)

    async def _delete(self, keys: list[str]) -> None:
        names = [summary.title for key in keys if (summary := self._services.chats.summary(key))]

        async def undo() -> None:
            await self._cabinet.restore(keys)

        if await self._guard(self._cabinet.delete(keys)):
            self._on_gone(keys)
            self._tell(say('chats.deleted', n=len(keys), title=names[0] if names else ''), undo)

    async def _remove_folder(self, path: str) -> None:
        if undo := await self._with_undo(self._cabinet.remove_folder(path)):
            self._tell(say('chats.folder_removed', folder=path), undo)

    def _tell(self, text: str, undo: Undo) -> None:
        async def take_back() -> None:
            await self._guard(undo())

        self._toasts.show(text, action=(say('common.undo'), take_back))

    async def _with_undo(self, work: Awaitable[Undo]) -> Undo | None:
        try:
            return await work
        except StoreError as error:
            self._toasts.show(str(error), error=True)
            return None

    async def _guard(self, work: Awaitable[object]) -> bool:
        """Await `work`; tell an error of ours in words. Returns whether it went well."""
        try:
            await work
        except (InferenceError, StoreError) as error:
            self._toasts.show(str(error), error=True)
            return False
        return True
