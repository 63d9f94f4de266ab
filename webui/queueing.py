"""An open chat in which messages can wait until the reply before them has ended."""

from collections.abc import Sequence
from contextlib import suppress

from presets.chat import Attachment, Chat, StoredMessage
from presets.chats import ChatStore
from presets.errors import NotFound, StoreError
from webui.model_host import ModelHost
from webui.replying import ReplyingChat, written
from webui.waiting import TakeBack, WaitingMessages


class QueueingChat(ReplyingChat):
    """After a reply that ended by itself, the next message goes; after a stop or a failure they all stay."""

    def __init__(self, chat: Chat, store: ChatStore, host: ModelHost) -> None:
        super().__init__(chat, store, host)
        self._waiting = WaitingMessages(chat)

    async def enqueue(self, text: str, user: str = '', *, attachments: Sequence[Attachment] = ()) -> StoredMessage:
        """Keep a message until the reply before it has ended; it goes at once if there is nothing to wait for."""
        if not self.chat.queue and not self.is_running and not self._is_sending:
            return await self.send(text, user or self._user, attachments=attachments)
        message = written(text, attachments)
        await self._keep_queue(self._waiting.add(message))
        return message

    async def edit_queued(
        self, message_id: str, text: str | None, *, attachments: Sequence[Attachment] | None = None
    ) -> StoredMessage:
        """Give a message that waits another text, or other attachments. Raises NotFound if it has gone already."""
        old = self._waiting.get(message_id)
        new = written(old.content if text is None else text, old.attachments if attachments is None else attachments)
        new = new.model_copy(update={'id': old.id, 'created': old.created})
        await self._keep_queue(self._waiting.replace(new))
        return new

    async def move_queued(self, message_id: str, place: int) -> None:
        """Give a message that waits another place, from 0."""
        await self._keep_queue(self._waiting.move(message_id, place))

    async def unqueue(self, message_id: str) -> StoredMessage:
        """Take a message out of the queue and return it. Raises NotFound if it has gone already."""
        message = self._waiting.get(message_id)
        await self._keep_queue(self._waiting.take(message_id))
        return message

    async def send_queued_now(self, message_id: str, user: str = '') -> None:
        """Send a message that waits; a reply that runs is stopped for it."""
        self._waiting.get(message_id)
        if self.is_running:
            self.stop()
            await self.wait()
        await self._send_queued(message_id, self.chat.leaf, user or self._user)

    async def _send_queued(self, message_id: str, parent: str | None, user: str) -> None:
        with self._alone():
            message = self._waiting.get(message_id)
            take_back = self._waiting.take(message_id)
            try:
                await self._put(message, parent)
            except StoreError:
                take_back()
                raise
            finally:
                self.queue_changed.emit()
        self._answer(message.id, user)

    async def _keep_queue(self, take_back: TakeBack) -> None:
        """Save the queue after a change to it."""
        try:
            await self._store.save(self.chat)
        except StoreError:
            with suppress(NotFound):  # it has gone in the meantime
                take_back()
            raise
        finally:
            self.queue_changed.emit()
            self.changed.emit()

    async def _go_on(self, reply: StoredMessage) -> None:
        """Send the first message that waits, below the reply it waited for."""
        while self._is_sending:
            await self._nothing_sent.wait()
        if self._stopped or self.is_running or not self.chat.queue:
            return  # where another reply is made by now, the message waits for that
        parent = reply.id if reply.id in self.chat.messages else self.chat.leaf
        try:
            await self._send_queued(self.chat.queue[0].id, parent, self._user)
        except StoreError as error:
            self.problem = str(error)
            self.changed.emit()
