"""One open chat and its running reply. It lives on the server and survives tabs; pages subscribe to it.

A message is on disk before the model sees it, and a reply is written to disk while it streams. Everything names its
message by id, so that what two people do at once meets in the tree and nowhere else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from inference.errors import NoModelLoaded
from presets.chat import Attachment, Chat, StoredMessage
from presets.chats import ChatStore
from webui.measuring import ContextMeter, ContextUse
from webui.model_host import ModelHost
from webui.queueing import QueueingChat
from webui.replying import written
from webui.titles import FREE_SECONDS, Titling, starting_title, suggest_title

Undo = Callable[[], Awaitable[None]]
"""Takes back what was done; a second call does nothing."""
MOST_TITLES = 3
"""How often the model is asked what to call a chat, if nothing comes of it."""


class Conversation(QueueingChat):
    """A chat with what happens to it now. Everything runs on the event loop.

    What takes a message's id raises NotFound if that is not in the chat any more; what adds a message raises StoreError
    if it cannot be saved, and the chat is then as it was; what begins a reply raises ReplyRunning while one runs.
    `titling` is how the person at the page wants chats to be named.
    """

    def __init__(self, chat: Chat, store: ChatStore, host: ModelHost) -> None:
        super().__init__(chat, store, host)
        self.titling: Titling = 'line'
        self._meter = ContextMeter(chat)
        self._naming: asyncio.Task[None] | None = None
        self._named = 0

    async def measure(self, draft: str = '', attachments: Sequence[Attachment] = ()) -> ContextUse:
        """Return what the next prompt takes of the context. Raises InferenceError, such as NoModelLoaded."""
        if not self._host.engine:
            raise NoModelLoaded
        return await self._meter.measure(self._host.engine, draft, attachments)

    async def edit(
        self, message_id: str, text: str, user: str = '', *, attachments: Sequence[Attachment] | None = None
    ) -> StoredMessage:
        """Put another text beside a message: of the user, with a new reply; of the model, as a variant of it.

        What is attached stays, unless `attachments` says otherwise. What followed stays with the old message.
        """
        old = self._require(message_id)
        if old.role == 'user':
            new = written(text, old.attachments if attachments is None else attachments)
        else:
            new = _rewritten(old, text)
        with self._alone():
            await self._put(new, old.parent)
        if new.role == 'user':
            self._answer(new.id, user)
        return new

    async def insert(self, role: Literal['user', 'assistant'], text: str, *, after: str = '') -> StoredMessage:
        """Put a message below `after`, in front of what follows there, or at the end; nothing is generated."""
        message = written(text, ())
        if role == 'assistant':
            message = message.model_copy(update={'role': role, 'edited': True, 'finish_reason': 'stop'})
        if after:
            self._require(after)
        with self._alone():
            if not after or after == self.chat.leaf:
                await self._put(message, self.chat.leaf)
            else:
                self._tree.insert(message, after)
                await self._save_or(lambda: self._drop(message.id))
                self.replaced.emit()
        return message

    async def delete(self, message_id: str, *, below: bool = False) -> Undo:
        """Take out a message, whose children move up, or it and all below; a reply among them is stopped first."""
        self._require(message_id)
        while self.running and self.running.id in (self.chat.below(message_id) if below else {message_id}):
            self.stop()
            await self.wait()
            self._require(message_id)
        removals = [self._tree.remove(message_id, below=below)]

        async def undo() -> None:
            if removals:
                self._tree.put_back(removals.pop())
                self.replaced.emit()
                await self.save()

        await self._save_or(lambda: self._tree.put_back(removals.pop()))
        self.replaced.emit()
        return undo

    def stop(self) -> None:
        """End the reply now; what came stays, and so do the messages that wait."""
        if self._naming:
            self._naming.cancel()
        super().stop()

    def _begins(self) -> None:
        if self.titling == 'never' and not self.chat.title and len(self.chat.messages) == 1:
            self.chat.title = starting_title(self.chat)

    async def _go_on(self, reply: StoredMessage) -> None:
        await super()._go_on(reply)
        if self.titling == 'model' and self._named < MOST_TITLES and (not self._naming or self._naming.done()):
            self._naming = asyncio.create_task(self._name(), name=f'name {self.chat.id}')

    async def _name(self) -> None:
        """Give the chat a title once nothing else is to be done, unless it has one by then."""
        await asyncio.sleep(FREE_SECONDS)
        engine = self._host.engine
        if engine:
            await engine.idle()
        if not engine or engine is not self._host.engine or self.is_running or self.chat.queue or self.chat.title:
            return
        self._named += 1
        title = await suggest_title(engine, self.chat)
        if title and not self.chat.title:
            await self.change(title=title)


def _rewritten(reply: StoredMessage, text: str) -> StoredMessage:
    """Return a variant of a reply with another text; the numbers were those of the old one."""
    return StoredMessage(
        role=reply.role,
        content=written(text, ()).content,
        edited=True,
        reasoning=reply.reasoning,
        reasoning_seconds=reply.reasoning_seconds,
        model=reply.model,
        preset=reply.preset,
        left_out=reply.left_out,
        finish_reason='stop',
    )
