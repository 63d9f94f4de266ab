"""The chats that are open somewhere or running; each has one `Conversation` for all tabs."""

import asyncio
import re
from weakref import WeakValueDictionary

from presets.chat import Chat
from presets.chats import ChatStore
from presets.errors import NotFound
from webui.conversation import Conversation
from webui.model_host import ModelHost


class Conversations:
    """Opens, begins, forks and deletes chats."""

    def __init__(self, store: ChatStore, host: ModelHost) -> None:
        self._store, self._host = store, host
        self._open: WeakValueDictionary[str, Conversation] = WeakValueDictionary()
        self._opening = asyncio.Lock()

    def new(self) -> Conversation:
        """Return a conversation with a chat of its own, not saved before its first message."""
        return self._add(Chat.new())

    async def open(self, chat_id: str) -> Conversation:
        """Return the conversation of a chat that is stored, or new on a page. Raises StoreError."""
        async with self._opening:
            return self._open.get(chat_id) or self._add(await self._store.load(chat_id))

    async def fork(self, chat_id: str, message_id: str) -> str:
        """Save a new chat with the messages up to this one, and return its id. Raises StoreError."""
        chat = (await self.open(chat_id)).chat
        path = chat.path_to(message_id)
        if not path:
            raise NotFound('This message is not there any more, so nothing can go on from it. Nothing was changed.')
        fork = Chat(
            title=_next_title(chat.display_title),
            folder=chat.folder,
            system_prompt=chat.system_prompt,
            sampling=chat.sampling,
            overflow=chat.overflow,
            messages={message.id: message.model_copy() for message in path},
            leaf=message_id,
        )
        fork.mark_interrupted()
        await self._store.save(fork)
        return fork.id

    async def rename(self, chat_id: str, title: str) -> None:
        """Give a chat another title."""
        await (await self.open(chat_id)).change(title=title)

    async def arrange(
        self, chat_id: str, *, pinned: bool | None = None, archived: bool | None = None, folder: str | None = None
    ) -> None:
        """Pin, archive or file a chat; one that is not open stays so. Raises StoreError."""
        wanted = {'pinned': pinned, 'archived': archived, 'folder': folder}
        places = {name: value for name, value in wanted.items() if value is not None}
        async with self._opening:
            conversation = self._open.get(chat_id)
            if not conversation:
                await self._store.arrange(chat_id, **places)
        if conversation:
            await conversation.change(pinned=pinned, archived=archived, folder=folder)

    async def delete(self, chat_id: str) -> None:
        """Stop the chat's reply and move it to the trash."""
        if conversation := self._open.get(chat_id):
            conversation.stop()
            await conversation.wait()
        await self._store.delete(chat_id)
        if conversation:
            conversation.stop()  # again, for a message that was being saved

    async def close(self) -> None:
        """Stop every reply and wait until they are saved."""
        conversations = list(self._open.values())
        for conversation in conversations:
            conversation.stop()
        await asyncio.gather(*(conversation.wait() for conversation in conversations))

    def _add(self, chat: Chat) -> Conversation:
        conversation = self._open[chat.id] = Conversation(chat, self._store, self._host)
        return conversation


def _next_title(title: str) -> str:
    """Return a title that tells a copy from what it is one of: 'Rain' gives 'Rain (2)', and that 'Rain (3)'."""
    found = re.fullmatch(r'(.*) \((\d{1,6})\)', title)
    return f'{found[1]} ({int(found[2]) + 1})' if found else f'{title} (2)'
