"""Turns a conversation into the prompt a model was trained with, by the Jinja template in its file."""

import bisect
import itertools
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from inference.call_formats import HERMES
from inference.chat import GenerationRequest, Message, Tool, ToolCall
from inference.errors import InvalidRequest, InvalidTemplate
from inference.reasoning import ReplyStyle, Samples, learn_style
from inference.sandbox import MOST_SECONDS, Sandbox
from inference.template_messages import View, as_text, seen, tool_list, without_system

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_CHATML_STOP = ('<|im_end|>',)
_GOES_ON = 'TheReplyGoesOnFromHere'
_LEARN_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptOptions:
    """What a prompt is to be made for.

    With `continues` the last message is the beginning of the reply, and the prompt ends right after its text. Without
    `opens_reply` it ends with the last message, before what makes the model reply.
    """

    tools: tuple[Tool, ...] = ()
    reasoning: Literal['auto', 'on', 'off'] = 'auto'
    continues: bool = False
    opens_reply: bool = True

    @classmethod
    def of(cls, request: GenerationRequest) -> Self:
        """Return the options that answer `request`."""
        tools = () if request.tool_choice == 'none' else request.tools
        return cls(tools=tools, reasoning=request.sampling.reasoning, continues=request.continues)


_DEFAULTS = PromptOptions()
_UNFINISHED = PromptOptions(opens_reply=False)

_SYSTEM = Message(role='system', content='Be brief.')
_TWO_TURNS = (
    Message(role='user', content='First question'),
    Message(role='assistant', content='First answer'),
    Message(role='user', content='Second question'),
)
_QUESTION = Message(role='user', content='How is the weather?')
_ANSWER = Message(role='assistant', content='It is fine.')
_REASONED = replace(_ANSWER, reasoning='I look out of the window.')
_TOOL = Tool(
    name='sample_weather',
    description='Tells the weather.',
    parameters={'type': 'object', 'properties': {'city': {'type': 'string', 'description': 'Where'}}},
)
_CITY, _OTHER_CITY = 'Reykjavik', 'Akureyri'
_CALL = ToolCall(id='call_1a2b3c4d5e6f', name=_TOOL.name, arguments=f'{{"city": "{_CITY}"}}')
_CALLED = Message(role='assistant', content='', tool_calls=(_CALL,))
_OTHER_CALL = ToolCall(id='call_6f5e4d3c2b1a', name=_TOOL.name, arguments=f'{{"city": "{_OTHER_CITY}"}}')
_CALLED_TWICE = replace(_CALLED, tool_calls=(_CALL, _OTHER_CALL))
_BADLY_WRITTEN = re.compile(r"""\{'city'|\\"city|None""")
"""Arguments as Python's repr, or as JSON within JSON; a content that is not there."""
_RESULT = Message(role='tool', content='windy and 7 degrees', tool_call_id=_CALL.id)
_OTHER_RESULT = replace(_RESULT, tool_call_id=_OTHER_CALL.id)


