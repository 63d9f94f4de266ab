"""Where a message is changed, in its place; see message_editor.js for how the text is kept."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from webui.person import spell_keys
from webui.words import say


class MessageEditor(ui.element, component='message_editor.js'):
    """A text field that sends its text to `address` of the API, together with `body`, and then is done."""

    def __init__(
        self, content: str, *, draft: str, address: str, method: str = 'POST', name: str, save: str,
        on_done: Callable[[], object], body: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._props.update(content=content, draft=draft, address=address, method=method, body=body or {})
        self._props['words'] = {
            'cancelKeys': spell_keys('escape'),
            'saveKeys': spell_keys('ctrl+enter'),
            'name': name,
            'save': save,
            'cancel': say('message.cancel'),
            'unreachable': say('message.unreachable'),
            'refused': say('message.refused', status='{status}'),
        }
        self.on('done', on_done, args=[])
