"""The body of `POST /v1/chat/completions`, with OpenAI's fields and those that llama.cpp's server adds."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from inference.chat import GenerationRequest, Message, Tool, ToolCall
from inference.sampling_settings import SamplingSettings
from webui.api.openai_sampling import describe_settings, read_settings
from webui.api.schema import TOOL_CHOICES, Clean, Text, check_tool_choice


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


def _chosen(value: Any) -> Any:
    """Return the name of the tool that must be called, or one of OpenAI's words."""
    match value:
        case None:
            return 'auto'
        case {'type': 'function', 'function': {'name': str(name)}}:
            return name
        case str() if value in TOOL_CHOICES:
            return value
    raise ValueError('it must be auto, none, required or a function with its name')


OptionalText = Annotated[Text, BeforeValidator(lambda value: '' if value is None else value)]
_Arguments = Annotated[Text, BeforeValidator(lambda value: json.dumps(value) if isinstance(value, dict) else value)]
_Functions = Annotated[Any, _unsupported('the older way of calling functions is', 'none', 'auto')]
_Audio = Annotated[Any, _unsupported('audio is', ['text'])]
_emptied = BeforeValidator(lambda value: [] if value is None else value)


class CalledFunction(BaseModel):
    """What was called; programs may send the arguments as text or as an object."""

    name: Text
    arguments: _Arguments = ''


class Call(BaseModel):
    """A call that the model made before."""

    id: OptionalText = ''
    type: Literal['function'] = 'function'
    function: CalledFunction

    def plain(self) -> ToolCall:
        """Return the call as the engine takes it."""
        return ToolCall(id=self.id, name=self.function.name, arguments=self.function.arguments)


class ChatMessage(BaseModel):
    """A message as OpenAI's clients send it, or send back what they got."""

    role: Literal['system', 'developer', 'user', 'assistant', 'tool']
    content: Annotated[Text, BeforeValidator(_plain)] = ''
    reasoning_content: OptionalText = ''
    tool_calls: Annotated[list[Call], _emptied] = []
    tool_call_id: OptionalText = ''
    name: OptionalText = ''
    function_call: _Functions = None

    def plain(self) -> Message:
        """Return the message as the engine takes it."""
        return Message(
            role='system' if self.role == 'developer' else self.role,
            content=self.content,
            reasoning=self.reasoning_content,
            tool_calls=tuple(call.plain() for call in self.tool_calls),
            tool_call_id=self.tool_call_id,
            name=self.name,
        )


class Function(BaseModel):
    """A function that may be called; `parameters` is a JSON schema."""

    name: Text = Field(min_length=1)
    description: OptionalText = ''
    parameters: Annotated[dict[str, Any], Clean, BeforeValidator(lambda value: {} if value is None else value)] = {}


class ToolOffer(BaseModel):
    """A tool as OpenAI's clients offer it."""

    type: Literal['function']
    function: Function

    def plain(self) -> Tool:
        """Return the tool as the engine takes it."""
        function = self.function
        return Tool(name=function.name, description=function.description, parameters=function.parameters)


class StreamOptions(BaseModel):
    """What a stream carries beside the text."""

    include_usage: bool = False


class ChatCompletionRequest(BaseModel):
    """What a program asks for. Fields of OpenAI and llama.cpp that change nothing here are let through and ignored.

    The sampling settings are among the extra fields: `SamplingSettings` alone declares them.
    """

    model_config = ConfigDict(extra='allow', json_schema_extra=describe_settings)

    model: OptionalText = ''
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = 1
    user: OptionalText = Field('', description='Whose request it is, for the cap on each; else the address counts.')

    tools: Annotated[list[ToolOffer], _emptied] = []
    tool_choice: Annotated[Text, BeforeValidator(_chosen)] = 'auto'
    parallel_tool_calls: bool | None = Field(True, description='False tells the first call only.')
    continue_final_message: bool | None = Field(False, description='The last message is the beginning of the reply.')
    logprobs: bool | None = Field(False, description='Tell how likely each token was.')
    top_logprobs: int | None = Field(None, ge=0, le=20, description='... and as many others; needs logprobs.')

    functions: _Functions = None
    function_call: _Functions = None
    audio: _Audio = None
    modalities: _Audio = None
    web_search_options: Annotated[Any, _unsupported('searching the web is')] = None
    lora: Annotated[Any, _unsupported('a LoRA adapter for one request is')] = None
    reasoning_format: Annotated[Any, _unsupported('reasoning in the content is', 'auto', 'deepseek')] = None

    @field_validator('tool_choice')
    @classmethod
    def _is_there(cls, value: str, info: ValidationInfo) -> str:
        offers: list[ToolOffer] | None = info.data.get('tools')
        return check_tool_choice(value, None if offers is None else [offer.plain() for offer in offers])

    @field_validator('continue_final_message')
    @classmethod
    def _has_begun(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        messages: list[ChatMessage] | None = info.data.get('messages')
        if value and messages and messages[-1].role != 'assistant':
            raise ValueError('the last message must be the beginning of a reply')
        return value

    @field_validator('top_logprobs')
    @classmethod
    def _of_all(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get('logprobs'):
            raise ValueError('it needs "logprobs": true')
        return value

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def n_top(self) -> int:
        """How many of the likeliest tokens are told with each."""
        asked = (self.model_extra or {}).get('n_probs')
        return asked if isinstance(asked, int) else self.top_logprobs or 0

    def generation(self, user: str) -> GenerationRequest:
        """Return what the engine is asked for; `user` is whose request it is if the body does not say."""
        return GenerationRequest(
            messages=tuple(message.plain() for message in self.messages),
            sampling=self._settings(),
            tools=tuple(offer.plain() for offer in self.tools),
            tool_choice=self.tool_choice,
            continues=bool(self.continue_final_message),
            user=self.user or user,
        )

    def _settings(self) -> SamplingSettings:
        sent = dict(self.model_extra or {})
        if self.logprobs and sent.get('n_probs') is None:
            sent['n_probs'] = max(1, self.n_top)  # the taken token alone is told as well
        return read_settings(sent)
