"""What there is to do with a message."""

from collections.abc import Sequence

from nicegui import ui

from webui.words import say

NAMES = (
    'actions', 'more', 'copied', 'copy', 'copy-text', 'copy-markdown', 'edit', 'regenerate', 'answer', 'continue',
    'fork', 'plain', 'formatted', 'insert-user', 'insert-assistant', 'delete', 'delete-below', 'previous', 'next',
    'numbers', 'send-now', 'remove',
)  # fmt: skip


class MessageActions(ui.element, component='message_actions.js'):
    """The row of buttons under a message; each is reported to the transcript around it as message id and name.

    A component of its own, because ten Quasar buttons with their tooltips are thirty elements: what a conversation has
    a hundred times over would cost more than its text. Words and the one event listener are the transcript's, for all.
    """

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self._props['message'] = message_id

    def show(
        self, actions: Sequence[str], menu: Sequence[str], *, variants: tuple[int, int] | None = None, numbers: str = ''
    ) -> None:
        """Offer these; `variants` is the place of this one and their count, `numbers` the line under a reply."""
        props = {'actions': list(actions), 'menu': list(menu), 'variants': list(variants or ()) or None}
        self._change({**props, 'numbers': numbers})

    def toggle_numbers(self, rows: Sequence[tuple[str, str]]) -> None:
        """Show all numbers, or hide them again."""
        self._change({'rows': None if self._props.get('rows') else [list(row) for row in rows]})

    def copy(self, text: str) -> None:
        """Put a text into the clipboard of the browser."""
        self.run_method('copy', text)

    def _change(self, props: dict[str, object]) -> None:
        if any(self._props.get(name) != value for name, value in props.items()):
            self._props.update(props)
            self.update()


def action_words() -> dict[str, str]:
    """Return what the buttons are called, for all of a transcript."""
    return {name: say(f'message.{name}') for name in NAMES}
