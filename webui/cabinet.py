"""Where chats are put: pinned, in folders, in the archive, in the trash; one or many at once."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from presets.chats import ChatStore
from presets.errors import StoreError
from presets.folders import folder_path, is_within, parent, renamed
from webui.conversations import Conversations

Undo = Callable[[], Awaitable[None]]


class Cabinet:
    """Each method does what it can for every chat, then raises the first StoreError there was."""

    def __init__(self, chats: ChatStore, conversations: Conversations) -> None:
        self._chats, self._conversations = chats, conversations

    async def pin(self, chat_ids: Iterable[str], pinned: bool = True) -> None:
        """Put chats at the top of the list, or back to their places."""
        await _each(partial(self._conversations.arrange, chat_id, pinned=pinned) for chat_id in chat_ids)

    async def archive(self, chat_ids: Iterable[str], archived: bool = True) -> None:
        """Take chats out of the list without deleting them, or put them back."""
        await _each(partial(self._conversations.arrange, chat_id, archived=archived) for chat_id in chat_ids)

    async def move(self, chat_ids: Iterable[str], folder: str) -> Undo:
        """Put chats into a folder, which is made if need be; '' takes them out of any. Returns what puts them back."""
        folder = folder_path(folder)
        await self._chats.add_folder(folder)
        return await self._file(dict.fromkeys(chat_ids, folder))

    async def delete(self, chat_ids: Iterable[str]) -> None:
        """Move chats to the trash; their replies are stopped."""
        await _each(partial(self._conversations.delete, chat_id) for chat_id in chat_ids)

    async def restore(self, chat_ids: Iterable[str]) -> None:
        """Take chats back from the trash."""
        await _each(partial(self._chats.restore, chat_id) for chat_id in chat_ids)

    async def add_folder(self, path: str) -> str:
        """Make a folder and return its path; '' if there is no name in it."""
        path = folder_path(path)
        await self._chats.add_folder(path)
        return path

    async def rename_folder(self, old: str, new: str) -> None:
        """Give a folder another path; if there is a folder of that name, they become one."""
        new = folder_path(new)
        if new and new != old:
            inside = self._inside(old)
            await self._chats.rename_folder(old, new)
            await self._file({chat_id: renamed(folder, old, new) for chat_id, folder in inside.items()})

    async def remove_folder(self, path: str) -> Undo:
        """Remove a folder; what is in it moves up. Returns what brings it back."""
        inside = self._inside(path)
        await self._chats.remove_folder(path)
        put_back = await self._file(
            {chat_id: renamed(folder, path, parent(path)) for chat_id, folder in inside.items()}
        )

        async def undo() -> None:
            await self._chats.add_folder(path)
            await put_back()

        return undo

    async def _file(self, folders: dict[str, str]) -> Undo:
        known = {chat_id: self._chats.summary(chat_id) for chat_id in folders}
        before = {chat_id: chat.folder for chat_id, chat in known.items() if chat}
        await _each(
            partial(self._conversations.arrange, chat_id, folder=folder)
            for chat_id, folder in folders.items()
            if before.get(chat_id) != folder
        )

        async def undo() -> None:
            await self._file(before)

        return undo

    def _inside(self, folder: str) -> dict[str, str]:
        return {chat.id: chat.folder for chat in self._chats.summaries() if is_within(chat.folder, folder)}


async def _each(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    problems: list[StoreError] = []
    for work in works:
        try:
            await work()
        except StoreError as error:
            problems.append(error)
    if problems:
        raise problems[0]
