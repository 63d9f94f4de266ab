"""The files that went with a message."""

from collections.abc import Sequence

from nicegui import ui

from presets.chat import Attachment
from webui.components.controls import text_button
from webui.components.region import Region
from webui.words import say
from webui.words.formats import size

SHOWN_CHARACTERS = 200_000
"""Of a file's text; a browser that shows a book has a hard time."""


class AttachmentChips(Region):
    """A button for each file with its name and size; it shows the text that the model was given."""

    def __init__(self, attachments: Sequence[Attachment]) -> None:
        super().__init__()
        self.classes('attachments').props('role=group')
        self.props['aria-label'] = say('message.attachments')
        for attachment in attachments:
            self._draw(attachment)

    def _draw(self, attachment: Attachment) -> None:
        with self, ui.element('button').classes('attachment').props('type=button data-testid=attachment') as button:
            ui.icon('sym_o_description')
            ui.label(attachment.name).classes('ellipsis')
            ui.label(size(attachment.size or len(attachment.text.encode()))).classes('attachment-size')
        button.on('click', lambda: self._show(attachment), args=[])

    def _show(self, attachment: Attachment) -> None:
        with self, ui.dialog() as dialog, ui.element('div').classes('q-card attachment-view'):
            with ui.element('div').classes('attachment-head'):
                ui.label(attachment.name).classes('ellipsis').props('role=heading aria-level=2')
                text_button(say('common.close'), dialog.close)
            text = (
                ui.label(attachment.text[:SHOWN_CHARACTERS])
                .classes('attachment-text')
                .props('tabindex=0 role=document')
            )
            text.props['aria-label'] = attachment.name
        dialog.props['aria-label'] = attachment.name
        dialog.on('hide', dialog.delete)
        dialog.open()
