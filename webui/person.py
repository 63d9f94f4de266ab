"""The person whose page is being drawn: what they read, and what their keys are called."""

import copy
import re

from nicegui import context, ui
from starlette.requests import Request

from webui.code_blocks import words_for_page
from webui.commands import split_keys
from webui.preferences import Preferences, use_preferences
from webui.words import best_language, language, say, use_language

THEMES = {'auto': None, 'light': False, 'dark': True}
"""Whether a theme is dark; None leaves it to the system."""
LIGHT, DARK = ':root{background:#fff}', ':root{background:#161615}'
FIRST_PAINT = {'auto': f'{LIGHT}@media(prefers-color-scheme:dark){{{DARK}}}', 'light': LIGHT, 'dark': DARK}
"""The background before the styles are there, so that no tab flashes in the wrong theme."""
APPLE = re.compile('Mac|iPhone|iPad')
APPLE_NAMES = {'ctrl': '⌘', 'alt': '⌥', 'shift': '⇧', 'enter': '↩', 'escape': 'esc', 'backspace': '⌫', 'tab': '⇥'}
APPLE_ORDER = ('alt', 'shift', 'ctrl')
SIGNS = {'arrowup': '↑', 'arrowdown': '↓', 'arrowleft': '←', 'arrowright': '→'}
NAMED = (
    'ctrl',
    'alt',
    'shift',
    'enter',
    'escape',
    'backspace',
    'delete',
    'insert',
    'home',
    'end',
    'pageup',
    'pagedown',
)
"""Keys that have a name in each language, as `keys.key_<key>`."""


def welcome(request: Request) -> Preferences:
    """Prepare a page for the one who asks for it; before anything is drawn on it."""
    chosen = use_preferences()
    accepted = request.headers.get('accept-language', '')
    use_language(best_language(accepted) if chosen.language == 'auto' else chosen.language)
    page = context.client.page = copy.copy(context.client.page)  # all pages share one
    page.dark = THEMES[chosen.theme]
    page.language = 'de' if language() == 'de' else 'en-US'
    context.client.storage['apple'] = bool(APPLE.search(request.headers.get('user-agent', '')))
    scale = f'html:root{{--scale:{chosen.text_size / 100}}}'
    ui.add_head_html(f'<style>{FIRST_PAINT[chosen.theme]}{scale}</style>{words_for_page()}')
    return chosen


def spell_keys(keys: str) -> str:
    """Return a combination such as `ctrl+shift+o` as the person's keyboard has it: Ctrl+Shift+O, or ⇧⌘O."""
    modifiers, key = split_keys(keys)
    if context.client.storage.get('apple'):
        ordered = [name for name in APPLE_ORDER if name in modifiers]
        return ''.join(APPLE_NAMES.get(name) or _spell(name) for name in (*ordered, key))
    return '+'.join(_spell(name) for name in (*modifiers, key))


def _spell(key: str) -> str:
    if key in NAMED:
        return say(f'keys.key_{key}')
    return SIGNS.get(key, key.upper())
