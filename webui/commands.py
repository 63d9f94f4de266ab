"""Every command of the page: its name, its keys, and where these work. What it does, the page that has it knows.

A combination is written as `ctrl+shift+o`: the modifiers in this order, then the key as the browser names it, in small
letters. `ctrl` stands for ⌘ on a Mac.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Where = Literal['page', 'composer', 'empty-composer']
"""Where keys are listened to: anywhere, while writing a message, or only before its first letter is written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Said as `keys.<name>`; `keys` are those it has until a person chooses others, '' for none."""

    name: str
    keys: str = ''
    icon: str = 'keyboard_command_key'
    where: Where = 'page'
    listed: bool = True
    """Whether the palette offers it; what is typed there is not meant for the composer."""


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(name='send', keys='ctrl+enter', where='composer', listed=False),
        Command(name='new-chat', keys='ctrl+shift+o', icon='edit_square'),
        Command(name='palette', keys='ctrl+k', listed=False),
        Command(name='stop', keys='escape', icon='stop_circle'),
        Command(name='regenerate', keys='ctrl+shift+enter', icon='refresh'),
        Command(name='continue', keys='alt+enter', icon='resume'),
        Command(name='edit-last', keys='arrowup', icon='edit', where='empty-composer'),
        Command(name='copy-last', keys='ctrl+shift+c', icon='content_copy'),
        Command(name='sidebar', keys='ctrl+b', icon='left_panel_close'),
        Command(name='settings', keys='ctrl+,', icon='tune'),
        Command(name='keys', keys='ctrl+/', icon='keyboard'),
    )
}

Reason = Literal['taken', 'browser', 'writing', 'incomplete']
"""Why a combination is refused: another command, the browser or the system has it, it writes, or it is no key."""

MODIFIERS = ('ctrl', 'alt', 'shift')
ALONE = {'escape': 'stop', 'arrowup': 'edit-last'}
"""Keys without a modifier, and the only command that may have each."""
BROWSER = frozenset(
    {f'ctrl+{key}' for key in 'acdfhjlnpqrstuvwxyz0123456789+-='}
    | {f'ctrl+shift+{key}' for key in 'ijnpqrtvwz'}
    | {'ctrl+tab', 'ctrl+shift+tab', 'ctrl+pageup', 'ctrl+pagedown', 'ctrl+f4', 'alt+f4', 'ctrl+shift+delete'}
    | {'ctrl+arrowleft', 'ctrl+arrowright', 'ctrl+arrowup', 'ctrl+arrowdown', 'ctrl+home', 'ctrl+end'}
    | {'alt+arrowleft', 'alt+arrowright', 'alt+home', 'alt+d', 'alt+tab', 'alt+ ', 'ctrl+backspace', 'ctrl+delete'}
    | {'f1', 'f3', 'f5', 'f6', 'f7', 'f11', 'f12', 'ctrl+f5', 'shift+f10'}
)
"""What a page does not get, or should leave alone: tabs, history, zoom, find, print, the clipboard, editing."""
NAMED = frozenset(
    {'enter', 'escape', 'tab', 'backspace', 'delete', 'insert', 'home', 'end', 'pageup', 'pagedown', ' '}
    | {'arrowup', 'arrowdown', 'arrowleft', 'arrowright'}
    | {f'f{number}' for number in range(1, 13)}
)


def bindings(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the combination of each command that has one, as a person chose it or else by default.

    What a person chose keeps its place when a later version gives the same combination to another command.
    """
    keys = {name: chosen.get(name, command.keys) for name, command in COMMANDS.items()}
    own = {keys[name] for name in chosen if name in COMMANDS}
    return {name: key for name, key in keys.items() if key and (name in chosen or key not in own)}


def refuse(name: str, keys: str, chosen: Mapping[str, str]) -> Reason | None:
    """Say why a command cannot have these keys; None if it can."""
    modifiers, key = split_keys(keys)
    if modifiers != [known for known in MODIFIERS if known in modifiers] or not _is_key(key):
        return 'incomplete'
    if taken_by(name, keys, chosen):
        return 'taken'
    if keys in BROWSER:
        return 'browser'
    if ALONE.get(keys) == name:
        return None
    return 'writing' if _writes(modifiers, key) else None


def taken_by(name: str, keys: str, chosen: Mapping[str, str]) -> str:
    """Return the other command that has these keys, '' if there is none."""
    return next((other for other, its in bindings(chosen).items() if its == keys and other != name), '')


def split_keys(keys: str) -> tuple[list[str], str]:
    """Return the modifiers of a combination and its key, which may be a plus."""
    *modifiers, key = keys[:-1].split('+') if keys.endswith('+') else keys.split('+')
    return (modifiers, '+') if keys.endswith('+') else (modifiers, key)


def _is_key(key: str) -> bool:
    return key in NAMED or (len(key) == 1 and key.isprintable())


def _writes(modifiers: list[str], key: str) -> bool:
    """Whether the keys put a character into a text, or move in it: without Ctrl, and on many keyboards with Alt."""
    if key.startswith('f') and key in NAMED:
        return False
    if len(key) == 1:
        return 'ctrl' not in modifiers or 'alt' in modifiers
    return not {'ctrl', 'alt'} & set(modifiers)
