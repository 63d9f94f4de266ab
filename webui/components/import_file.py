"""Where files for an import are chosen or dropped; see import_file.js for how they are sent."""

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from webui.imports import LARGEST_FILE
from webui.words import say

NAMES = ('hint', 'choose', 'kinds', 'sending', 'reading', 'large', 'failed', 'unreachable')


class ImportFile(ui.element, component='import_file.js'):
    """Calls back with the id of an import and what was wrong with some of its files."""

    def __init__(self, on_staged: Callable[[str, list[str]], Awaitable[None]]) -> None:
        super().__init__()
        words = {name: say(f'transfer.file_{name}', size=LARGEST_FILE >> 20) for name in NAMES}
        self._props['words'] = {**words, 'cancel': say('common.cancel')}
        self._props['limit'] = LARGEST_FILE

        async def staged(event: Any) -> None:
            await on_staged(str(event.args['id']), [str(problem) for problem in event.args['problems']])

        self.on('staged', staged)
