"""Where a message is written; see composer.js for how it keeps the draft."""

from collections.abc import Callable

from nicegui import ui


class Composer(ui.element, component='composer.js'):
    """A growing text field with one round button that sends or stops."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        super().__init__()
        self.props['placeholder'] = 'Write a message'
        self.on('stop', on_stop)

    def show(self, chat_id: str, draft_key: str) -> None:
        """Write for another chat; its draft comes back."""
        if (self._props.get('chatId'), self._props.get('draftKey')) != (chat_id, draft_key):
            self._props['chatId'], self._props['draftKey'] = chat_id, draft_key
            self.update()

    def set_running(self, running: bool) -> None:
        """Show the stop button while a reply is made."""
        if self._props.get('running', False) != running:
            self._props['running'] = running
            self.update()

    def set_text(self, text: str) -> None:
        """Put a suggestion into the field."""
        self.run_method('setText', text)

    def focus(self) -> None:
        """Put the cursor into the field."""
        self.run_method('focus')
