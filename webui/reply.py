"""A reply while it is written: what arrives is kept together, and handed on a few times a second."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from inference.chat import ReasoningDelta, TextDelta, ToolCallDelta, join_calls
from presets.chat import StoredMessage

FLUSH_SECONDS = 0.04
"""Text reaches the pages 25 times a second at most."""

Delta = TextDelta | ReasoningDelta | ToolCallDelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """What was added to a message; `calls` says whether its tool calls changed."""

    reasoning: str
    text: str
    calls: bool


class RunningReply:
    """Writes into `message`, and reports how it grew. Belongs to the event loop."""

    def __init__(self, message: StoredMessage, on_growth: Callable[[Growth], None]) -> None:
        self.message = message
        self.tokens = 0
        self._on_growth = on_growth
        self._started_at = self._thinking_since = 0.0
        self._reasoning: list[str] = []
        self._text: list[str] = []
        self._calls: list[ToolCallDelta] = []
        self._called = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rate(self) -> float:
        """Tokens a second since the first one."""
        seconds = time.monotonic() - self._started_at
        return self.tokens / seconds if self.tokens and seconds > 0 else 0.0

    def take(self, delta: Delta) -> None:
        """Keep a part of the reply until it is time to hand it on."""
        self._started_at = self._started_at or time.monotonic()
        self.tokens += delta.tokens
        match delta:
            case ReasoningDelta(text=text):
                self._thinking_since = self._thinking_since or time.monotonic()
                self._reasoning.append(text)
            case TextDelta(text=text):
                self._text.append(text)
                if text:
                    self._end_thinking()
            case ToolCallDelta():
                self._calls.append(delta)
                self._called = True
                self._end_thinking()
        if not self._timer:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def finish(self) -> None:
        """Hand on the rest."""
        self._end_thinking()
        self.flush()

    def flush(self) -> None:
        """Write what was kept into the message, and report it."""
        if self._timer:
            self._timer.cancel()  # it would fire after the end
            self._timer = None
        growth = Growth(reasoning=''.join(self._reasoning), text=''.join(self._text), calls=self._called)
        self._reasoning, self._text, self._called = [], [], False
        self.message.reasoning += growth.reasoning
        self.message.content += growth.text
        if growth.calls:
            self.message.tool_calls = join_calls(self._calls)
        if growth.reasoning or growth.text or growth.calls:
            self._on_growth(growth)

    def _end_thinking(self) -> None:
        if self._thinking_since:
            self.message.reasoning_seconds += time.monotonic() - self._thinking_since
            self._thinking_since = 0.0
