"""`/api/attachments`: files that are to go with a message, read when they come and kept until it is sent."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from inference.chat import clean_text
from inference.errors import InferenceError
from presets.chat import Attachment
from presets.storage import explained
from presets.uploads import Upload, UploadStore
from webui.documents.reader import TooLarge
from webui.documents.refusal import LARGEST_FILE
from webui.services import Services

LONGEST_NAME = 120


class UploadFacts(BaseModel):
    """What is known of an upload; `size` in bytes, `tokens` of the loaded model or null without one."""

    id: str
    name: str
    media_type: str
    size: int
    characters: int
    tokens: int | None
    note: str


class AttachmentsApi:
    """Uploads: one file in each request, its bytes as the body."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/api/attachments', tags=['Attachments'])
        body = {'requestBody': {'content': {'application/octet-stream': {}}, 'required': True}}
        router.post('', status_code=201, openapi_extra=body)(self.add)
        router.get('/{upload_id}')(self.show)
        router.delete('/{upload_id}', status_code=204)(self.remove)
        return router

    async def add(self, request: Request, name: str = '') -> UploadFacts:
        """Read the text out of a file, which is the body as it is; `name` is what it is called."""
        name = display_name(name)
        async with self._services.uploads.arriving() as path:
            size = await _receive(request, path)
            outcome = await self._services.documents.read(path, name)
        attachment = Attachment(name=name, media_type=outcome.media_type, size=size, text=outcome.text)
        upload = Upload(attachment=attachment, note=outcome.note)
        if not await request.is_disconnected():  # else nobody waits for it any more
            await self._services.uploads.keep(upload)
        return await self._facts(upload)

    async def show(self, upload_id: str) -> UploadFacts:
        """Tell of a file that waits to be sent."""
        return await self._facts(await self._services.uploads.get(upload_id))

    async def remove(self, upload_id: str) -> None:
        """Forget a file that waits to be sent."""
        await self._services.uploads.remove(upload_id)

    async def _facts(self, upload: Upload) -> UploadFacts:
        attachment = upload.attachment
        return UploadFacts(
            id=attachment.id,
            name=attachment.name,
            media_type=attachment.media_type,
            size=attachment.size,
            characters=len(attachment.text),
            tokens=await self._count(attachment.text),
            note=upload.note,
        )

    async def _count(self, text: str) -> int | None:
        engine = self._services.host.engine
        try:
            return await engine.count_tokens(text) if engine else None
        except InferenceError:  # the model is just leaving
            return None


@asynccontextmanager
async def attached(uploads: UploadStore, given: Sequence[Attachment | str]) -> AsyncIterator[list[Attachment]]:
    """Return what is to go with a message, uploads named by their ids; these are forgotten once it is on disk.

    Raises NotFound if one is not kept any more.
    """
    yield await resolved(uploads, given)
    for it in given:
        if isinstance(it, str):
            await uploads.remove(it)


async def resolved(uploads: UploadStore, given: Sequence[Attachment | str]) -> list[Attachment]:
    """Return attachments, uploads among them named by their ids. Raises NotFound if one is not kept any more."""
    return [it if isinstance(it, Attachment) else (await uploads.get(it)).attachment for it in given]


def display_name(name: str) -> str:
    """Return the last part of a file's name, fit to be shown; it is never used as a path."""
    last = clean_text(name).replace('\\', '/').rstrip('/').rpartition('/')[2]
    # Categories that begin with C are control characters, among them those that turn the order of letters.
    visible = ' '.join(''.join(sign for sign in last if unicodedata.category(sign)[0] != 'C').split())
    if len(visible) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        visible = f'{visible[:half]}…{visible[-half + 1 :]}'
    return visible or 'file'


async def _receive(request: Request, path: Path) -> int:
    """Write the body to a file and return its size. Raises TooLarge, or StoreError."""
    size = 0
    with explained(path, 'saved'), path.open('wb') as file:
        async for piece in _pieces(request):
            size += len(piece)
            if size <= LARGEST_FILE:  # many clients read the answer only when they have sent all
                await asyncio.to_thread(file.write, piece)
    if size > LARGEST_FILE:
        raise TooLarge
    return size


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise HTTPException(499, 'The upload was broken off.') from None
