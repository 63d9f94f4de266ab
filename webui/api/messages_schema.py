"""The bodies of requests that do something with the messages of a chat."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from presets.chat import Attachment
from webui.api.schema import Clean, Text

Attachments = Annotated[list[Attachment | str], Clean]
"""Whole, or the ids of uploads."""
BESIDE = 'Without it, what is attached to the old message stays.'


class Body(BaseModel):
    """Unknown fields are refused, so that a typing error does not pass for a choice."""

    model_config = ConfigDict(extra='forbid')


class NewMessage(Body):
    """What the user says next; the text may be empty where something is attached."""

    text: Text
    attachments: Attachments = []


class EditedMessage(Body):
    """What a message is to say instead."""

    text: Text
    attachments: Attachments | None = Field(None, description=BESIDE)


class QueuedChange(Body):
    """Another text or place, from 0, of a message that waits."""

    text: Text | None = None
    attachments: Attachments | None = Field(None, description=BESIDE)
    place: int | None = Field(None, ge=0)


class InsertedMessage(Body):
    """A message that is part of the conversation without anything being generated."""

    role: Literal['user', 'assistant']
    text: Text
    after: Text = Field('', description='The message it follows; without it, the last one on screen.')
