"""Our own format, described in docs/chat-format.md: whole chats, and nothing that is lost on the way and back.

`version` is that of the schema in which chats are stored, so that older exports take the same steps to the present.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import ValidationError

from inference.chat import clean_text
from inference.settings import SamplingSettings
from presets.chat import Chat
from presets.chats import is_valid_id
from presets.migrations import CURRENT, Tables, migrate, salvage
from presets.transfer.fields import Table, new_id, rows, table
from presets.transfer.planting import Reading

SOURCE = 'chatbot-webui'
DEEPEST = 64
_MESSAGE_ID = re.compile(r'[A-Za-z0-9_-]{1,64}')


def opening() -> bytes:
    """Return how a file begins; one chat a line follows, with `separator` between them, then `ending`."""
    head = {'format': SOURCE, 'version': CURRENT, 'exported': datetime.now(UTC).isoformat(timespec='seconds')}
    return orjson.dumps(head)[:-1] + b',"chats":[\n'


def separator() -> bytes:
    """Return what stands between two chats."""
    return b',\n'


def ending(left_out: list[Table]) -> bytes:
    """Return how a file ends; `left_out` tells of chats that could not be read."""
    return b'\n]' + (b',"left_out":' + orjson.dumps(left_out) if left_out else b'') + b'}\n'


def line_of(chat: Chat) -> bytes:
    """Return a chat as one line of JSON, its messages as a list in order of creation."""
    whole = {**chat.model_dump(mode='json', exclude={'messages'}), 'messages': []}
    whole['messages'] = [message.model_dump(mode='json') for message in chat.messages.values()]
    try:
        return orjson.dumps(whole)
    except TypeError:  # half a character somewhere
        return clean_text(json.dumps(whole, ensure_ascii=False)).encode()


def recognises(value: Table) -> bool:
    """Whether this is one of our chats, from an export or from the folder where the app keeps them."""
    exported = isinstance(value.get('messages'), list) and {'leaf', 'overflow'} <= value.keys()
    return exported or (isinstance(value.get('chat'), dict) and isinstance(value.get('messages'), dict))


def read(value: Table, version: object) -> Reading:
    """Return the chat; ValueError in words if it is not sound. Ids that could not be ours are replaced."""
    stored = isinstance(value.get('messages'), dict)
    tables = clean(value) if stored else _tables(clean(value), version)
    _check_version(table(table(tables.get('meta')).get('1')).get('version', 0))
    migrate(tables)
    (head,) = tables['chat'].values()
    messages = list(tables.get('messages', {}).values())
    ids = [message.get('id') for message in messages]
    if len(set(ids)) < len(ids) or not all(_MESSAGE_ID.fullmatch(str(it)) for it in ids):
        raise ValueError('two of its messages have the same id, or one has none')
    chat_id = str(head.get('id'))
    head['id'] = chat_id if is_valid_id(chat_id) else new_id(SOURCE, chat_id)
    head['sampling'] = salvage(SamplingSettings, head.get('sampling', {}), '', lambda problem: None)
    try:
        chat = Chat.model_validate({**head, 'messages': dict(zip(ids, messages, strict=True))})
    except ValidationError as error:
        raise ValueError(_explain(error)) from None
    _mend(chat)
    return Reading(chat)


def clean(value: Any, depth: int = 0) -> Any:
    """Clean every text in a value that was JSON; ValueError if it is nested too deeply."""
    if depth > DEEPEST:
        raise ValueError('it is nested too deeply')
    match value:
        case str():
            return clean_text(value)
        case list():
            return [clean(item, depth + 1) for item in value]
        case dict():
            return {clean_text(name): clean(item, depth + 1) for name, item in value.items()}
    return value


def _tables(value: Table, version: object) -> Tables:
    """Return an exported chat as it would be stored."""
    _check_version(version)
    messages = {str(number): table(message) for number, message in enumerate(rows(value.pop('messages')), 1)}
    return {'meta': {'1': {'version': version}}, 'chat': {'1': value}, 'messages': messages}


def _check_version(version: object) -> None:
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError('the file does not say which version of the format it has')
    if version > CURRENT:
        raise ValueError(
            f'a newer version of this app wrote it (format {version}, known here: {CURRENT}); update the app'
        )


def _mend(chat: Chat) -> None:
    """Let the path on screen end at a message, and no reply wait for its end."""
    chat.mark_interrupted()
    for message in [*chat.messages.values(), *chat.queue]:
        for place, file in enumerate(message.attachments):
            if not _MESSAGE_ID.fullmatch(file.id):
                message.attachments[place] = file.model_copy(update={'id': new_id(file.id)})
    if chat.leaf not in chat.messages:
        chat.leaf = next(reversed(chat.messages), None)


def _explain(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = '.'.join(map(str, problem['loc']))[:100]
    return f'{place}: {problem["msg"][:1].lower()}{problem["msg"][1:200]}'


def joined(chats: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a whole file of chats that are lines already."""
    yield opening()
    for place, chat in enumerate(chats):
        yield (separator() if place else b'') + chat
    yield ending([])
