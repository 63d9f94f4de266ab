"""Changes in the middle of a chat's tree, each of which can be taken back whatever happened since."""

from dataclasses import dataclass

from presets.chat import Chat, StoredMessage


@dataclass(frozen=True, slots=True)
class Removal:
    """Messages that were taken out together, and the leaf before and after."""

    ids: frozenset[str]
    leaf_before: str | None
    leaf_after: str | None


class MessageTree:
    """The tree of a chat together with what was removed from it.

    A message that is removed keeps its place here. The parent of one that is there is the nearest above it that is
    there, too, so that what comes back finds its place in whatever order it does.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._all: dict[str, StoredMessage] = {}  # in order of creation, as in the chat
        self._parents: dict[str, str | None] = {}
        self._gone: set[str] = set()

    def insert(self, message: StoredMessage, after: str | None) -> None:
        """Put a message between `after` and everything below it; it is the leaf where `after` was."""
        self._look()
        self._parents = {child: message.id if parent == after else parent for child, parent in self._parents.items()}
        self._all[message.id], self._parents[message.id] = message, after
        if self._chat.leaf == after:
            self._chat.leaf = message.id
        self._arrange()

    def remove(self, message_id: str, *, below: bool = False) -> Removal:
        """Take out a message, whose children move up, or it and all below; a lost leaf moves to what is beside it."""
        self._look()
        chat, parent = self._chat, self._chat.messages[message_id].parent
        ids, leaf = frozenset(chat.below(message_id) if below else {message_id}), chat.leaf
        self._gone |= ids
        if leaf in ids:
            chat.leaf = parent
        self._arrange()
        return Removal(ids, leaf, chat.leaf)

    def put_back(self, removal: Removal) -> None:
        """Undo a removal; the path on screen changes back where it is still the one the removal led to."""
        self._look()
        self._gone -= removal.ids
        if self._chat.leaf == removal.leaf_after:
            self._chat.leaf = removal.leaf_before
        self._arrange()

    def _look(self) -> None:
        """Take note of messages that were added since."""
        for message in self._chat.messages.values():
            if message.id not in self._all:
                self._all[message.id], self._parents[message.id] = message, message.parent

    def _arrange(self) -> None:
        """Give the chat the messages that are there, and let its path end where no message follows."""
        chat = self._chat
        chat.messages = {key: message for key, message in self._all.items() if key not in self._gone}
        for message in chat.messages.values():
            message.parent = self._remaining(self._parents[message.id])
        chat.leaf = chat.newest_below(self._remaining(chat.leaf))

    def _remaining(self, message_id: str | None) -> str | None:
        """Return the nearest message that is there, from this one upwards."""
        seen: set[str] = set()  # a damaged file may have a circle
        while message_id in self._gone and message_id not in seen:
            seen.add(message_id)
            message_id = self._parents[message_id]
        return None if message_id in seen else message_id
