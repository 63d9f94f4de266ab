"""`/api/chats/export`, `/api/chats/import`: chats in and out, for the page and for scripts."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel
from starlette.requests import Request
from starlette.responses import StreamingResponse

from presets.errors import NotFound
from presets.transfer.formats import Source
from presets.transfer.names import Format
from presets.transfer.staged import Staged
from webui.export import Export, export_many, export_one
from webui.services import Services
from webui.words import FALLBACK, LANGUAGES

# A document is never shown as a page of the app; where a browser does, nothing in it works.
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class FoundChat(BaseModel):
    """A chat that can be taken; `left_out` are parts of it, such as pictures, that cannot."""

    index: int
    title: str
    source: Source
    messages: int
    updated: AwareDatetime
    left_out: int


class SkippedChat(BaseModel):
    """A chat, or a file without any, that cannot be taken."""

    chat: str
    reason: str


class Preview(BaseModel):
    """What lies ready under `id`."""

    id: str
    chats: list[FoundChat]
    skipped: list[SkippedChat]


class Choice(BaseModel):
    """Which chats to take, by `index`; all of them without a list."""

    take: list[int] | None = None


class Imported(BaseModel):
    """How an import ended: ids of the new chats, how many were there already, what was not taken and why."""

    taken: list[str]
    already_there: int
    skipped: list[SkippedChat]


class TransferApi:
    """Export and import."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/api', tags=['Chats'])
        file: dict[int | str, dict[str, Any]] = {200: {'content': {'application/octet-stream': {}}}}
        router.get('/chats/export', response_class=StreamingResponse, responses=file)(self.export_many)
        router.get('/chats/{chat_id}/export', response_class=StreamingResponse, responses=file)(self.export_one)
        router.post('/chats/import')(self.stage)
        router.post('/chats/import/{import_id}')(self.take)
        router.delete('/chats/import/{import_id}', status_code=204)(self.drop)
        return router

    async def export_one(self, chat_id: str, format: Format = 'json', language: str = FALLBACK) -> StreamingResponse:
        """Return a chat as a file: whole as JSON, or what is on screen as Markdown or HTML."""
        chat = await self._services.chats.load(chat_id)
        return _download(export_one(chat, format, _known(language)))

    async def export_many(
        self,
        format: Format = 'json',
        ids: Annotated[str, Query(description='Separated by commas; all chats without.')] = '',
        language: str = FALLBACK,
    ) -> StreamingResponse:
        """Return chats as a file, newest first: one of JSON, or documents in a zip."""
        chats = self._services.chats.summaries()
        if ids:
            wanted = set(ids.split(','))
            if not wanted <= {chat.id for chat in chats}:
                raise NotFound('One of these chats is not there (any more). Look for it in the list or in the trash.')
            chats = [chat for chat in chats if chat.id in wanted]
        return _download(export_many(self._services.chats, chats, format, _known(language)))

    async def stage(self, request: Request, name: str = '', to: str = '') -> Preview:
        """Look at a file, sent as the body; `to` adds it to an import that was begun. Nothing is taken yet."""
        token = await self._services.imports.stage(request.stream(), name, to)
        return _preview(token, self._services.imports.find(token))

    async def take(self, import_id: str, choice: Choice | None = None) -> Imported:
        """Take chats of a file that was looked at."""
        summary = await self._services.imports.take(import_id, choice.take if choice else None)
        skipped = [SkippedChat(chat=chat, reason=reason) for chat, reason in summary.skipped]
        return Imported(taken=summary.taken, already_there=summary.there, skipped=skipped)

    async def drop(self, import_id: str) -> None:
        """Forget a file that was looked at."""
        self._services.imports.drop(import_id)


def _download(export: Export) -> StreamingResponse:
    headers = {
        'Content-Disposition': f"attachment; filename*=UTF-8''{quote(export.name, safe='')}",
        'Content-Security-Policy': SANDBOX,
        'Cache-Control': 'no-store',
    }
    return StreamingResponse(export.content, headers=headers, media_type=export.media_type)


def _preview(token: str, staged: Staged) -> Preview:
    chats = [
        FoundChat(
            index=index,
            title=entry.title,
            source=entry.source,
            messages=entry.messages,
            updated=entry.updated,
            left_out=entry.left_out,
        )
        for index, entry in enumerate(staged.entries)
    ]
    return Preview(
        id=token, chats=chats, skipped=[SkippedChat(chat=chat, reason=reason) for chat, reason in staged.skipped]
    )


def _known(language: str) -> str:
    return language if language in LANGUAGES else FALLBACK
