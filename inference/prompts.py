"""From messages to the tokens a model reads. Runs on worker threads, beside the engine's."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference.chat import GenerationRequest
from inference.errors import ContextLengthExceeded, InvalidRequest
from inference.runner import ModelRunner
from inference.scheduler import common_prefix
from inference.template import ChatTemplate
from inference.transcripts import Transcripts

LONG_PROMPT, FAR_TOO_LONG = 32_768, 1.2
"""Characters from which a prompt is counted roughly first, and the share of the context that is refused by that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What the model is to read; a memory that cannot be cut is saved after `checkpoint` tokens (0: nowhere)."""

    text: str
    tokens: list[int]
    checkpoint: int = 0


class PromptMaker:
    """Renders and tokenizes, and remembers the tokens of what was said."""

    def __init__(self, runner: ModelRunner, template: ChatTemplate) -> None:
        self._runner, self._template = runner, template
        self._transcripts = Transcripts()
        self._adds_space = runner.text_of(runner.tokenize('a', add_special=False, parse_special=False)) == ' a'

    def make(self, request: GenerationRequest) -> Prompt:
        """Return the prompt of a request. Raises InvalidRequest, InvalidTemplate or ContextLengthExceeded."""
        text = self._template.render(request.messages)
        tokens = self._tokens(text)
        if len(tokens) >= self._runner.n_ctx:
            raise ContextLengthExceeded(prompt_tokens=len(tokens), n_ctx=self._runner.n_ctx)
        if not tokens:
            raise InvalidRequest('The chat template of this model makes nothing of these messages. Write another one.')
        self._transcripts.add(text, tokens)
        return Prompt(text=text, tokens=tokens)

    def remember(self, prompt: Prompt, completion: Sequence[int]) -> None:
        """Note which tokens the reply to a prompt has."""
        self._transcripts.add(prompt.text + self._runner.text_of(completion), [*prompt.tokens, *completion])

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

    def _checkpoint(self, tokens: Sequence[int], without_opening: Sequence[int]) -> int:
        return min(common_prefix(tokens, without_opening), len(tokens) - 1)
