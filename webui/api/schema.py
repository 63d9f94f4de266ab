"""What programs may send: the bodies of requests, checked, and with text that every tokenizer and file takes."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message as AsgiMessage
from starlette.types import Receive

from inference.chat import Message, Role, clean_text
from inference.settings import SamplingSettings

BODY_LIMIT = 32 * 2**20
"""Bytes; the longest context is far below."""


class LimitedRoute(APIRoute):
    """A route that reads no more than `BODY_LIMIT`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the limit between the server and whatever reads the body."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handle(Request(request.scope, _limit(request.receive)))

        return limited


def _clean(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else value


def _clean_stop(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get('stop'), list):
        return {**value, 'stop': [_clean(text) for text in value['stop']]}
    return value


def _as_list(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


def _plain(content: Any) -> Any:
    """Join the text parts of a message's content."""
    if content is None:
        return ''
    if not isinstance(content, list):
        return content
    for number, part in enumerate(content):
        if not isinstance(part, dict) or part.get('type') != 'text' or not isinstance(part.get('text'), str):
            raise ValueError(f'part {number} is no text, and the model reads text only')
    return '\n'.join(part['text'] for part in content)


def _unsupported(what: str, *harmless: Any) -> AfterValidator:
    """Return what refuses a field that would change the reply; empty and `harmless` values ask for nothing."""

    def check(value: Any) -> None:
        if value and value not in harmless:
            raise ValueError(f'{what} not supported yet. Leave it out')

    return AfterValidator(check)


Text = Annotated[str, BeforeValidator(_clean)]
_Tools = Annotated[Any, _unsupported('calling tools is', 'none', 'auto')]
_Probabilities = Annotated[Any, _unsupported('token probabilities are')]
_Grammar = Annotated[Any, _unsupported('replies in a given format are', {'type': 'text'})]
_Audio = Annotated[Any, _unsupported('audio is', ['text'])]


class NewMessage(BaseModel):
    """What the user says next in a chat."""

    text: Text


class Turn(BaseModel):
    """One message of a conversation."""

    role: Role
    content: Text


class StreamRequest(BaseModel):
    """A conversation to go on with; nothing of it is saved."""

    model_config = ConfigDict(extra='forbid')

    messages: list[Turn] = Field(min_length=1)
    sampling: Annotated[SamplingSettings, BeforeValidator(_clean_stop)] = SamplingSettings()

    def prompt(self) -> tuple[Message, ...]:
        """Return the messages as the engine takes them."""
        return tuple(Message(role=turn.role, content=turn.content) for turn in self.messages)


class ChatMessage(BaseModel):
    """A message as OpenAI's clients send it, or send back what they got."""

    role: Literal['system', 'developer', 'user', 'assistant']
    content: Annotated[Text, BeforeValidator(_plain)] = ''
    tool_calls: _Tools = None
    function_call: _Tools = None

    def plain(self) -> Message:
        """Return the message as the engine takes it."""
        return Message(role='system' if self.role == 'developer' else self.role, content=self.content)


class StreamOptions(BaseModel):
    """What a stream carries beside the text."""

    include_usage: bool = False


class ChatCompletionRequest(BaseModel):
    """`POST /v1/chat/completions`. Fields of OpenAI that change nothing here are let through and ignored."""

    model: Annotated[Text, BeforeValidator(lambda value: value or '')] = ''
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = 1

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = Field(None, description='-1 and 0 let the reply fill the context.')
    max_completion_tokens: int | None = Field(None, description='The newer name of max_tokens; this one wins.')
    seed: int | None = None
    stop: Annotated[tuple[Text, ...], BeforeValidator(_as_list)] = ()

    tools: _Tools = None
    tool_choice: _Tools = None
    functions: _Tools = None
    function_call: _Tools = None
    response_format: _Grammar = None
    grammar: _Grammar = None
    json_schema: _Grammar = None
    logprobs: _Probabilities = None
    top_logprobs: _Probabilities = None
    logit_bias: Annotated[Any, _unsupported('a bias on tokens is')] = None
    audio: _Audio = None
    modalities: _Audio = None
    web_search_options: Annotated[Any, _unsupported('searching the web is')] = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def prompt(self) -> tuple[Message, ...]:
        """Return the messages as the engine takes them."""
        return tuple(message.plain() for message in self.messages)

    def settings(self) -> SamplingSettings:
        """Return the settings for the reply, the app's own where the request says nothing."""
        values = {name: getattr(self, name, None) for name in SamplingSettings.model_fields}
        if self.max_completion_tokens is not None:
            values['max_tokens'] = self.max_completion_tokens
        if values['max_tokens'] == -1:  # how llama.cpp's clients say that there is no limit
            values['max_tokens'] = 0
        try:
            return SamplingSettings(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise RequestValidationError(_located(self, error)) from None


def _located(request: ChatCompletionRequest, error: ValidationError) -> list[dict[str, Any]]:
    """Return the problems under the names that the program used."""
    newer = {'max_tokens': 'max_completion_tokens'} if request.max_completion_tokens is not None else {}
    found = error.errors(include_url=False, include_context=False)
    return [{**problem, 'loc': ('body', *(newer.get(str(part), part) for part in problem['loc']))} for problem in found]


def _limit(receive: Receive) -> Receive:
    size = 0

    async def limited() -> AsgiMessage:
        nonlocal size
        message = await receive()
        size += len(message.get('body', b''))
        if size <= BODY_LIMIT:
            return message
        while message.get('more_body'):  # many clients read the answer only when they have sent all
            message = await receive()
        raise HTTPException(413, f'The body is larger than {BODY_LIMIT >> 20} MB. Send less text at once.')

    return limited
