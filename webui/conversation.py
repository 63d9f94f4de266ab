"""One open chat and its running reply. It lives on the server and survives tabs; pages subscribe to it.

A message is on disk before the model sees it, and a reply is written to disk while it streams. Everything names its
message by id, so that what two people do at once meets in the tree and nowhere else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

from inference.chat import PromptProgress, clean_text
from inference.errors import InvalidRequest
from presets.chat import Attachment, Chat, StoredMessage
from presets.chats import ChatStore
from presets.errors import NotFound, StoreError
from webui.making import ReplyMaker, State
from webui.model_host import ModelHost
from webui.open_chat import OpenChat
from webui.waiting import TakeBack, WaitingMessages

Undo = Callable[[], Awaitable[None]]
"""Takes back what was done; a second call does nothing."""
ENDED_WELL = ('stop', 'length', 'tool_calls')
"""Reasons after which the next message goes by itself: nobody said stop, and nothing failed."""


class ReplyRunning(InvalidRequest):
    """A chat has one reply at a time."""

    code = 'reply_running'


class Conversation(OpenChat):
    """A chat with what happens to it now. Everything runs on the event loop.

    What takes a message's id raises NotFound if that is not in the chat any more; what adds a message raises StoreError
    if it cannot be saved, and the chat is then as it was; what begins a reply raises ReplyRunning while one runs.
    """

    def __init__(self, chat: Chat, store: ChatStore, host: ModelHost) -> None:
        super().__init__(chat, store)
        self._host = host
        self._waiting = WaitingMessages(chat)
        self._task: asyncio.Task[None] | None = None
        self._maker: ReplyMaker | None = None
        self._sending = self._stopped = False
        self._user = ''

    @property
    def is_running(self) -> bool:
        """Whether a reply is being made."""
        return self._task is not None

    @property
    def running(self) -> StoredMessage | None:
        """The reply that is being made; it need not be on screen."""
        return self._maker.message if self._maker else None

    @property
    def state(self) -> State:
        """What the reply does now."""
        return self._maker.state if self._maker else 'idle'

    @property
    def place(self) -> int:
        """Where the reply stands in the engine's queue, from 1; 0 if it does not wait."""
        return self._maker.place if self._maker else 0

    @property
    def progress(self) -> PromptProgress | None:
        """How much of the prompt is read."""
        return self._maker.progress if self._maker else None

    @property
    def tokens(self) -> int:
        """Tokens of the reply that is being written."""
        return self._maker.running.tokens if self._maker else 0

    @property
    def rate(self) -> float:
        """Tokens a second of the reply that is being written."""
        return self._maker.running.rate if self._maker else 0.0

    # What begins a reply

    async def send(self, text: str, user: str = '', *, attachments: Sequence[Attachment] = ()) -> StoredMessage:
        """Add the user's message and begin the reply, as a request of `user`. Raises InvalidRequest for nothing."""
        message = _written(text, attachments)
        with self._alone():
            await self._put(message, self.chat.leaf)
        self._answer(message.id, user)
        return message

    async def answer(self, user: str = '') -> None:
        """Begin a reply to the last message, which must be the user's."""
        self._require_idle()
        path = self.chat.path()
        if not path or path[-1].role != 'user':
            raise InvalidRequest('The last message is not a question that waits for a reply. Write one first.')
        self._answer(path[-1].id, user)

    async def regenerate(self, message_id: str = '', user: str = '') -> None:
        """Write another reply beside this one, or to this question; the last one of the chat if no id is given."""
        self._require_idle()
        path = self.chat.path()
        if not message_id and not any(message.role == 'user' for message in path):
            return
        message = self._require(message_id) if message_id else path[-1]
        question = message.id if message.role == 'user' else message.parent
        if not question or question not in self.chat.messages:
            raise InvalidRequest('There is nothing before this reply that it could answer anew. Write a message.')
        if self.chat.leaf != question:
            self.chat.leaf = question
            self.replaced.emit()
        self._answer(question, user)

    async def edit(
        self, message_id: str, text: str, user: str = '', *, attachments: Sequence[Attachment] | None = None
    ) -> StoredMessage:
        """Put another text beside a message: of the user, with a new reply; of the model, as a variant of it.

        What is attached stays, unless `attachments` says otherwise. What followed stays with the old message.
        """
        old = self._require(message_id)
        if old.role == 'user':
            new = _written(text, old.attachments if attachments is None else attachments)
        else:
            new = _rewritten(old, text)
        with self._alone():
            await self._put(new, old.parent)
        if new.role == 'user':
            self._answer(new.id, user)
        return new

    async def continue_reply(self, user: str = '') -> None:
        """Let the last reply go on where it was cut; one that never began begins."""
        self._require_idle()
        path = self.chat.path()
        if len(path) < 2 or path[-1].role != 'assistant':
            raise InvalidRequest('There is no reply that could go on. Send a message first.')
        reply = path[-1]
        if reply.tool_calls:
            raise InvalidRequest('This reply calls a tool, and so it is complete. Regenerate it instead.')
        reply.finish_reason, reply.detail, reply.error = None, '', ''
        self._make(reply, user)
        self.replaced.emit()

    def stop(self) -> None:
        """End the reply now; what came stays, and so do the messages that wait."""
        self._stopped = True
        if self._task and self._maker and not self._maker.stop():
            # Not at once: a task that is cancelled before its first step never runs, and its reply would never end.
            asyncio.get_running_loop().call_soon(self._cancel)

    async def wait(self) -> None:
        """Return when no reply is running any more."""
        while self._task:
            await asyncio.wait([self._task])

    # What changes the tree

    async def insert(self, role: Literal['user', 'assistant'], text: str, *, after: str = '') -> StoredMessage:
        """Put a message below `after`, in front of what follows there, or at the end; nothing is generated."""
        message = _written(text, ())
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

    # Messages that wait until the reply has ended

    async def enqueue(self, text: str, user: str = '', *, attachments: Sequence[Attachment] = ()) -> StoredMessage:
        """Keep a message until the reply before it has ended; it goes at once if there is nothing to wait for."""
        if not self.chat.queue and not self.is_running and not self._sending:
            return await self.send(text, user or self._user, attachments=attachments)
        message = _written(text, attachments)
        await self._keep_queue(self._waiting.add(message))
        return message

    async def edit_queued(
        self, message_id: str, text: str | None, *, attachments: Sequence[Attachment] | None = None
    ) -> StoredMessage:
        """Give a message that waits another text, or other attachments. Raises NotFound if it has gone already."""
        old = self._waiting.get(message_id)
        new = _written(old.content if text is None else text, old.attachments if attachments is None else attachments)
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

    # The reply

    def _require_idle(self) -> None:
        if self.is_running or self._sending:
            raise ReplyRunning('A reply is still being written. Wait for it or stop it first.')

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no reply begin before the block is left, because a message is being saved that comes first."""
        self._require_idle()
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    def _answer(self, question: str, user: str) -> None:
        if question not in self.chat.messages:
            return  # deleted while it was being saved
        message = StoredMessage(role='assistant', content='', left_out=self.chat.left_out())
        shown = self.chat.leaf == question
        self.chat.add(message, question)
        self._make(message, user)
        if shown:
            self.added.emit(message)
        else:
            self.replaced.emit()

    def _make(self, message: StoredMessage, user: str) -> None:
        self._user, self._stopped = user, False
        self._maker = ReplyMaker(self.chat, message, self, user=user)
        self._task = asyncio.create_task(self._reply(self._maker), name=f'reply {self.chat.id}')

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()

    async def _reply(self, maker: ReplyMaker) -> None:
        message = maker.message
        self.changed.emit()
        self._begin_saving()
        with suppress(asyncio.CancelledError):
            await maker.make(self._host)
        self._task = self._maker = None
        self.changed.emit()
        self.finished.emit(message)
        await self.save()
        if message.finish_reason in ENDED_WELL and self.chat.queue and not self._stopped:
            await self._send_next(message)

    async def _send_next(self, reply: StoredMessage) -> None:
        """Send the first message that waits, below the reply it waited for."""
        parent = reply.id if reply.id in self.chat.messages else self.chat.leaf
        try:
            await self._send_queued(self.chat.queue[0].id, parent, self._user)
        except ReplyRunning:
            pass  # someone was faster: it waits for that reply
        except StoreError as error:
            self.problem = str(error)
            self.changed.emit()


def _written(text: str, attachments: Sequence[Attachment]) -> StoredMessage:
    """Return a message of the user. Raises InvalidRequest if there is nothing in it."""
    text = clean_text(text).strip()
    if not text and not attachments:
        raise InvalidRequest('The message is empty. Write something first.')
    return StoredMessage(role='user', content=text, attachments=list(attachments))


def _rewritten(reply: StoredMessage, text: str) -> StoredMessage:
    """Return a variant of a reply with another text; the numbers were those of the old one."""
    return StoredMessage(
        role=reply.role,
        content=_written(text, ()).content,
        edited=True,
        reasoning=reply.reasoning,
        reasoning_seconds=reply.reasoning_seconds,
        model=reply.model,
        preset=reply.preset,
        left_out=reply.left_out,
        finish_reason='stop',
    )
