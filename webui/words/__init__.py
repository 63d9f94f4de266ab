"""What the page says, in the language of the person who reads it.

The texts lie beside this file: a folder for each language and in it a TOML file for each part of the page. A text is
named by file and key, as in `say('message.copy')`. Values stand in braces; a text that depends on a number `n` is a
table with `one` and `other`. What a language lacks is said in English.
"""

import functools
import string
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from nicegui import context
from nicegui.slot import Slot

FALLBACK = 'en'
LANGUAGES = {'en': 'English', 'de': 'Deutsch'}

MARKS = {'de': '.,'}
"""What stands in place of the comma and the point of 1,234.5, by language."""

Text = str | dict[str, str]


def say(name: str, /, **values: object) -> str:
    """Return the text `name` in the language of the page that is being drawn, else in English."""
    return say_in(language(), name, **values)


def say_in(language: str, name: str, /, **values: object) -> str:
    """Return the text `name` in `language`; KeyError if there is no such text."""
    texts = catalogue(language)
    text = texts[name] if name in texts else catalogue(FALLBACK)[name]
    if isinstance(text, dict):
        text = text['one' if values['n'] == 1 else 'other']
    return _Formatter(language).format(text, **values) if values else text


@functools.cache
def catalogue(language: str) -> dict[str, Text]:
    """Return every text of a language by its name."""
    files = sorted((Path(__file__).parent / language).glob('*.toml'))
    parts = {file.stem: tomllib.loads(file.read_text('utf-8')) for file in files}
    return {f'{part}.{key}': text for part, texts in parts.items() for key, text in texts.items()}


def use_language(code: str) -> None:
    """Say everything on this page in a language from now on."""
    context.client.storage['language'] = code if code in LANGUAGES else FALLBACK


def language() -> str:
    """Return the language of the page that is being drawn."""
    # Outside of any page, as in the API, asking for its client would make NiceGUI look for one.
    if not Slot.get_stack():
        return FALLBACK
    return str(context.client.storage.get('language', FALLBACK))


def with_marks(language: str, number: str) -> str:
    """Return a number that is written as 1,234.5 as it is written in a language."""
    return number.translate(str.maketrans(',.', MARKS.get(language, ',.')))


class _Formatter(string.Formatter):
    """Writes numbers as a language does."""

    def __init__(self, language: str) -> None:
        self._language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        text = format(value, format_spec)
        return with_marks(self._language, text) if isinstance(value, int | float) else text


def best_language(accepted: str) -> str:
    """Return the language of ours that a browser would rather have, by its Accept-Language header."""
    wanted = []
    for part in accepted.split(','):
        code, _, weight = part.strip().partition(';q=')
        with suppress(ValueError):
            wanted.append((float(weight or 1), code.partition('-')[0].strip().lower()))
    # `sorted` keeps the order of those a browser wants equally.
    ranked = [code for weight, code in sorted(wanted, key=lambda pair: -pair[0]) if weight > 0]
    return next((code for code in ranked if code in LANGUAGES), FALLBACK)
