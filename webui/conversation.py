"""One open chat and its running reply. It lives on the server and survives tabs; pages subscribe to it.

A message is on disk before the model sees it, and a reply is written to disk while it streams.
"""

import asyncio
from typing import Literal, assert_never
from weakref import WeakValueDictionary

from loguru import logger
from nicegui import Event

from inference.chat import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    LeftOut,
    Overflow,
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
from webui.reply import Growth, RunningReply
from webui.turns import Turn, turns_of

State = Literal['idle', 'waiting', 'prefill', 'streaming']
SAVE_SECONDS = 0.5
"""A crash costs at most this much of a reply, and the time of one write."""
RETRY_SECONDS = 2.0
"""How often a chat is tried again that could not be saved."""


class ReplyRunning(InvalidRequest):
    """A chat has one reply at a time."""

    code = 'reply_running'


class Conversation:
    """A chat with what happens to it now. Everything runs on the event loop.

    A reply that is written emits `reasoned` and `extended` with the text that was added, and `called` when its tool
    calls changed; `marked` says that other messages than before are left out of what the model reads.
    """

    def __init__(self, chat: Chat, store: ChatStore, host: ModelHost) -> None:
        self.chat = chat
        self._store, self._host = store, host
        self._task: asyncio.Task[None] | None = None
        self._generation: Generation | None = None
        self._saver: asyncio.Task[None] | None = None
        self._sending = self._unsaved = False
        self._user = ''
        self._running: RunningReply | None = None
        self._turns: list[Turn] = []
        self._unseen: list[str] = []
        self.state: State = 'idle'
        self.place = 0
        self.progress: PromptProgress | None = None
        self.problem = ''
        self.added = Event[StoredMessage]()
        self.reasoned = Event[StoredMessage, str]()
        self.extended = Event[StoredMessage, str]()
        self.called = Event[StoredMessage]()
        self.marked = Event[[]]()
        self.finished = Event[StoredMessage]()
        self.changed = Event[[]]()
        self.replaced = Event[[]]()

    @property
    def is_running(self) -> bool:
        """Whether a reply is being made."""
        return self._task is not None

    @property
    def tokens(self) -> int:
        """Tokens of the reply that is being written."""
        return self._running.tokens if self._running else 0

    @property
    def rate(self) -> float:
        """Tokens a second of the reply that is being written."""
        return self._running.rate if self._running else 0.0

    async def send(self, text: str, user: str = '') -> StoredMessage:
        """Add the user's message and begin the reply, as a request of `user`.

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
        self._start(user)
        return message

    async def regenerate(self, user: str = '') -> None:
        """Answer the last user message anew; the old reply stays in the chat's tree beside the new one."""
        self._require_idle()
        questions = [message.id for message in self.chat.path() if message.role == 'user']
        if not questions:
            return
        if self.chat.leaf != questions[-1]:
            self.chat.leaf = questions[-1]
            self.replaced.emit()
        self._start(user)

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
        self,
        *,
        title: str | None = None,
        system_prompt: str | None = None,
        sampling: SamplingSettings | None = None,
        overflow: Overflow | None = None,
    ) -> None:
        """Change what belongs to the chat; a chat without messages is not saved before it has one."""
        if title is not None:
            self.chat.title = clean_text(title).strip()[:200]
        if system_prompt is not None:
            self.chat.system_prompt = clean_text(system_prompt)
        if sampling is not None:
            self.chat.sampling = sampling
        if overflow is not None:
            self.chat.overflow = overflow
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

    def _start(self, user: str) -> None:
        self._user = user
        self._task = asyncio.create_task(self._reply(), name=f'reply {self.chat.id}')

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()

    async def _reply(self) -> None:
        message = StoredMessage(role='assistant', content='', left_out=self.chat.left_out())
        self.chat.append(message)
        self._running = running = RunningReply(message, lambda growth: self._report(message, growth))
        self.added.emit(message)
        self._enter('waiting')
        if not self._saver or self._saver.done():
            self._saver = asyncio.create_task(self._keep_saved())
        try:
            await self._generate(running)
        except asyncio.CancelledError:
            message.finish_reason = 'cancelled'
        except InferenceError as error:
            message.finish_reason, message.error = 'error', str(error)
        except Exception:  # the task's outermost loop: whatever it was, the chat goes on
            logger.exception('A reply failed')
            message.finish_reason = 'error'
            message.error = 'The app met an error of its own; the log has the details. Try again.'
        running.finish()
        self._generation = self._task = self._running = self.progress = None
        self.place = 0
        self._enter('idle')
        self.finished.emit(message)
        await self.save()

    async def _generate(self, running: RunningReply) -> None:
        engine = await self._host.ready()
        running.message.model = engine.info.name
        self._turns, self._unseen = turns_of(self.chat, running.message), []
        request = GenerationRequest(
            messages=tuple(turn.message for turn in self._turns),
            sampling=self.chat.sampling,
            overflow=self.chat.overflow,
            user=self._user,
        )
        async with engine.generate(request) as generation:
            self._generation = generation
            async for event in generation:
                self._take(running, event)

    def _take(self, running: RunningReply, event: GenerationEvent) -> None:
        match event:
            case Queued(place=place):
                self.place = place
                self._enter('waiting')
            case PromptProgress():
                self.progress, self.place = event, 0
                self._mark(running.message)
                self._enter('prefill')
            case LeftOut(messages=places):
                self._unseen += [unseen for place in places for unseen in self._turns[place].ids]
                self._mark(running.message)
            case TextDelta() | ReasoningDelta() | ToolCallDelta():
                if self.state != 'streaming':
                    self._enter('streaming')
                running.take(event)
            case Finished():
                _note_numbers(running.message, event)
            case _:
                assert_never(event)

    def _mark(self, message: StoredMessage) -> None:
        """Note what the reply is written without; until it is known, the message has what was so before."""
        if message.left_out != self._unseen:
            message.left_out = self._unseen.copy()
            self.marked.emit()

    def _report(self, message: StoredMessage, growth: Growth) -> None:
        if growth.reasoning:
            self.reasoned.emit(message, growth.reasoning)
        if growth.text:
            self.extended.emit(message, growth.text)
        if growth.calls:
            self.called.emit(message)

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
    message.finish_reason, message.detail = event.reason, event.detail
    message.prompt_tokens, message.cached_tokens = event.usage.prompt_tokens, event.usage.cached_tokens
    message.completion_tokens = event.usage.completion_tokens
    message.queued, message.prefill, message.decode = event.timings.queued, event.timings.prefill, event.timings.decode