class ChatTemplate:
    """Renders conversations; `stop` are texts that end a reply where the model's own end token does not."""

    def __init__(self, source: str, *, bos: str, eos: str, stop: tuple[str, ...] = ()) -> None:
        self.stop = stop
        self.begins_with_bos = False
        self.style = ReplyStyle()
        self._source = source
        self._bos, self._eos = bos, eos
        self._sandbox = Sandbox(source)
        self._view = View()
        self._learned_by = 0.0

    @classmethod
    def load(cls, source: str | None, *, bos: str, eos: str) -> tuple[Self, str | None]:
        """Try the template on samples; on failure return ChatML in its place, with a warning for the page."""
        warning = (
            'This model file has no chat template, so ChatML is used. Replies may be odd if it expects another one.'
        )
        if source and source.strip():
            try:
                return cls(source, bos=bos, eos=eos)._learned(), None
            except InvalidTemplate as error:
                warning = f'{error} ChatML is used in its place, so replies may be odd.'
        return cls(CHATML, bos=bos, eos=eos, stop=_CHATML_STOP)._learned(), warning

    def render(self, messages: Sequence[Message], options: PromptOptions = _DEFAULTS) -> str:
        """Return the prompt up to where the reply begins, or goes on.

        Where the template refuses a system message, its text goes in front of the first message of the user; where it
        does not know of tools, they and what comes of them go into the text.
        """
        if not messages:
            raise InvalidRequest('There are no messages to answer. Write one first.')
        if options.continues:
            return self._begun(messages, replace(options, continues=False))
        refused: InvalidTemplate | None = None
        for attempt in self._attempts(as_text(messages, options.tools, self._view, self.style.calls)):
            try:
                return self._render(attempt, options)
            except InvalidTemplate as error:
                refused = refused or error
        assert refused
        raise refused

    def _attempts(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """Yield messages as they are, and with less of what a template may refuse: a system message, reasoning."""
        ways = [messages]
        if messages[0].role == 'system':
            ways = [messages, without_system(messages)] if self._view.system else [without_system(messages)]
        yield from ways
        if any(message.reasoning for message in messages):
            yield from ([replace(message, reasoning='') for message in way] for way in ways)

    def kept_length(self, prompt: str, messages: Sequence[Message], options: PromptOptions = _DEFAULTS) -> int:
        """Return how many characters of `prompt` the prompt of the next turn will begin with, too.

        It is less than all where the prompt opens the reasoning, which templates leave out of past turns.
        """
        later = replace(options, continues=False, opens_reply=False)
        kept = _common(prompt, self.render(messages, later))
        try:
            return min(kept, _common(prompt, self.render([*messages, _ANSWER, _QUESTION], later)))
        except InvalidTemplate:
            return kept

    def _begun(self, messages: Sequence[Message], options: PromptOptions) -> str:
        """Return the prompt up to the end of the last message, which has text or, without any, reasoning."""
        *before, last = messages
        if last.role != 'assistant' or not before:
            raise InvalidRequest('Only a reply can go on, and the last message is none. Answer it instead.')
        thinks = bool(last.reasoning and not last.content)
        text = last.reasoning if thinks else last.content
        if not text:
            return self.render(before, options)
        marked = replace(last, reasoning=text + _GOES_ON) if thinks else replace(last, content=text + _GOES_ON)
        try:
            shown, found, _ = self.render([*before, marked], replace(options, opens_reply=False)).rpartition(_GOES_ON)
        except InvalidTemplate:
            shown = found = ''
        if found and not shown.endswith(text):
            return shown
        prompt = shown.removesuffix(text) if found else self.render(before, options)
        return prompt + self._bridge(prompt, thinks) + text

    def _bridge(self, prompt: str, thinks: bool) -> str:
        """Return what is missing between a prompt and the thought or answer that goes on."""
        opened = prompt.rstrip().endswith(self.style.opens)
        if thinks:
            return '' if opened else f'{self.style.opens}\n'
        return self.style.closing if opened else ''

    def _learned(self) -> Self:
        """Find out on samples what the template does with messages, and what replies look like."""
        self._learned_by = time.monotonic() + _LEARN_SECONDS
        plain = self._render(_TWO_TURNS, _DEFAULTS)
        if not all(message.content in plain for message in _TWO_TURNS[::2]):
            raise InvalidTemplate('The chat template of this model leaves out what the user wrote.')
        shows_system = _SYSTEM.content in self._probe((_SYSTEM, *_TWO_TURNS))
        self._view = replace(self._view, system=shows_system)
        prompts = plain, self.render((_SYSTEM, *_TWO_TURNS))
        self.begins_with_bos = bool(self._bos) and all(prompt.startswith(self._bos) for prompt in prompts)
        called = self._learn_tools()
        samples = Samples(
            answer=_ANSWER.content,
            thought=_REASONED.reasoning,
            tool=_TOOL.name,
            answered=self._probe((_QUESTION, _ANSWER), _UNFINISHED),
            reasoned=self._probe((_QUESTION, _REASONED), replace(_UNFINISHED, reasoning='on')),
            called=called,
        )
        self.style = learn_style(self._source, samples)
        if not self._view.tools and (not called or not self.style.calls.json):
            self._view = replace(self._view, calls=False, results=False)
            self.style = replace(self.style, calls=HERMES)
        return self

    def _learn_tools(self) -> str:
        """Find out which form of calls the template takes, and return a call as it writes it, '' if it does not."""
        offered = PromptOptions(tools=(_TOOL,))
        self._view = replace(self._view, tools=True)
        self._view = replace(self._view, tools=_TOOL.name in self._probe((_QUESTION,), offered))
        for text_arguments, no_content, short_ids in itertools.product((False, True), (True, False), (False, True)):
            form = {'text_arguments': text_arguments, 'no_content': no_content, 'short_ids': short_ids}
            view = replace(self._view, calls=True, results=True, **form)
            shown = self._after_question((_CALLED, _RESULT), view)
            if _CITY in shown and _RESULT.content in shown and not _BADLY_WRITTEN.search(shown):
                both = self._after_question((_CALLED_TWICE, _RESULT, _OTHER_RESULT), view)
                self._view = replace(view, one_call=_OTHER_CITY not in both)
                return shown
        results = _RESULT.content in self._probe((_QUESTION, _ANSWER, _RESULT), offered)
        self._view = replace(self._view, results=results and self._view.tools)
        return ''

    def _after_question(self, messages: Sequence[Message], view: View) -> str:
        """Return what the template makes of messages that follow a question, with a tool on offer."""
        shown = self._probe((_QUESTION, *messages), PromptOptions(tools=(_TOOL,)), view)
        return shown.rpartition(_QUESTION.content)[2]

    def _probe(self, messages: Sequence[Message], options: PromptOptions = _DEFAULTS, view: View | None = None) -> str:
        try:
            return self._render(messages, options, view, seconds=self._learned_by - time.monotonic())
        except InvalidTemplate:
            return ''

    def _render(
        self,
        messages: Sequence[Message],
        options: PromptOptions,
        view: View | None = None,
        *,
        seconds: float = MOST_SECONDS,
    ) -> str:
        view = view or self._view
        variables: dict[str, Any] = {
            'messages': seen(messages, view),
            'tools': tool_list(options.tools) if options.tools and view.tools else None,
            'documents': None,
            'bos_token': self._bos,
            'eos_token': self._eos,
            'add_generation_prompt': options.opens_reply,
        }
        if options.reasoning != 'auto':
            variables |= dict.fromkeys(('enable_thinking', 'thinking'), options.reasoning == 'on')
        return self._sandbox.render(variables, seconds=seconds)


def _common(text: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    return bisect.bisect_left(range(min(len(text), len(other))), True, key=lambda at: text[: at + 1] != other[: at + 1])
