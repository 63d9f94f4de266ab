"""Names for files that every system takes, Windows included."""

import re
import unicodedata
from typing import Literal

Format = Literal['json', 'markdown', 'html']
ENDINGS: dict[Format, str] = {'json': 'json', 'markdown': 'md', 'html': 'html'}

LENGTH, BYTES = 80, 180
"""Characters and bytes; with a number and an ending it stays below what any system allows."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')
_RESERVED = re.compile(r'(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(\.|$)')


def file_name(title: str, ending: str, taken: set[str] | None = None) -> str:
    """Return a name for a file about `title`; where it is in `taken`, whatever its case, it gets a number."""
    stem = _stem(title)
    names = (f'{stem}.{ending}' if number < 2 else f'{stem} ({number}).{ending}' for number in range(1, 10**9))
    taken = set() if taken is None else taken
    name = next(name for name in names if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


def _stem(title: str) -> str:
    text = unicodedata.normalize('NFC', title)
    visible = ''.join(' ' if unicodedata.category(sign)[0] in 'CZ' else sign for sign in text)
    name = _FORBIDDEN.sub('-', ' '.join(visible.split()))[:LENGTH]
    name = name.encode()[:BYTES].decode(errors='ignore').strip('. -') or 'Chat'
    return f'_{name}' if _RESERVED.match(name) else name
