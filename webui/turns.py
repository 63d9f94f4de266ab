"""From a chat to what the model is to read of it."""

from dataclasses import dataclass

from inference.chat import Message
from presets.chat import Chat, StoredMessage


@dataclass(frozen=True, slots=True)
class Turn:
    """A message for the model, and the ids of the stored ones it was made of."""

    message: Message
    ids: tuple[str, ...] = ()


def turns_of(chat: Chat, reply: StoredMessage) -> list[Turn]:
    """Return the system prompt and the branch up to the reply, without replies that have no text.

    Tool calls of past replies are not sent: nobody answered them, and some templates insist on an answer.
    """
    turns = [Turn(Message(role='system', content=chat.system_prompt))] if chat.system_prompt.strip() else []
    for message in chat.path():
        if message is reply or not message.content:
            continue
        if turns and turns[-1].message.role == message.role == 'user':
            # Templates insist on alternating roles; a failed reply leaves two questions in a row.
            before = turns.pop()
            both = Message(role='user', content=f'{before.message.content}\n\n{message.content}')
            turns.append(Turn(both, (*before.ids, message.id)))
        else:
            said = Message(role=message.role, content=message.content, reasoning=message.reasoning)
            turns.append(Turn(said, (message.id,)))
    return turns
