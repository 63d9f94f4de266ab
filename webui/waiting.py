"""The messages of a chat that wait for their turn."""

from collections.abc import Callable

from presets.chat import Chat, StoredMessage
from presets.errors import NotFound

TakeBack = Callable[[], object]


class WaitingMessages:
    """The queue of a chat, which is part of it.

    What takes an id raises NotFound for a message that has gone. What changes the queue returns what takes that back,
    and nothing else that was changed since.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def get(self, message_id: str) -> StoredMessage:
        """Return a message that waits."""
        return self._chat.queue[self._place(message_id)]

    def add(self, message: StoredMessage, place: int | None = None) -> TakeBack:
        """Put a message at a place, from 0, or at the end."""
        queue = self._chat.queue
        queue.insert(len(queue) if place is None else max(0, place), message)
        return lambda: self._chat.queue.remove(message) if message in self._chat.queue else None

    def replace(self, message: StoredMessage) -> TakeBack:
        """Put a message in the place of the one with its id."""
        place = self._place(message.id)
        old, self._chat.queue[place] = self._chat.queue[place], message
        return lambda: self.replace(old) if message in self._chat.queue else None

    def take(self, message_id: str) -> TakeBack:
        """Take a message out."""
        place = self._place(message_id)
        message = self._chat.queue.pop(place)
        return lambda: self.add(message, place)

    def move(self, message_id: str, place: int) -> TakeBack:
        """Give a message another place, from 0; one beyond the end is the last."""
        before = self._place(message_id)
        self.add(self._chat.queue.pop(before), place)
        return lambda: self.move(message_id, before)

    def _place(self, message_id: str) -> int:
        for place, message in enumerate(self._chat.queue):
            if message.id == message_id:
                return place
        raise NotFound('This message does not wait any more: it was sent or removed. Nothing was changed.')
