"""From a chat to what the model is to read of it.

An attachment comes before the text it was sent with, as

    File: report.csv
    ```
    the text that was found in it
    ```

The fence has more backticks than any run of them in the text, so that a file cannot seem to end before it does. A name
is one line.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from inference.chat import Message
from presets.chat import Attachment, Chat, StoredMessage

LONGEST_NAME = 200
"""Characters of a file's name that the model reads."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message for the model, and the ids of the stored ones it was made of."""

    message: Message
    ids: tuple[str, ...] = ()


def turns_of(chat: Chat, reply: StoredMessage) -> list[Turn]:
    """Return the system prompt and what comes before the reply, or the branch on screen if that is not of this chat."""
    path = chat.path_to(reply.id)
    return turns_from(chat.system_prompt, path[:-1] if path else chat.path())


def turns_with(chat: Chat, reply: StoredMessage) -> list[Turn]:
    """Return the same with the beginning of the reply, which goes on, as the last message."""
    begun = Message(role='assistant', content=reply.content, reasoning=reply.reasoning)
    return [*turns_of(chat, reply), Turn(begun, (reply.id,))]


def turns_from(system_prompt: str, messages: Iterable[StoredMessage]) -> list[Turn]:
    """Return a turn for each message that says something; several of one role in a row are one.

    Templates insist on alternating roles; a failed reply leaves two questions in a row. Tool calls of past replies are
    not sent: nobody answered them, and some templates insist on an answer.
    """
    turns = [Turn(Message(role='system', content=system_prompt))] if system_prompt.strip() else []
    for message in messages:
        content = content_of(message)
        if not content:
            continue
        said = Turn(Message(role=message.role, content=content, reasoning=message.reasoning), (message.id,))
        if turns and turns[-1].message.role == message.role != 'system':
            turns.append(_joined(turns.pop(), said))
        else:
            turns.append(said)
    return turns


def content_of(message: StoredMessage) -> str:
    """Return what the model reads of a message: what is attached to it, then its text."""
    return '\n\n'.join(filter(None, [*map(fenced, message.attachments), message.content]))


def fenced(attachment: Attachment) -> str:
    """Return an attachment with its name, in a fence that its text cannot close."""
    longest = max((len(run) for run in re.findall('`+', attachment.text)), default=0)
    fence = '`' * max(3, longest + 1)
    name = ' '.join(attachment.name.split())[:LONGEST_NAME]
    return f'File: {name}\n{fence}\n{attachment.text}\n{fence}'


def _joined(first: Turn, second: Turn) -> Turn:
    parts = [turn.message for turn in (first, second)]
    content, reasoning = (
        '\n\n'.join(filter(None, texts))
        for texts in ([part.content for part in parts], [part.reasoning for part in parts])
    )
    return Turn(Message(role=parts[0].role, content=content, reasoning=reasoning), (*first.ids, *second.ids))
