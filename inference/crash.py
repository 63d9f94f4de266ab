"""Why a process with llama.cpp in it died, told from its exit code and its last lines, and what to try instead."""

import re
from dataclasses import dataclass
from typing import Literal

from inference.settings import LoadSettings

LAST_WORDS = 'llama.cpp ended the process: '
"""What our log puts before the text of a failed assertion."""
Cause = Literal[
    'illegal instruction', 'bad memory access', 'out of memory', 'assertion', 'unreadable file',
    'nonsense', 'timeout', 'killed', 'unknown',
]  # fmt: skip

_SIGNALS = {
    4: 'SIGILL', 5: 'SIGTRAP', 6: 'SIGABRT', 7: 'SIGBUS', 8: 'SIGFPE', 9: 'SIGKILL', 10: 'SIGBUS', 11: 'SIGSEGV',
    15: 'SIGTERM', 31: 'SIGSYS',
}  # fmt: skip
_BY_SIGNAL: dict[str, Cause] = {
    'SIGILL': 'illegal instruction', 'SIGTRAP': 'illegal instruction', 'SIGFPE': 'bad memory access',
    'SIGSEGV': 'bad memory access', 'SIGSYS': 'bad memory access', 'SIGBUS': 'unreadable file',
    'SIGABRT': 'assertion', 'SIGKILL': 'killed', 'SIGTERM': 'killed',
}  # fmt: skip
_BY_STATUS: dict[int, Cause] = {
    0xC000001D: 'illegal instruction', 0xC0000096: 'illegal instruction', 0xC0000005: 'bad memory access',
    0xC0000094: 'bad memory access', 0xC00000FD: 'bad memory access', 0xC0000374: 'bad memory access',
    0xC0000006: 'unreadable file', 0xC0000017: 'out of memory', 0xC000009A: 'out of memory',
    0xC000012D: 'out of memory', 0xC0000409: 'assertion', 0xE06D7363: 'assertion', 0xC000013A: 'killed',
}  # fmt: skip
"""Windows: NTSTATUS codes; an abort ends in 0xC0000409, an uncaught C++ exception in 0xE06D7363."""
_BY_TEXT: tuple[tuple[re.Pattern[str], Cause], ...] = (
    # The first two are how ctypes tells Python of what Windows caught.
    (re.compile(r'exception: (illegal|privileged) instruction'), 'illegal instruction'),
    (re.compile(r'exception: (access violation|stack overflow|float|integer)'), 'bad memory access'),
    (
        re.compile(
            r'bad_alloc|MemoryError|failed to allocate|unable to allocate|cannot allocate|out of (device |host )?memory'
            r'|OutOf(Device|Host)Memory',
            re.IGNORECASE,
        ),
        'out of memory',
    ),
)
_PLACE = r'(?:.*[/\\])?(?P<place>[\w.+-]+:\d+): (?P<text>'
_ASSERTIONS = (
    re.compile(LAST_WORDS + _PLACE + r'.+)$', re.MULTILINE),
    re.compile('^' + _PLACE + r'GGML_ASSERT\(.+)$', re.MULTILINE),  # without our log, the library prints it
)
_EXCEPTION = re.compile(r"after throwing an instance of '(?P<kind>[^']+)'(?:\s+what\(\): +(?P<text>.+))?")
_REPACKING = re.compile(r'repack|amx|mmq\.cpp|kleidiai|sgemm|ggml-cpu', re.IGNORECASE)


