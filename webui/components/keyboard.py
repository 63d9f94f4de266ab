"""What the keys of this page do. They are caught in the browser, see page.js, which reads them from here."""

import json

from webui.commands import COMMANDS, bindings
from webui.components.region import Region
from webui.person import spell_keys
from webui.preferences import preferences
from webui.words import say


class Keyboard(Region):
    """An invisible part of the page; `refresh` after the person chose other keys."""

    def __init__(self) -> None:
        super().__init__()
        self.props('hidden')
        self.refresh()

    def refresh(self) -> None:
        """Let the person's keys do what they chose."""
        chosen = preferences()
        found = {keys: {'command': name, 'where': COMMANDS[name].where} for name, keys in bindings(chosen.keys).items()}
        if chosen.send_key == 'enter':
            found['enter'] = {'command': 'send', 'where': 'composer'}
        self.props['data-bindings'] = json.dumps(found)


def keys_of(command: str) -> str:
    """Return the combination of a command as the person chose it, '' if it has none."""
    return bindings(preferences().keys).get(command, '')


def send_hint() -> str:
    """Say which keys send a message and which start a new line."""
    send, newline = ('enter', 'shift+enter') if preferences().send_key == 'enter' else ('ctrl+enter', 'enter')
    return say('keys.send_hint', send=spell_keys(send), newline=spell_keys(newline))
