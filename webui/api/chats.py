"""`/api/chats`, `/api/search`, `/api/folders` and `/api/trash`: which chats there are and where they are put."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict

from presets.chat import ChatSummary
from presets.chat_order import ARCHIVED
from presets.search import Found
from presets.trash import TRASH_DAYS, Trashed
from webui.api.schema import LimitedRoute, Text
from webui.services import Services

MOST = 1000
"""Chats in one answer."""

Limit = Annotated[int, Query(ge=1, le=MOST)]
Offset = Annotated[int, Query(ge=0)]


class Chats(BaseModel):
    """Some of `total` chats, newest first."""

    chats: list[ChatSummary]
    total: int


class ChatChange(BaseModel):
    """What is to be different; a folder is a path such as 'Work/Taxes', '' for none."""

    model_config = ConfigDict(extra='forbid')

    title: Text | None = None
    pinned: bool | None = None
    archived: bool | None = None
    folder: Text | None = None


class Folder(BaseModel):
    """A path of names."""

    path: Text


class RenamedFolder(BaseModel):
    """A folder and its new path."""

    path: Text
    new: Text


class TrashedChat(BaseModel):
    """A chat in the trash; `size` in bytes."""

    chat: ChatSummary
    deleted: AwareDatetime
    size: int

    @classmethod
    def of(cls, entry: Trashed) -> Self:
        """Return an entry of the trash as it is told."""
        return cls(chat=entry.summary, deleted=entry.deleted, size=entry.size)


class TrashContent(BaseModel):
    """What was deleted, the latest first; the app removes it after so many days."""

    chats: list[TrashedChat]
    days: int = TRASH_DAYS


class ChatsApi:
    """The list, the search, folders and the trash."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/api', tags=['Chats'], route_class=LimitedRoute)
        router.get('/chats')(self.chats)
        router.patch('/chats/{chat_id}', status_code=204)(self.change)
        router.delete('/chats/{chat_id}', status_code=204)(self.delete)
        router.get('/search')(self.search)
        router.get('/folders')(self.folders)
        router.post('/folders', status_code=201)(self.add_folder)
        router.patch('/folders', status_code=204)(self.rename_folder)
        router.delete('/folders', status_code=204)(self.remove_folder)
        router.get('/trash')(self.trash)
        router.post('/trash/{chat_id}/restore', status_code=204)(self.restore)
        router.delete('/trash/{chat_id}', status_code=204)(self.purge)
        router.delete('/trash', status_code=204)(self.empty_trash)
        return router

    async def chats(self, limit: Limit = 100, offset: Offset = 0, archived: bool = False) -> Chats:
        """Return chats, newest first; those in the archive if that is asked for, else all others."""
        store = self._services.chats
        chats = store.section(ARCHIVED) if archived else [chat for chat in store.summaries() if not chat.archived]
        return Chats(chats=list(chats[offset : offset + limit]), total=len(chats))

    async def change(self, chat_id: str, body: ChatChange) -> None:
        """Rename, pin, archive or file a chat."""
        conversations = self._services.conversations
        places = body.model_dump(exclude_none=True, exclude={'title'})
        if body.title is not None:
            await conversations.rename(chat_id, body.title)
        if body.folder is not None:
            places['folder'] = await self._services.cabinet.add_folder(body.folder)
        if places:
            await conversations.arrange(chat_id, **places)

    async def delete(self, chat_id: str) -> None:
        """Stop the chat's reply and move it to the trash."""
        await self._services.conversations.delete(chat_id)

    async def search(self, q: Text, limit: Limit = 20) -> Found:
        """Return the chats with every word in a title or a message, and where.

        `is:pinned`, `is:archived`, `folder:` and `model:` leave out others.
        """
        return await self._services.search.find(q, limit)

    async def folders(self) -> dict[str, list[str]]:
        """Return every folder, in the order of a tree."""
        return {'folders': self._services.chats.folders()}

    async def add_folder(self, body: Folder) -> dict[str, str]:
        """Make a folder."""
        return {'path': await self._services.cabinet.add_folder(body.path)}

    async def rename_folder(self, body: RenamedFolder) -> None:
        """Give a folder, with all that is in it, another path."""
        await self._services.cabinet.rename_folder(body.path, body.new)

    async def remove_folder(self, path: Text) -> None:
        """Remove a folder; what is in it moves up."""
        await self._services.cabinet.remove_folder(path)

    async def trash(self) -> TrashContent:
        """Return what is in the trash."""
        return TrashContent(chats=[TrashedChat.of(entry) for entry in self._services.chats.trashed()])

    async def restore(self, chat_id: str) -> None:
        """Take a chat back from the trash."""
        await self._services.chats.restore(chat_id)

    async def purge(self, chat_id: str) -> None:
        """Remove a chat that is in the trash for good."""
        await self._services.chats.purge([chat_id])

    async def empty_trash(self) -> None:
        """Remove all that is in the trash for good."""
        await self._services.chats.purge([entry.summary.id for entry in self._services.chats.trashed()])
