"""llama.cpp's log in ours: its levels, its lines put together, and its errors kept to explain a failure."""

import re
from collections import deque

from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)
from loguru import logger

from inference.crash import LAST_WORDS
from inference.ggml import on_abort

DEBUG, INFO, WARNING, ERROR, CONTINUED = 1, 2, 3, 4, 5
LONGEST_LINE = 300
_FUNCTION = re.compile(r'^[\w:~<>]+: +')
_GENERIC = re.compile(r'failed to load model$')
_NOISE = re.compile(
    r'control-looking token|setting token|special_e\w+_id is not|EOG|model has unused tensor|lora for '
    r'|compute buffer size|full-size SWA cache|n_ctx_seq|n_ctx is not divisible|memory slot|removing memory module'
    r'|default pooling_type|tensor overrides to CPU|dummy tokens|^[\w:]*:?[ *]*$'
)
"""Warnings that say nothing to who runs the app: remarks to those who convert models, and what we handle ourselves."""

_STOPPED = re.compile(r'graph_compute_async failed with error 1$|failed to compute graph, compute status: 1$')
"""What the library calls an error when a batch was aborted on request."""


class LibraryLog:
    """Receives llama.cpp's log. `errors` holds what went wrong lately; clear it before what may fail."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=20)
        self._level, self._text = INFO, ''
        self._callback = C.llama_log_callback(self._write)
        self._abort_callback: object = None

    def install(self) -> None:
        """Take the place of the log that writes to the terminal."""
        C.llama_log_set(self._callback, None)
        self._abort_callback = on_abort(self._last_words)

    def reason(self) -> str:
        """Return what the library said of its failure, cause first, as a sentence."""
        said = [line for line in dict.fromkeys(self.errors) if not _GENERIC.search(line)]
        lines = [*said[:2], *said[2:][-1:]]
        return f'{"; ".join(line.rstrip(".:") for line in lines)}.' if lines else 'it gave no reason.'

    def _write(self, level: int, text: bytes, _: object) -> None:
        if level != CONTINUED:
            self._flush()
            self._level = level
        if self._level == DEBUG:  # by far the most, and not worth decoding
            return
        self._text += text.decode('utf-8', 'replace')
        if self._text.endswith('\n'):
            self._flush()

    def _flush(self) -> None:
        text, self._text = self._text, ''
        for line in text.splitlines():
            if line.strip(' .'):
                self._say(line.strip())

    def _say(self, line: str) -> None:
        if self._level == ERROR and not _STOPPED.search(line):
            self.errors.append(_FUNCTION.sub('', line)[:LONGEST_LINE])
            logger.error('llama.cpp: {}', line)
        elif self._level == WARNING and not _NOISE.search(line):
            logger.warning('llama.cpp: {}', line)
        else:
            logger.debug('llama.cpp: {}', line)

    @staticmethod
    def _last_words(text: bytes) -> None:
        logger.critical('{}{}', LAST_WORDS, text.decode('utf-8', 'replace'))


# The library has one log for the whole process, and it needs the callback for as long as it lives.
LIBRARY_LOG = LibraryLog()
LIBRARY_LOG.install()
