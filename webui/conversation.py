"""One open chat and its running reply. It lives on the server and survives tabs; pages subscribe to it.

A message is on disk before the model sees it, and a reply is written to disk while it streams.
"""

import asyncio
import time
from typing import Literal, assert_never
from weakref import WeakValueDictionary

from loguru import logger
from nicegui import Event

from inference.chat import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    LeftOut,
    Message,
    PromptProgress,
    Queued,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    clean_text,
)
from inference.engine import Generation
from inference.errors import InferenceError, InvalidRequest
from inference.settings import SamplingSettings
from presets.chat import Chat, StoredMessage
from presets.chats import ChatStore
from presets.errors import NotFound, StoreError
from webui.model_host import ModelHost

State = Literal['idle', 'waiting', 'prefill', 'streaming']
FLUSH_SECONDS = 0.04
"""Text reaches the pages 25 times a second at most."""
SAVE_SECONDS = 0.5
"""A crash costs at most this much of a reply, and the time of one write."""
RETRY_SECONDS = 2.0
"""How often a chat is tried again that could not be saved."""


class ReplyRunning(InvalidRequest):
    """A chat has one reply at a time."""

    code = 'reply_running'


class Conversation:
    """A chat with what happens to it now. Everything runs on the event loop."""

    def __init__(self, chat: Chat, store: ChatStore, host: ModelHost) -> None:
        self.chat = chat
        self._store, self._host = store, host
        self._task: asyncio.Task[None] | None = None
        self._generation: Generation | None = None
        self._saver: asyncio.Task[None] | None = None
        self._sending = self._unsaved = False
        self._pending: list[str] = []
        self._flushing: asyncio.TimerHandle | None = None
        self.state: State = 'idle'
        self.place = 0
        self.progress: PromptProgress | None = None
        self.tokens = 0
        self.started_at = 0.0
        self.problem = ''
        self.added = Event[StoredMessage]()
        self.extended = Event[StoredMessage, str]()
        self.finished = Event[StoredMessage]()
        self.changed = Event[[]]()
        self.replaced = Event[[]]()

    @property
    def is_running(self) -> bool:
        """Whether a reply is being made."""
        return self._task is not None

    @property
    def rate(self) -> float:
        """Tokens a second of the reply that streams now."""
        seconds = time.monotonic() - self.started_at
        return self.tokens / seconds if self.tokens and seconds > 0 else 0.0

    async def send(self, text: str) -> StoredMessage:
        """Add the user's message and begin the reply.

        Raises InvalidRequest for an empty message, ReplyRunning while a reply runs, StoreError if it cannot be saved;
        the chat is then as it was.
        """
        text = clean_text(text).strip()
        if not text:
            raise InvalidRequest('The message is empty. Write something first.')
        self._require_idle()
        message = StoredMessage(role='user', content=text)
        self._sending = True
        try:
            await self._save_with(message)
        finally:
            self._sending = False
        self.added.emit(message)
        self._start()
        return message

    async def regenerate(self) -> None:
        """Answer the last user message anew; the old reply stays in the chat's tree beside the new one."""
        self._require_idle()
        questions = [message.id for message in self.chat.path() if message.role == 'user']
        if not questions:
            return
        if self.chat.leaf != questions[-1]:
            self.chat.leaf = questions[-1]
            self.replaced.emit()
        self._start()

    def stop(self) -> None:
        """End the reply now; what came stays."""
        if self._generation:
            self._generation.cancel()
        elif self._task:
            # Not at once: a task that is cancelled before its first step never runs, and its reply would never end.
            asyncio.get_running_loop().call_soon(self._cancel)

    async def wait(self) -> None:
        """Return when no reply is running any more."""
        if self._task:
            await asyncio.wait([self._task])

    async def change(
        self, *, title: str | None = None, system_prompt: str | None = None, sampling: SamplingSettings | None = None
    ) -> None:
        """Change what belongs to the chat; a chat without messages is not saved before it has one."""
        if title is not None:
            self.chat.title = clean_text(title).strip()[:200]
        if system_prompt is not None:
            self.chat.system_prompt = clean_text(system_prompt)
        if sampling is not None:
            self.chat.sampling = sampling
        if self.chat.messages:
            await self.save()
        self.changed.emit()

    async def save(self) -> None:
        """Write the chat; a failure is kept in `problem` for the page, and the text in memory."""
        problem, self._unsaved = '', False
        try:
            await self._store.save(self.chat)
        except StoreError as error:
            problem, self._unsaved = str(error), not isinstance(error, NotFound)
        if problem != self.problem:
            self.problem = problem
            self.changed.emit()

    def _require_idle(self) -> None:
        if self.is_running or self._sending:
            raise ReplyRunning('A reply is still being written. Wait for it or stop it first.')

    async def _save_with(self, message: StoredMessage) -> None:
        leaf, updated = self.chat.leaf, self.chat.updated
        self.chat.append(message)
        try:
            await self._store.save(self.chat)
        except StoreError:
            del self.chat.messages[message.id]
            self.chat.leaf, self.chat.updated = leaf, updated
            self.replaced.emit()
            raise

    def _start(self) -> None:
        self._task = asyncio.create_task(self._reply(), name=f'reply {self.chat.id}')

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()

    async def _reply(self) -> None:
        message = StoredMessage(role='assistant', content='')
        self.chat.append(message)
        self.added.emit(message)
        self._enter('waiting')
        if not self._saver or self._saver.done():
            self._saver = asyncio.create_task(self._keep_saved())
        try:
            await self._generate(message)
        except asyncio.CancelledError:
            message.finish_reason = 'cancelled'
        except InferenceError as error:
            message.finish_reason, message.error = 'error', str(error)
        except Exception:  # the task's outermost loop: whatever it was, the chat goes on
            logger.exception('A reply failed')
            message.finish_reason = 'error'
            message.error = 'The app met an error of its own; the log has the details. Try again.'
        self._flush(message)
        self._generation = self._task = self.progress = None
        self.place = 0
        self._enter('idle')
        self.finished.emit(message)
        await self.save()

    async def _generate(self, message: StoredMessage) -> None:
        engine = await self._host.ready()
        message.model = engine.info.name
        request = GenerationRequest(messages=tuple(self._prompt(message)), sampling=self.chat.sampling)
        async with engine.generate(request) as generation:
            self._generation = generation
            async for event in generation:
                self._take(message, event)

    def _prompt(self, reply: StoredMessage) -> list[Message]:
        """Return what the model is to read: the branch up to the reply, without replies that failed empty."""
        turns = [Message(role='system', content=self.chat.system_prompt)] if self.chat.system_prompt.strip() else []
        for message in self.chat.path():
            if message is reply or not message.content:
                continue
            if turns and turns[-1].role == message.role == 'user':
                # Templates insist on alternating roles; a failed reply leaves two questions in a row.
                turns.append(Message(role='user', content=f'{turns.pop().content}\n\n{message.content}'))
            else:
                turns.append(Message(role=message.role, content=message.content))
        return turns

    def _take(self, message: StoredMessage, event: GenerationEvent) -> None:
        match event:
            case Queued(place=place):
                self.place = place
                self._enter('waiting')
            case PromptProgress():
                self.progress, self.place = event, 0
                self._enter('prefill')
            case TextDelta(text=text, tokens=tokens):
                self._extend(message, text, tokens)
            case LeftOut() | ReasoningDelta() | ToolCallDelta():
                pass
            case Finished():
                _note_numbers(message, event)
            case _:
                assert_never(event)

    def _extend(self, message: StoredMessage, text: str, tokens: int) -> None:
        if self.state != 'streaming':
            self.tokens, self.started_at = 0, time.monotonic()
            self._enter('streaming')
        self.tokens += tokens
        if text and not self._pending:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush, message)
        if text:
            self._pending.append(text)

    def _flush(self, message: StoredMessage) -> None:
        if self._flushing:
            self._flushing.cancel()  # it would put the text of the next reply into this one
        text, self._pending = ''.join(self._pending), []
        if text:
            message.content += text
            self.extended.emit(message, text)

    async def _keep_saved(self) -> None:
        """Save while a reply runs, and after it until the disk has taken it; the task keeps the chat in memory."""
        while self.is_running or self._unsaved:
            await asyncio.sleep(SAVE_SECONDS if self.is_running else RETRY_SECONDS)
            if self.is_running or self._unsaved:
                await self.save()

    def _enter(self, state: State) -> None:
        self.state = state
        self.changed.emit()


