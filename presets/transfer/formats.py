"""Which format a value of a file has, told by what is in it and never by a name."""

from collections.abc import Callable
from typing import Any, Literal, assert_never

from presets.folders import folder_path
from presets.transfer import chatgpt, lm_studio, open_webui, own
from presets.transfer.fields import Table, line
from presets.transfer.planting import Reading

Source = Literal['chatbot-webui', 'chatgpt', 'open-webui', 'lm-studio']
LISTS = {'chats', 'conversations'}
"""Names under which a file may have its chats."""
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading hostile values may raise; ValueError says why in words."""

_FORMATS: tuple[tuple[Source, Callable[[Table], bool]], ...] = (
    ('chatbot-webui', own.recognises),
    ('chatgpt', chatgpt.recognises),
    ('open-webui', open_webui.recognises),
    ('lm-studio', lm_studio.recognises),
)


def source_of(value: Any) -> Source | None:
    """Return whose chat this is."""
    if not isinstance(value, dict):
        return None
    return next((source for source, recognises in _FORMATS if recognises(value)), None)


def read(source: Source, value: Table, *, version: object = None, folder: str = '') -> Reading:
    """Return the chat in the value; ValueError in words if it is damaged."""
    try:
        reading = _read(source, value, version, folder)
    except ValueError:
        raise
    except DAMAGE as error:
        raise ValueError(f'something in it is not as it should be ({type(error).__name__})') from None
    reading.chat.title, reading.chat.folder = line(reading.chat.title), folder_path(reading.chat.folder)
    return reading


def _read(source: Source, value: Table, version: object, folder: str) -> Reading:
    match source:
        case 'chatbot-webui':
            return own.read(value, version)
        case 'chatgpt':
            return chatgpt.read(value)
        case 'open-webui':
            return open_webui.read(value)
        case 'lm-studio':
            return lm_studio.read(value, folder)
        case _:
            assert_never(source)


def name_of(value: Any, number: int) -> str:
    """Return what a chat that cannot be read is called, to tell it from the others."""
    given = value if isinstance(value, dict) else {}
    return line(given.get('title') or given.get('name')) or f'#{number}'
