"""What the page says, in the language of the person who reads it.

The texts lie beside this file: a folder for each language and in it a TOML file for each part of the page. A text is
named by file and key, as in `say('message.copy')`. Values stand in braces; a text that depends on a number `n` is a
table with `one` and `other`. What a language lacks is said in English.
"""

import functools
import tomllib
from pathlib import Path

from nicegui import context
from nicegui.slot import Slot

FALLBACK = 'en'
LANGUAGES = {'en': 'English', 'de': 'Deutsch'}

Text = str | dict[str, str]


def say(name: str, **values: object) -> str:
    """Return the text `name` in the language of the page that is being drawn, else in English."""
    return say_in(spoken(), name, **values)


def say_in(language: str, name: str, **values: object) -> str:
    """Return the text `name` in `language`; KeyError if there is no such text."""
    texts = catalogue(language)
    text = texts[name] if name in texts else catalogue(FALLBACK)[name]
    if isinstance(text, dict):
        text = text['one' if values['n'] == 1 else 'other']
    return text.format(**values) if values else text


@functools.cache
def catalogue(language: str) -> dict[str, Text]:
    """Return every text of a language by its name."""
    files = sorted((Path(__file__).parent / language).glob('*.toml'))
    parts = {file.stem: tomllib.loads(file.read_text('utf-8')) for file in files}
    return {f'{part}.{key}': text for part, texts in parts.items() for key, text in texts.items()}


def use_language(language: str) -> None:
    """Say everything on this page in `language` from now on."""
    context.client.storage['language'] = language if language in LANGUAGES else FALLBACK


def spoken() -> str:
    """Return the language of the page that is being drawn; English where there is none."""
    if (
        not Slot.get_stack()
    ):  # outside of any page, as in the API; asking for its client would make NiceGUI look for one
        return FALLBACK
    return str(context.client.storage.get('language', FALLBACK))
