"""`/api/chats/{chat_id}/…`: what a person does with messages, for the page and for scripts."""

from collections import OrderedDict
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from presets.errors import NotFound
from webui.api.attachments import attached, resolved
from webui.api.messages_schema import EditedMessage, InsertedMessage, NewMessage, QueuedChange
from webui.api.schema import LimitedRoute, user_of
from webui.conversation import Conversation, Undo
from webui.services import Services

MOST_UNDOS = 100
"""Removals that can be taken back by a program; the oldest go first, and all when the app ends."""

Answer = dict[str, str]


class MessagesApi:
    """A path for each thing; those that begin a reply return at once, and the chat's pages show it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._undos: OrderedDict[tuple[str, str], Undo] = OrderedDict()

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/api/chats/{chat_id}', tags=['Chats'], route_class=LimitedRoute)
        message, queued = '/messages/{message_id}', '/queue/{message_id}'
        for path, begin in (
            ('/messages', self.send),
            ('/answer', self.answer),
            ('/regenerate', self.regenerate),
            ('/continue', self.continue_reply),
            ('/queue', self.enqueue),
            (f'{message}/regenerate', self.regenerate_one),
            (f'{queued}/send', self.send_queued),
        ):
            router.post(path, status_code=202)(begin)
        for path, act in (
            ('/stop', self.stop),
            ('/insert', self.insert),
            ('/measure', self.measure),
            (f'{message}/show', self.show),
            (f'{message}/reveal', self.reveal),
            (f'{message}/restore', self.restore),
            (f'{message}/fork', self.fork),
        ):
            router.post(path)(act)
        router.put(message, status_code=202)(self.edit)
        router.delete(message)(self.delete)
        router.patch(queued)(self.change_queued)
        router.delete(queued)(self.unqueue)
        return router

    async def send(self, chat_id: str, body: NewMessage, request: Request) -> Answer:
        """Add a message and begin the reply; 409 while another reply is written."""
        conversation = await self._open(chat_id)
        async with attached(self._services.uploads, body.attachments) as attachments:
            message = await conversation.send(body.text, user_of(request), attachments=attachments)
        return {'id': message.id}

    async def answer(self, chat_id: str, request: Request) -> Answer:
        """Begin a reply to the last message, which must be the user's."""
        await (await self._open(chat_id)).answer(user_of(request))
        return {}

    async def regenerate(self, chat_id: str, request: Request) -> Answer:
        """Write another reply beside the last one."""
        await (await self._open(chat_id)).regenerate(user=user_of(request))
        return {}

    async def regenerate_one(self, chat_id: str, message_id: str, request: Request) -> Answer:
        """Write another reply beside this one, or to this message of the user."""
        await (await self._open(chat_id)).regenerate(message_id, user_of(request))
        return {}

    async def continue_reply(self, chat_id: str, request: Request) -> Answer:
        """Let the last reply go on where it was cut."""
        await (await self._open(chat_id)).continue_reply(user_of(request))
        return {}

    async def stop(self, chat_id: str) -> Answer:
        """End the reply that is being written; what came stays."""
        (await self._open(chat_id)).stop()
        return {}

    async def edit(self, chat_id: str, message_id: str, body: EditedMessage, request: Request) -> Answer:
        """Put another text beside a message; a message of the user gets a new reply."""
        conversation = await self._open(chat_id)
        async with attached(self._services.uploads, body.attachments or ()) as attachments:
            new_ones = None if body.attachments is None else attachments
            new = await conversation.edit(message_id, body.text, user_of(request), attachments=new_ones)
        return {'id': new.id}

    async def insert(self, chat_id: str, body: InsertedMessage) -> Answer:
        """Add a message without generating anything."""
        message = await (await self._open(chat_id)).insert(body.role, body.text, after=body.after)
        return {'id': message.id}

    async def measure(self, chat_id: str, body: NewMessage) -> dict[str, Any]:
        """Return how much of the context the chat and a draft take; for a chat that is not saved yet, 'new' is its id.

        `system`, `history`, `attachments` and `draft` add up to `total`, in tokens.
        """
        conversations = self._services.conversations
        conversation = conversations.new() if chat_id == 'new' else await conversations.open(chat_id)
        use = await conversation.measure(body.text, await resolved(self._services.uploads, body.attachments))
        return {**asdict(use), 'total': use.total}

    async def delete(self, chat_id: str, message_id: str, below: bool = False) -> Answer:
        """Take a message out, or it and all below; `…/restore` puts back what this took."""
        undo = await (await self._open(chat_id)).delete(message_id, below=below)
        self._undos[chat_id, message_id] = undo
        if len(self._undos) > MOST_UNDOS:
            self._undos.popitem(last=False)
        return {}

    async def restore(self, chat_id: str, message_id: str) -> Answer:
        """Put back what was deleted with this message, where it was."""
        undo = self._undos.pop((chat_id, message_id), None)
        if not undo:
            raise NotFound('This message was not deleted here, or too long ago to be put back.')
        await undo()
        return {}

    async def show(self, chat_id: str, message_id: str) -> Answer:
        """Put this message and the newest ones below it on screen."""
        await (await self._open(chat_id)).show_variant(message_id)
        return {}

    async def reveal(self, chat_id: str, message_id: str) -> Answer:
        """Put this message on screen, if it is not there."""
        await (await self._open(chat_id)).reveal(message_id)
        return {}

    async def fork(self, chat_id: str, message_id: str) -> Answer:
        """Make a new chat of the messages up to this one; returns its id."""
        return {'id': await self._services.conversations.fork(chat_id, message_id)}

    async def enqueue(self, chat_id: str, body: NewMessage, request: Request) -> Answer:
        """Keep a message until the reply has ended; it goes at once if none is written."""
        conversation = await self._open(chat_id)
        async with attached(self._services.uploads, body.attachments) as attachments:
            message = await conversation.enqueue(body.text, user_of(request), attachments=attachments)
        return {'id': message.id}

    async def change_queued(self, chat_id: str, message_id: str, body: QueuedChange) -> Answer:
        """Change a message that waits, or its place."""
        conversation = await self._open(chat_id)
        if body.text is not None or body.attachments is not None:
            async with attached(self._services.uploads, body.attachments or ()) as attachments:
                new_ones = None if body.attachments is None else attachments
                await conversation.edit_queued(message_id, body.text, attachments=new_ones)
        if body.place is not None:
            await conversation.move_queued(message_id, body.place)
        return {'id': message_id}

    async def unqueue(self, chat_id: str, message_id: str) -> Answer:
        """Take a message out of the queue."""
        await (await self._open(chat_id)).unqueue(message_id)
        return {'id': message_id}

    async def send_queued(self, chat_id: str, message_id: str, request: Request) -> Answer:
        """Send a message that waits now; a reply that is written is stopped for it."""
        await (await self._open(chat_id)).send_queued_now(message_id, user_of(request))
        return {'id': message_id}

    async def _open(self, chat_id: str) -> Conversation:
        return await self._services.conversations.open(chat_id)
