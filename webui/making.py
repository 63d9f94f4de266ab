"""One reply as it is made: from the chat to the engine, and from its events into the message and to the pages."""

from collections.abc import Sequence
from typing import Literal, assert_never

from loguru import logger

from inference.chat import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    LeftOut,
    PromptProgress,
    Queued,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from inference.engine import Generation
from inference.errors import InferenceError
from presets.chat import Chat, StoredMessage
from webui.channel import Channel
from webui.model_host import ModelHost
from webui.reply import Growth, RunningReply
from webui.turns import Turn, turns_of, turns_with

State = Literal['idle', 'waiting', 'prefill', 'streaming']


class ReplyMaker:
    """Writes into `message` of `chat`; one that has text already goes on after it."""

    def __init__(self, chat: Chat, message: StoredMessage, channel: Channel, *, user: str) -> None:
        self.message, self.user = message, user
        self.state: State = 'waiting'
        self.place = 0
        self.progress: PromptProgress | None = None
        self.running = RunningReply(message, self._report)
        self._chat, self._channel = chat, channel
        self._continues = bool(message.content or message.reasoning)
        self._turns: Sequence[Turn] = ()
        self._unseen: list[str] = []
        self._generation: Generation | None = None

    def stop(self) -> bool:
        """Ask the engine to end the reply; returns whether it was there to be asked."""
        if self._generation:
            self._generation.cancel()
        return bool(self._generation)

    async def make(self, host: ModelHost) -> None:
        """Return when the message is complete, with what went wrong noted in it."""
        message = self.message
        try:
            await self._generate(host)
        except InferenceError as error:
            message.finish_reason, message.error = 'error', str(error)
        except Exception:  # the task's outermost code: whatever it was, the chat goes on
            logger.exception('A reply failed')
            message.finish_reason = 'error'
            message.error = 'The app met an error of its own; the log has the details. Try again.'
        finally:  # a task may be cancelled
            message.finish_reason = message.finish_reason or 'cancelled'
            self.running.finish()

    async def _generate(self, host: ModelHost) -> None:
        engine = await host.ready()
        self.message.model = engine.info.name
        self._turns = turns_with(self._chat, self.message) if self._continues else turns_of(self._chat, self.message)
        request = GenerationRequest(
            messages=tuple(turn.message for turn in self._turns),
            sampling=self._chat.sampling,
            overflow=self._chat.overflow,
            continues=self._continues,
            user=self.user,
        )
        async with engine.generate(request) as generation:
            self._generation = generation
            async for event in generation:
                self._take(event)

    def _take(self, event: GenerationEvent) -> None:
        match event:
            case Queued(place=place):
                self.place = place
                self._enter('waiting')
            case PromptProgress():
                self.progress, self.place = event, 0
                self._mark()
                self._enter('prefill')
            case LeftOut(messages=places):
                self._unseen += [unseen for place in places for unseen in self._turns[place].ids]
                self._mark()
            case TextDelta() | ReasoningDelta() | ToolCallDelta():
                if self.state != 'streaming':
                    self._enter('streaming')
                self.running.take(event)
            case Finished():
                note_numbers(self.message, event)
            case _:
                assert_never(event)

    def _mark(self) -> None:
        """Note what the reply is written without; until it is known, the message has what was so before."""
        if self.message.left_out != self._unseen:
            self.message.left_out = self._unseen.copy()
            self._channel.marked.emit()

    def _report(self, growth: Growth) -> None:
        if growth.reasoning:
            self._channel.reasoned.emit(self.message, growth.reasoning)
        if growth.text:
            self._channel.extended.emit(self.message, growth.text)
        if growth.calls:
            self._channel.called.emit(self.message)

    def _enter(self, state: State) -> None:
        self.state = state
        self._channel.changed.emit()


def note_numbers(message: StoredMessage, event: Finished) -> None:
    """Note how a reply ended and what it took.

    Where it went on after it had ended, the prompt and the time to its first token are those of its beginning, and
    what was written since is added: prompt and completion together are what the context holds.
    """
    usage, timings = event.usage, event.timings
    message.finish_reason, message.detail = event.reason, event.detail
    message.completion_tokens += usage.completion_tokens
    message.decode += timings.decode
    if not message.prompt_tokens:
        message.prompt_tokens, message.cached_tokens = usage.prompt_tokens, usage.cached_tokens
        message.queued, message.prefill = timings.queued, timings.prefill
