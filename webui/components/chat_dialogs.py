"""Questions about chats and folders: where to, and what name."""

from collections.abc import Sequence
from functools import partial

from nicegui import ui

from webui.components.controls import Handler, text_button
from webui.words import say

NAMED = 'chat-dialog-name'


async def ask(question: str, confirm: str) -> bool:
    """Ask whether to do something that cannot be taken back."""
    with ui.dialog().props(f'aria-labelledby={NAMED}') as dialog, ui.card().classes('chat-dialog'):
        ui.label(question).props(f'id={NAMED}')
        with ui.element('div').classes('dialog-buttons'):
            text_button(say('common.cancel'), dialog.close)
            text_button(confirm, lambda: dialog.submit(True), primary=True, testid='confirm')
    answer = await dialog
    dialog.delete()
    return bool(answer)


async def ask_name(title: str, confirm: str) -> str:
    """Ask for a name; '' if the person thought better of it."""
    with ui.dialog().props(f'aria-labelledby={NAMED}') as dialog, ui.card().classes('chat-dialog'):
        ui.label(title).classes('name').props(f'id={NAMED}')
        field = _name_field(say('chats.folder_name'))
        field.on('keydown.enter', lambda: dialog.submit(field.value))
        with ui.element('div').classes('dialog-buttons'):
            text_button(say('common.cancel'), dialog.close)
            text_button(confirm, lambda: dialog.submit(field.value), primary=True)
    name = await dialog
    dialog.delete()
    return str(name or '').strip()


async def ask_folder(folders: Sequence[str], now: str | None) -> str | None:
    """Ask for one of the folders, a new one or none (''); None if the person thought better of it."""
    with ui.dialog().props(f'aria-labelledby={NAMED}') as dialog, ui.card().classes('chat-dialog'):
        ui.label(say('chats.move_to')).classes('name').props(f'id={NAMED}')
        with ui.element('div').classes('folder-choice'):
            for path in ('', *folders):
                _choice(path, path == now, partial(dialog.submit, path))
        with ui.element('div').classes('new-folder'):
            field = _name_field(say('chats.new_folder'))
            field.on('keydown.enter', lambda: dialog.submit(field.value or None))
            text_button(say('chats.create'), lambda: dialog.submit(field.value or None))
        with ui.element('div').classes('dialog-buttons'):
            text_button(say('common.cancel'), dialog.close)
    folder = await dialog
    dialog.delete()
    return None if folder is None else str(folder)


def _choice(path: str, is_now: bool, on_click: Handler) -> None:
    button = ui.element('button').classes('folder-row').on('click', on_click)
    button.props['type'], button.props['aria-current'] = 'button', 'true' if is_now else None
    button.style(f'--depth: {path.count("/")}')
    with button:
        ui.icon('sym_o_folder' if path else 'sym_o_folder_off')
        ui.label(path.rpartition('/')[2] or say('chats.no_folder')).classes('ellipsis')
        if is_now:
            ui.icon('sym_o_check')


def _name_field(name: str) -> ui.input:
    field = ui.input().props('outlined dense autofocus maxlength=200').classes('col')
    field.props['placeholder'] = field.props['aria-label'] = name
    return field
