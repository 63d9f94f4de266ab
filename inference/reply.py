"""Token pieces in, events out: what a model thinks, what it answers, which tools it calls."""

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from inference.calls import Calls, Reader
from inference.chat import ReasoningDelta, TextDelta, Tool, ToolCallDelta
from inference.json_calls import arguments_of, in_json
from inference.parsing import Incoming, Markers, Reading
from inference.reasoning import ReplyStyle

Delta = TextDelta | ReasoningDelta | ToolCallDelta

_FENCE = '```'
_HEADERS, _BODY = ('<|start|>assistant', '<|channel|>', 'to='), '<|message|>'
_ENDS = ('<|end|>', '<|return|>', '<|call|>')
_RECIPIENT = re.compile(r'to=functions\.([\w.-]+)')
_BARE = (in_json(known=True),)
_HEAD = 400
"""Characters of the prompt's end that tell where the reply begins."""


class ReplyReader:
    """Reads one reply.

    `prompt` is what the reply follows; `begun` is the text at its end that is already part of the reply. Each token is
    counted in exactly one delta, in one without text if it must be. Without `tools` what looks like a call is text.
    `stop` ends the answer, `ends` the reply, wherever it is.
    """

    def __init__(
        self,
        style: ReplyStyle,
        *,
        prompt: str = '',
        begun: str = '',
        tools: Sequence[Tool] = (),
        stop: Sequence[str] = (),
        ends: Sequence[str] = (),
    ) -> None:
        head = prompt[-len(begun) - _HEAD :].removesuffix(begun.lstrip()).rstrip()
        self.in_reasoning = head.endswith(style.opens)
        self.stopped = False
        self._style = style
        self._decoder = codecs.getincrementaldecoder('utf-8')('replace')
        self._source = Incoming()
        self._calls = Calls(self._source, tools, self._tell)
        self._events: list[Delta] = []
        self._tokens = 0
        self._answer = _Trimmed(self._say, end=bool(tools))
        self._thought = _Trimmed(self._think, start=not begun, end=True)
        self._in_call = self._fenced = False
        self._takes_calls = bool(tools)
        self._ends = tuple(ends)
        self._stop = (*stop, *ends)
        self._readers = dict(style.calls.readers) if tools else {}
        unseen = (*style.unseen, *(style.calls.unseen if tools else ()))
        self._unseen = frozenset(unseen)
        self._markers = Markers((*self._stop, *unseen, *self._readers, *((_FENCE,) if self._readers or unseen else ())))
        self._reading = self._messages(head) if style.in_channels else self._reply(head, fresh=not begun)

    @property
    def called_tools(self) -> bool:
        """Whether there was a call."""
        return self._calls.count > 0

    def feed(self, piece: bytes, tokens: int = 1) -> list[Delta]:
        """Return what the bytes of so many tokens bring."""
        return self._read(self._decoder.decode(piece), tokens)

    def finish(self) -> list[Delta]:
        """Return what was held back; a call that is not complete yet is text, unless it was already told of."""
        self._source.ended = True
        return self._read(self._decoder.decode(b'', final=True), 0)

    def _read(self, text: str, tokens: int) -> list[Delta]:
        self._tokens = tokens
        if not self.stopped:
            self._source.text += text
            next(self._reading, None)
        if self._tokens:
            self._events.append(self._uncounted())
        events, self._events = self._events, []
        return events

    def _uncounted(self) -> Delta:
        """Return a delta for tokens that brought nothing to show."""
        if self.in_reasoning:
            return ReasoningDelta(text='', tokens=self._tokens)
        if self._in_call:
            return ToolCallDelta(index=self._calls.count - 1, tokens=self._tokens)
        return TextDelta(text='', tokens=self._tokens)

    def _reply(self, head: str, *, fresh: bool) -> Reading[None]:
        """Read reasoning, if the reply begins with it, and an answer with calls."""
        style = self._style
        inside = self.in_reasoning
        opened = fresh and (yield from self._source.begins(style.opens))  # some open it though the prompt did
        while inside or opened:
            yield from self._reason(style.closes)
            if self.stopped:
                return
            inside, fresh = False, True
            opened = yield from self._source.begins(style.opens)
        for opening, readers in style.calls.readers.items():
            if head.endswith(opening):  # Functionary's prompt ends with the text that opens a call
                yield from self._called(readers)
        if style.calls.bare and self._readers and fresh:
            yield from self._called(_BARE)
        yield from self._answers()

    def _reason(self, *closes: str) -> Reading[None]:
        self.in_reasoning = True
        self._thought.paragraph()
        found = yield from self._source.until(Markers((*closes, *self._ends)), self._thought)
        if found not in closes:
            self._thought.flush()
            self.stopped = bool(found)
            return
        self.in_reasoning = False
        self._thought.restart()
        self._answer.restart()

    def _answers(self) -> Reading[None]:
        """Read text with calls in it; a call within a block of code is text."""
        while found := (yield from self._source.until(self._markers, self._answer)):
            if found in self._stop:
                self._stop_here()
                return
            if found == _FENCE:
                self._fenced = not self._fenced
            if self._fenced or found == _FENCE:
                self._answer(found)
            elif found in self._unseen:
                self._answer.restart()
            elif not (yield from self._called(self._readers[found])):
                self._answer(found)
        self._answer.flush()

    def _called(self, readers: Sequence[Reader]) -> Reading[bool]:
        """Try to read a call, in one way after the other."""
        for reader in readers:
            self._source.mark()
            called = yield from reader(self._calls)
            self._in_call = False
            if called:
                self._answer.restart()
                return True
            self._source.rewind()
        return False

    def _messages(self, head: str) -> Reading[None]:
        """Read messages in channels, each with a header; what has none is the answer."""
        header = head[head.rfind('<|start|>') :]
        if header.endswith(_BODY):
            yield from self._message(header)
        while not self.stopped and (opening := (yield from self._source.begins(*_HEADERS))):
            header, end = yield from self._source.collect(_BODY)
            if end:
                yield from self._message(opening + header)
            else:
                self._answer(opening + header)
        if not self.stopped:
            yield from self._answers()

    def _message(self, header: str) -> Reading[None]:
        recipient = _RECIPIENT.search(header)
        if recipient and self._takes_calls and (yield from self._called((arguments_of(recipient[1]),))):
            yield from self._source.until(Markers(_ENDS), lambda _: None)
        elif not recipient and header.rpartition('<|channel|>')[2].startswith('analysis'):
            yield from self._reason(*_ENDS)
        else:
            self._answer.paragraph()
            end = yield from self._source.until(Markers((*self._stop, *_ENDS)), self._answer)
            if end in self._stop:
                self._stop_here()

    def _stop_here(self) -> None:
        self.stopped = True
        self._answer.flush()

    def _say(self, text: str) -> None:
        match self._events[-1:]:
            case [TextDelta() as last]:
                self._events[-1] = replace(last, text=last.text + text)
            case _:
                self._events.append(TextDelta(text=text, tokens=self._counted()))

    def _think(self, text: str) -> None:
        match self._events[-1:]:
            case [ReasoningDelta() as last]:
                self._events[-1] = replace(last, text=last.text + text)
            case _:
                self._events.append(ReasoningDelta(text=text, tokens=self._counted()))

    def _tell(self, delta: ToolCallDelta) -> None:
        self._answer.restart()
        self._in_call = True
        match self._events[-1:]:
            case [ToolCallDelta() as last] if last.index == delta.index:
                self._events[-1] = replace(last, arguments=last.arguments + delta.arguments)
            case _:
                self._events.append(replace(delta, tokens=self._counted()))

    def _counted(self) -> int:
        """Return the tokens that are not yet in a delta, for the next one."""
        tokens, self._tokens = self._tokens, 0
        return tokens


class _Trimmed:
    """Passes text on, on request without the white space before it and, while nothing follows, after it."""

    def __init__(self, pass_on: Callable[[str], None], *, start: bool = False, end: bool = False) -> None:
        self._pass_on = pass_on
        self._start = start
        self._end = end
        self._space = ''
        self._passed = False

    def __call__(self, text: str) -> None:
        if self._start:
            text = text.lstrip()
            self._start = not text
        if self._end:
            kept = text.rstrip()
            if not kept:
                self._space += text
                return
            text, self._space = self._space + kept, text[len(kept) :]
        if text:
            self._passed = True
            self._pass_on(text)

    def restart(self) -> None:
        """Drop the white space that was kept, and what comes next."""
        self._space, self._start = '', True

    def paragraph(self) -> None:
        """Set what comes next apart from what was there before."""
        if self._passed:
            self._pass_on('\n\n')

    def flush(self) -> None:
        """Pass on the white space that was kept."""
        if self._space:
            self._pass_on(self._space)
        self._space = ''
