"""The messages that wait until the reply above them has ended."""

from collections.abc import Sequence

from nicegui import ui

from presets.chat import StoredMessage
from webui.components.attachment_chips import AttachmentChips
from webui.components.message_actions import MessageActions
from webui.components.message_editor import MessageEditor
from webui.components.region import Region
from webui.words import say


class MessageQueue(Region):
    """A muted bubble for each, which can be changed, removed, or sent at once."""

    def __init__(self) -> None:
        super().__init__()
        self.classes('queue')
        self._shown: dict[str, QueuedMessage] = {}

    def __contains__(self, message_id: object) -> bool:
        return message_id in self._shown

    def show(self, messages: Sequence[StoredMessage], chat_id: str) -> None:
        """Show these; those that are there already stay as they are, unless their text is another."""
        wanted = {message.id: message for message in messages}
        for message_id, view in list(self._shown.items()):
            if message_id not in wanted or view.text != wanted[message_id].content:
                self._shown.pop(message_id).delete()
        for index, message in enumerate(messages):
            if message.id not in self._shown:
                with self:
                    view = self._shown[message.id] = QueuedMessage(message, chat_id)
                view.move(target_index=index)

    def edit(self, message_id: str) -> None:
        """Open the editor of a message."""
        if view := self._shown.get(message_id):
            view.edit()


class QueuedMessage(Region):
    """What will be said next."""

    def __init__(self, message: StoredMessage, chat_id: str) -> None:
        super().__init__()
        self.text = message.content
        self._message, self._chat_id = message, chat_id
        self._editor: MessageEditor | None = None
        self.classes('message queued').props('role=article')
        self.props['aria-label'] = say('message.queued')
        self.props['data-testid'] = 'queued-message'
        self.props['data-queued-id'] = message.id
        with self:
            if message.attachments:
                AttachmentChips(message.attachments)
            self._bubble = ui.label(message.content).classes('bubble')
            ui.label(say('message.queued')).classes('note')
            MessageActions(message.id).show(['send-now', 'edit', 'remove'], [])

    def edit(self) -> None:
        """Put an editor in the place of the bubble."""
        if self._editor:
            return
        self._bubble.set_visibility(False)
        with self:
            self._editor = MessageEditor(
                self.text, draft=f'edit:{self._chat_id}:{self._message.id}', method='PATCH',
                address=f'/api/chats/{self._chat_id}/queue/{self._message.id}', name=say('message.edit-text'),
                save=say('message.save'), on_done=self._end_edit,
            )  # fmt: skip
        self._editor.move(target_index=0)

    def _end_edit(self) -> None:
        if self._editor:
            self._editor.delete()
            self._editor = None
            self._bubble.set_visibility(True)
