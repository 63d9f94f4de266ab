"""What load and sampling settings are called: in English as they are declared, else as said in `setting.toml`."""

from inference.settings import Setting
from webui.words import FALLBACK, catalogue, formats, language, say

SHOWN_DEFAULTS = ('bool', 'int', 'float', 'choice')
"""Kinds whose default is short enough to be told."""


def setting_title(setting: Setting) -> str:
    """Return the name of a setting."""
    return _own(setting).get('title', setting.title)


def explain(setting: Setting) -> str:
    """Say what a setting does, in what it is counted, and what it is by default."""
    parts = [_own(setting).get('help', setting.help)]
    if setting.unit:
        parts.append(say('settings.in_unit', unit=_named('unit', setting.unit)))
    if setting.kind in SHOWN_DEFAULTS:
        parts.append(say('settings.default', value=_value(setting.default)))
    return ' '.join(parts)


def group_name(group: str) -> str:
    """Return what a group of settings is called."""
    return _named('group', group)


def choice_name(choice: str) -> str:
    """Return what a choice is called; those that are names of techniques stay as they are."""
    return _named('choice', choice)


def _own(setting: Setting) -> dict[str, str]:
    texts = catalogue(language()).get(f'setting.{setting.name}')
    return texts if isinstance(texts, dict) else {}


def _named(kind: str, name: str) -> str:
    key = f'settings.{kind}_{name.lower().replace(" ", "_")}'
    return say(key) if key in catalogue(FALLBACK) else name


def _value(value: object) -> str:
    match value:
        case bool():
            return say('settings.choice_on' if value else 'settings.choice_off')
        case int() | float():
            return formats.plain(value)
    return choice_name(str(value))