class Conversations:
    """The chats that are open somewhere or running; each has one `Conversation` for all tabs."""

    def __init__(self, store: ChatStore, host: ModelHost) -> None:
        self._store, self._host = store, host
        self._open: WeakValueDictionary[str, Conversation] = WeakValueDictionary()
        self._opening = asyncio.Lock()

    def new(self) -> Conversation:
        """Return a conversation with a chat of its own, not saved before its first message."""
        return self._add(Chat.new())

    async def open(self, chat_id: str) -> Conversation:
        """Return the conversation of a stored chat. Raises NotFound, or another StoreError."""
        async with self._opening:
            return self._open.get(chat_id) or self._add(await self._store.load(chat_id))

    async def rename(self, chat_id: str, title: str) -> None:
        """Give a chat another title."""
        await (await self.open(chat_id)).change(title=title)

    async def delete(self, chat_id: str) -> None:
        """Stop the chat's reply and move it to the trash."""
        if conversation := self._open.get(chat_id):
            conversation.stop()
            await conversation.wait()
        await self._store.delete(chat_id)
        if conversation:
            conversation.stop()  # again, for a message that was being saved

    async def close(self) -> None:
        """Stop every reply and wait until they are saved."""
        conversations = list(self._open.values())
        for conversation in conversations:
            conversation.stop()
        await asyncio.gather(*(conversation.wait() for conversation in conversations))

    def _add(self, chat: Chat) -> Conversation:
        conversation = self._open[chat.id] = Conversation(chat, self._store, self._host)
        return conversation


def _note_numbers(message: StoredMessage, event: Finished) -> None:
    message.finish_reason = event.reason
    message.prompt_tokens, message.cached_tokens = event.usage.prompt_tokens, event.usage.cached_tokens
    message.completion_tokens = event.usage.completion_tokens
    message.queued, message.prefill, message.decode = event.timings.queued, event.timings.prefill, event.timings.decode
