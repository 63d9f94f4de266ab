"""An open chat and the reply that is made in it, one at a time."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from inference.chat import PromptProgress, clean_text
from inference.errors import InvalidRequest
from presets.chat import Attachment, Chat, StoredMessage
from presets.chats import ChatStore
from webui.making import ReplyMaker, State
from webui.model_host import ModelHost
from webui.open_chat import OpenChat

ENDED_WELL = ('stop', 'length', 'tool_calls')
"""Reasons after which a chat goes on by itself: nobody said stop, and nothing failed."""


class ReplyRunning(InvalidRequest):
    """A chat has one reply at a time."""

    code = 'reply_running'


class ReplyingChat(OpenChat):
    """A chat with what happens to it now.

    What begins a reply raises ReplyRunning while one runs; the reply is saved while it streams.
    """

    def __init__(self, chat: Chat, store: ChatStore, host: ModelHost) -> None:
        super().__init__(chat, store)
        self._host = host
        self._task: asyncio.Task[None] | None = None
        self._maker: ReplyMaker | None = None
        self._nothing_sent = asyncio.Event()
        self._nothing_sent.set()
        self._stopped = False
        self._user = ''

    @property
    def is_running(self) -> bool:
        """Whether a reply is being made."""
        return self._maker is not None

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

    async def send(self, text: str, user: str = '', *, attachments: Sequence[Attachment] = ()) -> StoredMessage:
        """Add the user's message and begin the reply, as a request of `user`. Raises InvalidRequest for nothing."""
        message = written(text, attachments)
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
        if self._maker and not self._maker.stop():
            # Not at once: a task that is cancelled before its first step never runs, and its reply would never end.
            asyncio.get_running_loop().call_soon(self._cancel)

    async def wait(self) -> None:
        """Return when no reply is running any more, and the last one is saved."""
        while self._task and not self._task.done():
            await asyncio.wait([self._task])

    @property
    def _is_sending(self) -> bool:
        """Whether a message is being saved that a reply may follow."""
        return not self._nothing_sent.is_set()

    def _require_idle(self) -> None:
        if self.is_running or self._is_sending:
            raise ReplyRunning('A reply is still being written. Wait for it or stop it first.')
        self._stopped = False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no reply begin before the block is left, because a message is being saved that comes first."""
        self._require_idle()
        self._nothing_sent.clear()
        try:
            yield
        finally:
            self._nothing_sent.set()

    def _answer(self, question: str, user: str) -> None:
        if question not in self.chat.messages:
            return  # deleted while it was being saved
        self._begins()
        message = StoredMessage(role='assistant', content='', left_out=self.chat.left_out())
        shown = self.chat.leaf == question
        self.chat.add(message, question)
        self._make(message, user)
        if shown:
            self.added.emit(message)
        else:
            self.replaced.emit()
        if self._stopped:  # while the question was being saved
            self.stop()

    def _begins(self) -> None:
        """Do what is to come before a reply."""

    def _make(self, message: StoredMessage, user: str) -> None:
        self._user = user
        self._maker = ReplyMaker(self.chat, message, self, user=user)
        self._task = asyncio.create_task(self._reply(self._maker), name=f'reply {self.chat.id}')

    def _cancel(self) -> None:
        if self._task and self._maker and not self._maker.stop():
            self._task.cancel()

    async def _reply(self, maker: ReplyMaker) -> None:
        message = maker.message
        self.changed.emit()
        self._begin_saving()
        with suppress(asyncio.CancelledError):
            await maker.make(self._host)
        self._maker = None
        self.changed.emit()
        self.finished.emit(message)
        await self.save()
        if message.finish_reason in ENDED_WELL and not self._stopped:
            await self._go_on(message)

    async def _go_on(self, reply: StoredMessage) -> None:
        """Do what is to follow a reply that nobody stopped; it is complete and saved."""


def written(text: str, attachments: Sequence[Attachment]) -> StoredMessage:
    """Return a message of the user. Raises InvalidRequest if there is nothing in it."""
    text = clean_text(text).strip()
    if not text and not attachments:
        raise InvalidRequest('The message is empty. Write something first.')
    return StoredMessage(role='user', content=text, attachments=list(attachments))
