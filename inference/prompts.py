"""From messages to the tokens a model reads. Runs on worker threads, beside the engine's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from inference.chat import GenerationRequest, Message
from inference.engine import PromptSize
from inference.errors import ContextLengthExceeded, InvalidRequest, InvalidTemplate
from inference.overflow import messages_to_leave_out
from inference.runner import ModelRunner
from inference.template import ChatTemplate, PromptOptions
from inference.transcripts import Transcripts

LONG_PROMPT, FAR_TOO_LONG = 32_768, 1.2
"""Characters from which a prompt is counted roughly first, and the share of the context that is refused by that."""
REPLY_SHARE = 4
"""Where messages may be left out, a reply finds this part of the context free, or what it may need if that is less."""
FRAME_TOKENS = 8
"""What a template puts around a message, about."""
MOST_TRIES = 4
UNKNOWN = 1000
"""Characters that are read again rather than looking for where a known beginning of them ends."""
MOST_COUNTED = 8192
"""Messages whose number of tokens is remembered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What the model is to read, without the messages at the places `left_out`.

    `begun` is the beginning of the reply at the end of `text`. A memory that cannot be cut is saved after `checkpoint`
    tokens: up to there the prompt of the next turn is the same.
    """

    text: str
    tokens: list[int]
    checkpoint: int = 0
    left_out: tuple[int, ...] = ()
    begun: str = ''


class PromptMaker:
    """Renders and tokenizes, and remembers the tokens of what was said."""

    def __init__(self, runner: ModelRunner, template: ChatTemplate) -> None:
        self._runner, self._template = runner, template
        self._transcripts = Transcripts()
        self._count = lru_cache(MOST_COUNTED)(self._count_now)
        first = runner.tokenize('a', add_special=False, parse_special=False)
        self._adds_space = runner.text_of(first) == ' a'

    def make(self, request: GenerationRequest, said: Sequence[int] = ()) -> Prompt:
        """Return the prompt of a request, and after it the tokens that were `said` before it had to be made again.

        Raises InvalidRequest, InvalidTemplate or ContextLengthExceeded.
        """
        prompt = self._fitting(request, said)
        if len(prompt.tokens) >= self._runner.n_ctx:
            raise ContextLengthExceeded(prompt_tokens=len(prompt.tokens), n_ctx=self._runner.n_ctx)
        if not prompt.tokens:
            raise InvalidRequest('The chat template of this model makes nothing of these messages. Write another one.')
        self._transcripts.add(prompt.text, prompt.tokens)
        return prompt

    def measure(self, request: GenerationRequest) -> PromptSize:
        """Return what `make` would say of a request, without making more of it than that takes.

        Raises InvalidRequest or InvalidTemplate.
        """
        n_ctx = self._runner.n_ctx
        counts = tuple(map(self._count, request.messages))
        left_out: tuple[int, ...] = ()
        try:
            if request.overflow == 'stop' and sum(counts) > FAR_TOO_LONG * n_ctx:
                raise ContextLengthExceeded(prompt_tokens=sum(counts), n_ctx=n_ctx)
            prompt = self._fitting(request, ())
            self._learn_beginning(request, prompt)
            tokens, left_out = len(prompt.tokens), prompt.left_out
        except ContextLengthExceeded as error:
            tokens = error.prompt_tokens
        reply = 0 if request.overflow == 'stop' else self._reply_room(request)
        return PromptSize(tokens=tokens, n_ctx=n_ctx, reply=reply, left_out=left_out, counts=counts)

    def remember(self, prompt: Prompt, completion: Sequence[int]) -> None:
        """Note which tokens the reply to a prompt has."""
        self._transcripts.add(prompt.text + self._runner.text_of(completion), [*prompt.tokens, *completion])

    def _fitting(self, request: GenerationRequest, said: Sequence[int]) -> Prompt:
        """Leave out as many messages as the request's policy allows and its context demands."""
        if request.overflow == 'stop':
            return self._without((), request, said)
        n_ctx, roles = self._runner.n_ctx, [message.role for message in request.messages]
        counts = [self._count(message) + FRAME_TOKENS for message in request.messages]
        reply = self._reply_room(request)
        frame = len(said) if sum(counts) > n_ctx else -sum(counts)  # what may fit is tried as it is
        prompt: Prompt | None = None
        for _ in range(MOST_TRIES):
            left_out = messages_to_leave_out(
                roles, counts, frame=frame, n_ctx=n_ctx, reply=reply, policy=request.overflow
            )
            if prompt and left_out == prompt.left_out:
                break
            prompt = self._without(left_out, request, said)
            frame = len(prompt.tokens) - sum(count for place, count in enumerate(counts) if place not in {*left_out})
            if len(prompt.tokens) + reply <= n_ctx:
                break
        assert prompt
        return prompt

    def _reply_room(self, request: GenerationRequest) -> int:
        n_ctx = self._runner.n_ctx
        return min(request.sampling.max_tokens or n_ctx, n_ctx // REPLY_SHARE)

    def _learn_beginning(self, request: GenerationRequest, prompt: Prompt) -> None:
        """Remember the tokens of all but the last message, which is about to change with each key that is pressed."""
        *before, last = [message for place, message in enumerate(request.messages) if place not in prompt.left_out]
        known, _ = self._transcripts.beginning(prompt.text)
        if not before or len(prompt.text) - len(known) < len(last.content) + UNKNOWN:
            return
        try:
            options = replace(PromptOptions.of(request), continues=False, opens_reply=False)
            beginning = self._template.render(before, options)
        except InvalidTemplate:
            return
        # Where the rest did not begin with a token of its own kind, text cut here could be read in other tokens.
        if prompt.text.startswith(beginning) and self._begins_special(prompt.text[len(beginning) :]):
            self._transcripts.add(beginning, self._tokens(beginning))

    def _begins_special(self, text: str) -> bool:
        first = self._runner.tokenize(text[:UNKNOWN], add_special=False, parse_special=True)[:1]
        return bool(first) and first[0] in self._runner.special

    def _without(self, left_out: tuple[int, ...], request: GenerationRequest, said: Sequence[int]) -> Prompt:
        gone, options = {*left_out}, PromptOptions.of(request)
        messages = [message for place, message in enumerate(request.messages) if place not in gone]
        text = self._template.render(messages, options)
        tokens = self._tokens(text)
        checkpoint = 0
        if self._runner.is_exact:
            kept = self._template.kept_length(text, messages, options)
            checkpoint = min(len(self._tokens(text[:kept])), len(tokens) - 1)
        last = request.messages[-1]
        return Prompt(
            text=text + self._runner.text_of(said),
            tokens=[*tokens, *said],
            checkpoint=checkpoint,
            left_out=left_out,
            begun=(last.content or last.reasoning) if options.continues else '',
        )

    def _tokens(self, text: str) -> list[int]:
        known, tokens = self._transcripts.beginning(text)
        rest = text[len(known) :]
        self._refuse_far_too_long(rest, len(tokens))
        more = self._runner.tokenize(rest, add_special=not known and self._adds_special, parse_special=True)
        if known and rest and self._adds_space and more[0] not in self._runner.special:
            return self._runner.tokenize(text, add_special=self._adds_special, parse_special=True)
        return [*tokens, *more]

    @property
    def _adds_special(self) -> bool:
        return not self._template.begins_with_bos

    def _refuse_far_too_long(self, text: str, before: int) -> None:
        """Count a long text roughly first: the library takes long over one that is hopeless anyway."""
        about = before + (self._runner.count_tokens(text, parse_special=True) if len(text) > LONG_PROMPT else 0)
        if about > FAR_TOO_LONG * self._runner.n_ctx:
            raise ContextLengthExceeded(prompt_tokens=about, n_ctx=self._runner.n_ctx)

    def _count_now(self, message: Message) -> int:
        calls = ''.join(f'{call.name}{call.arguments}' for call in message.tool_calls)
        return self._runner.count_tokens(f'{message.reasoning}{message.content}{calls}', parse_special=True)
