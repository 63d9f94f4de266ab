"""The list of all keys, where each can be given others."""

from nicegui import ui

from webui.commands import COMMANDS, Command, refuse, taken_by
from webui.components.controls import icon_button, text_button
from webui.components.keyboard import Keyboard, keys_of
from webui.components.region import Region
from webui.person import spell_keys
from webui.preferences import prefer, preferences
from webui.words import say


class KeyField(ui.element, component='key_field.js'):
    """A button with the keys of a command; it waits for others when it is pressed, and reports them."""

    def __init__(self, command: Command) -> None:
        super().__init__()
        self._command = command
        self.props['data-testid'] = f'keys-{command.name}'
        self.props['prompt'] = say('keys.press')
        self.show()

    def show(self) -> None:
        """Show the keys as they are now."""
        spelled = _spelled(keys_of(self._command.name))
        self.props['keys'] = spelled
        self.props['label'] = say('keys.change', command=say(f'keys.{self._command.name}'), keys=spelled)


class KeyList:
    """A dialog; what is chosen in it applies at once. The page is drawn again afterwards, for it names keys too."""

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard = keyboard
        self._before = preferences().keys
        with ui.dialog() as self._dialog, ui.card().classes('key-list').props('data-testid=key-list'):
            with ui.element('div').classes('dialog-head'):
                ui.label(say('keys.keys')).classes('name').props('role=heading aria-level=2')
                icon_button('close', say('common.close'), self._dialog.close)
            ui.label(say('keys.explain')).classes('small muted')
            self._problem = ui.label().classes('setting-error').props('role=alert data-testid=key-problem')
            with ui.element('div').classes('key-rows') as self._rows:
                for command in COMMANDS.values():
                    _Row(command, self)
            text_button(say('keys.reset_all'), self._reset_all, testid='reset-keys')
        self._dialog.props['aria-label'] = say('keys.keys')
        self._dialog.on('hide', self._closed)

    def open(self) -> None:
        """Show the list."""
        self._dialog.open()

    def choose(self, command: Command, keys: str) -> bool:
        """Give a command other keys, or say why it cannot have them."""
        chosen = preferences().keys
        if keys and keys != keys_of(command.name) and (reason := refuse(command.name, keys, chosen)):
            other = taken_by(command.name, keys, chosen)
            used = say(f'keys.{other}') if other else ''
            self._problem.set_text(say(f'keys.refused_{reason}', keys=_spelled(keys), command=used))
            return False
        self._problem.set_text('')
        others = {name: its for name, its in chosen.items() if name != command.name}
        prefer(keys=others if keys == command.keys else {**others, command.name: keys})
        self._keyboard.refresh()
        return True

    def _reset_all(self) -> None:
        prefer(keys={})
        self._dialog.close()

    def _closed(self) -> None:
        self._dialog.delete()
        if preferences().keys != self._before:
            ui.navigate.reload()


class _Row(Region):
    """Name, keys and a way back."""

    def __init__(self, command: Command, all_keys: KeyList) -> None:
        super().__init__()
        self._command, self._list = command, all_keys
        self.classes('key-row')
        with self:
            ui.label(say(f'keys.{command.name}')).classes('col')
            name = say('common.reset', name=say(f'keys.{command.name}'))
            self._reset = icon_button('undo', name, lambda: self._choose(command.keys))
            self._field = KeyField(command).on('record', lambda event: self._choose(str(event.args)))
        self._show()

    def _choose(self, keys: str) -> None:
        if self._list.choose(self._command, keys):
            self._show()

    def _show(self) -> None:
        self._field.show()
        self._reset.set_visibility(keys_of(self._command.name) != self._command.keys)


def _spelled(keys: str) -> str:
    return spell_keys(keys) if keys else ''
