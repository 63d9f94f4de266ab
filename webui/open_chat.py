"""A chat in memory and its file: what is changed here is on disk, or is taken back, or is tried again."""

import asyncio
from collections.abc import Callable

from inference.chat import Overflow, clean_text
from inference.settings import SamplingSettings
from presets.chat import Chat, StoredMessage
from presets.chats import ChatStore
from presets.errors import NotFound, StoreError
from presets.folders import folder_path
from presets.tree import MessageTree
from webui.channel import Channel

SAVE_SECONDS = 0.5
"""A crash costs at most this much of a reply, and the time of one write."""
RETRY_SECONDS = 2.0
"""How often a chat is tried again that could not be saved."""


class OpenChat(Channel):
    """A chat that pages show. Everything runs on the event loop."""

    def __init__(self, chat: Chat, store: ChatStore) -> None:
        super().__init__()
        self.chat = chat
        self.problem = ''
        self._store = store
        self._tree = MessageTree(chat)
        self._saver: asyncio.Task[None] | None = None
        self._unsaved = False

    @property
    def is_running(self) -> bool:
        """Whether a reply is being made."""
        return False

    async def change(
        self,
        *,
        title: str | None = None,
        system_prompt: str | None = None,
        sampling: SamplingSettings | None = None,
        overflow: Overflow | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
        folder: str | None = None,
    ) -> None:
        """Change what belongs to the chat; a new one is not saved before it has a message."""
        if title is not None:
            self.chat.title = clean_text(title).strip()[:200]
        if system_prompt is not None:
            self.chat.system_prompt = clean_text(system_prompt)
        if sampling is not None:
            self.chat.sampling = sampling
        if overflow is not None:
            self.chat.overflow = overflow
        if pinned is not None:
            self.chat.pinned = pinned
        if archived is not None:
            self.chat.archived = archived
        if folder is not None:
            self.chat.folder = folder_path(folder)
        if self.chat.messages or self._store.summary(self.chat.id):
            await self.save()
        self.changed.emit()

    async def save(self) -> None:
        """Write the chat; a failure is kept in `problem` for the page, and the text in memory."""
        problem, self._unsaved = '', False
        try:
            await self._store.save(self.chat)
        except StoreError as error:
            problem, self._unsaved = str(error), not isinstance(error, NotFound)
        if problem != self.problem:
            self.problem = problem
            self.changed.emit()

    async def show_variant(self, message_id: str) -> None:
        """Put this message and the newest ones below it on screen. Raises NotFound."""
        self._require(message_id)
        leaf = self.chat.newest_below(message_id)
        if leaf != self.chat.leaf:
            self.chat.leaf = leaf
            self.replaced.emit()
            await self.save()

    async def reveal(self, message_id: str) -> None:
        """Put this message on screen, if it is not there. Raises NotFound."""
        if self._require(message_id) not in self.chat.path():
            await self.show_variant(message_id)

    def _require(self, message_id: str) -> StoredMessage:
        message = self.chat.messages.get(message_id)
        if not message:
            raise NotFound(
                'This message is not there any more; perhaps it was deleted in another window. Nothing was changed.'
            )
        return message

    async def _put(self, message: StoredMessage, parent: str | None) -> None:
        """Add a message below `parent` and put it on screen; it is on disk before this returns.

        Raises StoreError, and the message is not there then.
        """
        leaf, updated = self.chat.leaf, self.chat.updated
        self.chat.add(message, parent)

        def take_back() -> None:
            was_shown = self.chat.leaf == message.id
            self._drop(message.id)
            if was_shown and (leaf is None or leaf in self.chat.messages):
                self.chat.leaf = leaf
            self.chat.updated = updated

        await self._save_or(take_back)
        if parent == leaf and self.chat.leaf == message.id:
            self.added.emit(message)
        else:
            self.replaced.emit()

    def _drop(self, message_id: str) -> None:
        if message_id in self.chat.messages:
            self._tree.remove(message_id)

    async def _save_or(self, take_back: Callable[[], object]) -> None:
        """Save; where that fails, take back what was changed. Raises StoreError."""
        try:
            await self._store.save(self.chat)
        except StoreError:
            take_back()
            self.replaced.emit()
            raise

    def _begin_saving(self) -> None:
        if not self._saver or self._saver.done():
            self._saver = asyncio.create_task(self._keep_saved())

    async def _keep_saved(self) -> None:
        """Save while a reply runs, and after it until the disk has taken it; the task keeps the chat in memory."""
        while self.is_running or self._unsaved:
            await asyncio.sleep(SAVE_SECONDS if self.is_running else RETRY_SECONDS)
            if self.is_running or self._unsaved:
                await self.save()
