"""What programs may send: the bodies of requests, checked, and with text that every tokenizer and file takes."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message as AsgiMessage
from starlette.types import Receive

from inference.chat import GenerationRequest, Message, Overflow, Tool, clean_text
from inference.settings import SamplingSettings

BODY_LIMIT = 32 * 2**20
"""Bytes; the longest context is far below."""
DEEPEST = 64
"""Levels of lists and objects in each other; templates and grammars walk down all of them."""
SESSION_COOKIE = 'session'
TOOL_CHOICES = ('auto', 'none', 'required')


class LimitedRoute(APIRoute):
    """A route that reads no more than `BODY_LIMIT`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the limit between the server and whatever reads the body."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handle(Request(request.scope, _limit(request.receive)))

        return limited


def clean(value: Any, depth: int = 0) -> Any:
    """Clean every text in a value that was JSON; ValueError if it is nested too deeply."""
    if depth > DEEPEST:
        raise ValueError(f'it is nested more than {DEEPEST} levels deep')
    match value:
        case str():
            return clean_text(value)
        case list():
            return [clean(item, depth + 1) for item in value]
        case dict():
            return {clean_text(name): clean(item, depth + 1) for name, item in value.items()}
    return value


def check_tool_choice(choice: str, tools: Sequence[Tool] | None) -> str:
    """Return the choice if there is a tool for it; `tools` is None if there was a problem with them already."""
    names = [tool.name for tool in tools or ()]
    if tools is None or choice in ('auto', 'none', *names) or (choice == 'required' and names):
        return choice
    if not names:
        raise ValueError('there are no tools to call')
    raise ValueError(f'there is no tool {choice!r}')


def user_of(request: Request) -> str:
    """Return what tells the one who asks from others: the session of a browser, else the address."""
    if SESSION_COOKIE in request.cookies and 'session' in request.scope:  # without the cookie, each has a new session
        return str(request.session.get('id', ''))
    return request.client.host if request.client else ''


Clean = BeforeValidator(clean)
Text = Annotated[str, Clean]


class StreamRequest(BaseModel):
    """A conversation to go on with; nothing of it is saved. Fields and their parts are spelled as the engine's own."""

    model_config = ConfigDict(extra='forbid')

    messages: Annotated[list[Message], Clean] = Field(min_length=1)
    sampling: Annotated[SamplingSettings, Clean] = SamplingSettings()
    tools: Annotated[list[Tool], Clean] = []
    tool_choice: Text = Field('auto', description="'auto', 'none', 'required' or the name of a tool.")
    overflow: Overflow = 'stop'
    continues: bool = False
    user: Text = ''

    @field_validator('tool_choice')
    @classmethod
    def _is_there(cls, value: str, info: ValidationInfo) -> str:
        return check_tool_choice(value, info.data.get('tools'))

    @field_validator('continues')
    @classmethod
    def _has_begun(cls, value: bool, info: ValidationInfo) -> bool:
        messages = info.data.get('messages')
        if value and messages and messages[-1].role != 'assistant':
            raise ValueError('the last message must be the beginning of a reply')
        return value

    def generation(self, user: str) -> GenerationRequest:
        """Return what the engine is asked for; `user` is whose request it is if the body does not say."""
        return GenerationRequest(
            messages=tuple(self.messages),
            sampling=self.sampling,
            tools=tuple(self.tools),
            tool_choice=self.tool_choice,
            overflow=self.overflow,
            continues=self.continues,
            user=self.user or user,
        )


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
