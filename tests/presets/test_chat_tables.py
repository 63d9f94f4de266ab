"""What stands in the file of a chat, however little of it was written out anew."""

import random
from typing import Any

import orjson

from inference.chat import ToolCall
from inference.settings import SamplingSettings
from presets.chat import Attachment, Chat, StoredMessage
from presets.chat_tables import MOST_CHATS, ChatTables, Snapshots
from presets.storage import encode


def plain(chat: Chat) -> dict[str, Any]:
    """The same tables without any shortcut."""
    head = chat.model_dump(mode='json')
    messages = head.pop('messages').values()
    return {'chat': {'1': head}, 'messages': {str(number): it for number, it in enumerate(messages, 1)}}


def change(chat: Chat, numbers: random.Random) -> None:
    """Do something of what happens to a chat."""
    message = numbers.choice([*chat.messages.values()])
    match numbers.randrange(7):
        case 0:
            message.content += ' and more\nin "two" lines \ud83d'
        case 1:
            message.finish_reason = 'stop'
        case 2:
            message.tool_calls = [*message.tool_calls, ToolCall(id='1', name='see', arguments='{}')]
        case 3:
            message.attachments = [Attachment(name='a.txt', text='text')]
        case 4:
            chat.append(StoredMessage(role='user', content='new'))
        case 5:
            chat.messages = {
                key: it for key, it in chat.messages.items() if it is not message or len(chat.messages) < 3
            }
        case 6:
            chat.queue = [*chat.queue, StoredMessage(role='user', content='later')]
            chat.sampling = SamplingSettings(temperature=numbers.random())


def test_every_save_has_all_that_changed_and_nothing_else() -> None:
    numbers, snapshots, tables = random.Random(4), Snapshots(), ChatTables()
    chats = [Chat.new() for _ in range(MOST_CHATS + 2)]
    for chat in chats:
        for role in ('user', 'assistant') * 5:
            chat.append(StoredMessage.model_validate({'role': role, 'content': role}))
    for _ in range(300):
        chat = numbers.choice(chats[: numbers.randint(1, len(chats))])
        change(chat, numbers)
        written = encode(tables.of(snapshots.take(chat)))
        assert orjson.loads(written) == orjson.loads(encode(plain(chat)))
        assert written == encode(orjson.loads(written)), 'it is as readable as all at once'


def test_a_snapshot_is_what_the_chat_was() -> None:
    chat = Chat.new()
    chat.append(reply := StoredMessage(role='assistant', content='one'))
    snapshots, tables = Snapshots(), ChatTables()

    first = snapshots.take(chat)
    reply.content += ' two'
    second = snapshots.take(chat)

    said = [orjson.loads(encode(tables.of(it)))['messages']['1']['content'] for it in (first, second, first)]
    assert said == ['one', 'one two', 'one']
