"""How llama.cpp is spoken to: its parameters from our settings, its log, what it says of itself and this machine."""

import os
import sys
from collections import deque
from typing import Any

import psutil
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)
from loguru import logger

from inference.drafting import MOST_DRAFT
from inference.errors import LoadFailed
from inference.settings import LoadSettings

# Otherwise a fatal error in the library starts a debugger for its trace, which is slow and can hang.
os.environ.setdefault('GGML_NO_BACKTRACE', '1')

FLASH_ATTN_AUTO, FLASH_ATTN_OFF, FLASH_ATTN_ON = -1, 0, 1
LOG_WARNING, LOG_ERROR, LOG_CONTINUED = 3, 4, 5
GGML_TYPE_BF16 = 30  # the binding leaves it out
LOAD_MODES = {'auto': -1, 'read': 0, 'mmap': 1, 'mlock': 2, 'mmap+mlock': 3, 'direct_io': 4}
UNQUANTIZED = ('f16', 'bf16', 'f32')


class LibraryLog:
    """Receives llama.cpp's log: errors are kept to explain a failure, the rest goes to our own debug log."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=20)
        self._level = 0
        self._callback = C.llama_log_callback(self._write)

    def install(self) -> None:
        """Take the place of the log that writes to the terminal."""
        C.llama_log_set(self._callback, None)

    def reason(self) -> str:
        """Return what the library said last, as a sentence."""
        text = next((line for line in self.errors if 'failed to load model' not in line), '')
        return f'{text.rstrip(".")}.' if text else 'it gave no reason.'

    def _write(self, level: int, text: bytes, _: object) -> None:
        self._level = level if level != LOG_CONTINUED else self._level
        line = text.decode('utf-8', 'replace').strip()
        if self._level >= LOG_ERROR and line:
            self.errors.append(line.split(': ', 1)[-1])
        if self._level >= LOG_WARNING and line.strip('.'):
            logger.debug('llama.cpp: {}', line)


# The library has one log for the whole process, and it needs the callback for as long as it lives.
LIBRARY_LOG = LibraryLog()
LIBRARY_LOG.install()


def default_threads() -> int:
    """Return the physical cores that this process may use, less one for the page, the browser and the rest.

    llama.cpp's threads wait for each other by spinning: one that has to share its core stalls them all.
    """
    cores = psutil.cpu_count(logical=False) or 1
    if sys.platform == 'linux':
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores - 1)


def library_version() -> str:
    """Return what a preflight verdict depends on besides the file: the library and what it found of the CPU."""
    import llama_cpp  # noqa: PLC0415 (only its version)

    return f'{llama_cpp.__version__} {C.llama_print_system_info().decode()}'


def supports_gpu() -> bool:
    """Return whether this build of the library can use a GPU, and one is there."""
    return bool(C.llama_supports_gpu_offload())


def model_params(settings: LoadSettings) -> Any:
    """Return the library's parameters for loading a model."""
    params = C.llama_model_default_params()
    params.n_gpu_layers = settings.n_gpu_layers
    params.load_mode = LOAD_MODES[settings.load_mode]
    params.use_extra_bufts = settings.use_extra_bufts
    return params


def context_params(model: Any, settings: LoadSettings, n_slots: int) -> Any:
    """Return the library's parameters for a context of `n_slots` sequences that share one KV cache."""
    params = C.llama_context_default_params()
    trained = C.llama_model_n_ctx_train(model)
    params.n_ctx = min(settings.n_ctx or trained, trained)
    params.n_batch, params.n_ubatch = settings.n_batch, min(settings.n_batch, 512)
    params.n_seq_max, params.n_outputs_max = n_slots, n_slots * (1 + MOST_DRAFT if settings.draft == 'on' else 1)
    params.kv_unified, params.swa_full, params.no_perf = True, settings.swa_full, True
    params.n_threads = params.n_threads_batch = settings.n_threads or default_threads()
    params.flash_attn_type = _flash_attn(settings)
    params.type_k, params.type_v = _ggml_type(settings.type_k), _ggml_type(settings.type_v)
    params.offload_kqv = settings.offload_kqv
    return params


def check_settings(settings: LoadSettings) -> None:
    """Refuse combinations that the library refuses without a word. Raises LoadFailed."""
    if settings.type_v not in UNQUANTIZED and settings.flash_attn == 'off':
        raise LoadFailed(
            f'A V cache of type {settings.type_v} needs flash attention. '
            'Set "Flash attention" to auto or on, or "V cache type" to f16.'
        )


def _flash_attn(settings: LoadSettings) -> int:
    if settings.flash_attn != 'auto':
        return FLASH_ATTN_ON if settings.flash_attn == 'on' else FLASH_ATTN_OFF
    if supports_gpu() and settings.n_gpu_layers != 0:
        return FLASH_ATTN_AUTO
    # On a CPU it makes long chats slow, but a quantized V cache does not work without it.
    return FLASH_ATTN_ON if settings.type_v not in UNQUANTIZED else FLASH_ATTN_OFF


def _ggml_type(name: str) -> int:
    number: int = GGML_TYPE_BF16 if name == 'bf16' else getattr(C, f'GGML_TYPE_{name.upper()}')
    return number