_WORDS: dict[Cause, tuple[str, str]] = {
    'illegal instruction': (
        'met an instruction that this processor does not have',
        'This build of llama.cpp is for another processor: install the app anew on this machine, so that the library '
        'is built for it.',
    ),
    'bad memory access': (
        'crashed',
        'Try fewer GPU layers or a shorter context; if it stays, the file or this build of llama.cpp is to blame: '
        'download the file again, or update the app.',
    ),
    'out of memory': (
        'ran out of memory',
        'Choose a shorter context, a K and V cache of type q8_0, fewer GPU layers or a smaller model, or close other '
        'programs.',
    ),
    'assertion': (
        'was ended by llama.cpp itself',
        'It cannot do with the file or with one of the settings. Load it with default settings; if it stays, download '
        'the file again, or update the app.',
    ),
    'unreadable file': (
        'could not go on reading the file',
        'Check the disk or network share, or set "How the file is read" to read.',
    ),
    'nonsense': (
        'computed nonsense',
        'The file is damaged, or this build of llama.cpp does not get on with this processor: download the file again, '
        'or update the app.',
    ),
    'timeout': (
        'gave no sign of life any more and was ended',
        'Set "CPU threads" to fewer than there are free cores, "How the file is read" to read where the disk is slow, '
        'or "GPU layers" to 0 where the graphics driver may hang.',
    ),
    'killed': ('was killed from outside', 'Load it again; if it stays, look for what ends programs here.'),
    'unknown': ('failed', 'Load it with default settings; if it stays, the log has the details.'),
}
"""What happened, and the way out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crash:
    """How a process died: `how` is its signal or exit code, `detail` the assertion or the last it said."""

    cause: Cause
    how: str
    detail: str = ''

    @property
    def may_be_repacking(self) -> bool:
        """Whether repacked weights can be to blame, so that a trial without them is worth its time."""
        if self.cause == 'assertion':
            return bool(_REPACKING.search(self.detail))
        return self.cause in ('illegal instruction', 'bad memory access', 'nonsense')


def diagnose(code: int, said: str, *, oom_killed: bool = False) -> Crash:
    """Tell what killed a process by its exit code (below 0 a signal, as Python has it) and its standard error."""
    how, cause = _by_code(code)
    if assertion := _assertion(said):
        cause = 'assertion'
    if by_text := next((cause for pattern, cause in _BY_TEXT if pattern.search(said)), None):
        cause = by_text
    if oom_killed and how == 'signal SIGKILL':
        cause = 'out of memory'
    return Crash(cause=cause, how=how, detail=assertion or _last_line(said))


def explain(name: str, crash: Crash, settings: LoadSettings, memory: str = '') -> str:
    """Say what happened to the trial of a model file, why, and the way out; `memory` tells what was free."""
    what, way_out = _WORDS[crash.cause]
    sentences = [
        f'A trial load of {name} in a separate process {what}{crash.how and f" ({crash.how})"}, '
        'so it was not loaded here.',
        memory if crash.cause in ('out of memory', 'killed') else '',
        _suspects(settings) if crash.cause in ('assertion', 'bad memory access') else '',
        'Switch off "Repack weights for this CPU".' if settings.use_extra_bufts and crash.may_be_repacking else '',
        way_out,
        f'It last said: {crash.detail}' if crash.detail and crash.cause not in ('timeout', 'nonsense') else '',
    ]
    return ' '.join(filter(None, sentences))


def _by_code(code: int) -> tuple[str, Cause]:
    if -64 <= code < 0:
        name = _SIGNALS.get(-code, str(-code))
        return f'signal {name}', _BY_SIGNAL.get(name, 'unknown')
    status = code & 0xFFFFFFFF
    # Older C runtimes of Windows end an abort with 3.
    return f'exit code {status:#x}', 'assertion' if status == 3 else _BY_STATUS.get(status, 'unknown')


def _assertion(said: str) -> str:
    if found := _last(_ASSERTIONS[0], said) or _last(_ASSERTIONS[1], said):
        return f'{found["text"].strip()} ({found["place"]})'
    if found := _last(_EXCEPTION, said):
        return found['text'] or found['kind']
    return ''


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(reversed([*pattern.finditer(text)]), None)


def _last_line(said: str) -> str:
    return next((line.strip()[:200] for line in reversed(said.splitlines()) if line.strip()), '')


def _suspects(settings: LoadSettings) -> str:
    """Name the settings that are most often to blame, where they were used."""
    fields = {
        '"Metadata overrides"': settings.kv_overrides,
        '"Tensor placement"': settings.tensor_overrides,
        '"K cache type"': settings.type_k != 'f16',
        '"V cache type"': settings.type_v != 'f16',
        '"Split over GPUs"': settings.split_mode in ('row', 'tensor'),
    }
    used = [title for title, is_used in fields.items() if is_used]
    return f'Take {" and ".join(used)} back first.' if used else ''
