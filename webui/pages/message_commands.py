"""What a person does with a message, carried out; whatever goes wrong is told in words."""

from collections.abc import Awaitable, Callable

from inference.errors import InferenceError
from presets.errors import StoreError
from webui.components.controls import Toasts
from webui.conversation import Conversation
from webui.conversations import Conversations
from webui.words import say


class MessageCommands:
    """Does by name what the actions of messages, their keys and the palette offer."""

    def __init__(
        self, conversations: Conversations, toasts: Toasts, user: str, *, on_open: Callable[[str], Awaitable[None]]
    ) -> None:
        self._conversations, self._toasts, self._user, self._on_open = conversations, toasts, user, on_open

    async def run(self, conversation: Conversation, name: str, message_id: str = '') -> None:
        """Do what is called `name` with a message, or with the last one."""
        try:
            await self._run(conversation, name, message_id)
        except (InferenceError, StoreError) as error:
            self._toasts.show(str(error), error=True)

    async def _run(self, conversation: Conversation, name: str, message_id: str) -> None:
        match name:
            case 'regenerate' | 'answer':
                await conversation.regenerate(message_id, self._user)
            case 'continue':
                await conversation.continue_reply(self._user)
            case 'previous' | 'next':
                await self._show_neighbour(conversation, message_id, -1 if name == 'previous' else 1)
            case 'delete' | 'delete-below':
                await self._delete(conversation, message_id, below=name == 'delete-below')
            case 'fork':
                await self._on_open(await self._conversations.fork(conversation.chat.id, message_id))
                self._toasts.show(say('message.forked'))
            case 'send-now':
                await conversation.send_queued_now(message_id, self._user)
            case 'remove':
                await conversation.unqueue(message_id)

    async def _show_neighbour(self, conversation: Conversation, message_id: str, step: int) -> None:
        if message_id in conversation.chat.messages:
            variants = conversation.chat.variants(message_id)
            place = variants.index(message_id) + step
            if 0 <= place < len(variants):
                await conversation.show_variant(variants[place])

    async def _delete(self, conversation: Conversation, message_id: str, *, below: bool) -> None:
        undo = await conversation.delete(message_id, below=below)

        async def restore() -> None:
            try:
                await undo()
            except StoreError as error:
                self._toasts.show(str(error), error=True)

        said = say('message.deleted-below' if below else 'message.deleted')
        self._toasts.show(said, action=(say('common.undo'), restore))
