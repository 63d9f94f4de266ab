"""A note that outlives a crash: which model was in memory."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Literal


class Activity:
    """A note on disk of the model in memory. If it is found at a start, the app died with that model."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, model_id: str, phase: Literal['loading', 'loaded']) -> None:
        """Say what is going on; it survives the process, not a power cut, and needs no more."""
        with suppress(OSError):
            self._path.write_text(json.dumps({'model': model_id, 'phase': phase}), encoding='utf-8')

    def clear(self) -> None:
        """Say that nothing is in memory."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def take(self) -> tuple[str, str] | None:
        """Return model and phase that the last process died with, once."""
        with suppress(OSError, ValueError, LookupError, TypeError):
            found = json.loads(self._path.read_text(encoding='utf-8'))
            self.clear()
            return found['model'], found['phase']
        return None
