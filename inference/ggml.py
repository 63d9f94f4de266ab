"""The layer below llama.cpp, which its Python binding leaves out: devices, buffer types, last words of a crash."""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)
from llama_cpp._ctypes_extensions import load_shared_library

DeviceKind = Literal['cpu', 'gpu', 'igpu', 'accelerator', 'meta']
KINDS: tuple[DeviceKind, ...] = ('cpu', 'gpu', 'igpu', 'accelerator', 'meta')
"""In the order of ggml's enum; `igpu` shares the RAM, `accelerator` helps the CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Something that computes. Its memory is asked for each time; the first time a GPU starts up for it."""

    name: str
    description: str
    kind: DeviceKind
    pointer: int = field(repr=False)

    @property
    def is_gpu(self) -> bool:
        """Whether layers can be kept there."""
        return self.kind in ('gpu', 'igpu')

    @property
    def free(self) -> int:
        """Bytes that can be used now; 0 if the driver does not tell."""
        return psutil.virtual_memory().available if self.kind == 'cpu' else self._memory()[0]

    @property
    def total(self) -> int:
        """Bytes there are; 0 if the driver does not tell."""
        return psutil.virtual_memory().total if self.kind == 'cpu' else self._memory()[1]

    def _memory(self) -> tuple[int, int]:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        _device_memory(self.pointer, ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value


def devices() -> list[Device]:
    """Return all devices this build of the library can use here, the CPU among them."""
    C.llama_backend_init()
    return [_describe(_device_get(number)) for number in range(_device_count())]


def buffer_type(device: Device) -> int:
    """Return where tensors of a device are kept, as llama.cpp wants it."""
    # For the CPU the library compares with this very pointer, and repacks the weights if it may.
    pointer: int = _cpu_buffer_type() if device.kind == 'cpu' else _device_buffer_type(device.pointer)
    return pointer


def on_abort(callback: Callable[[bytes], None]) -> Any:
    """Let `callback` have the text of a failed assertion before the process ends; keep what is returned."""
    native = _AbortCallback(callback)
    _set_abort_callback(native)
    return native


def _describe(pointer: int) -> Device:
    return Device(
        name=_device_name(pointer).decode(),
        description=_device_description(pointer).decode('utf-8', 'replace').strip(),
        kind=KINDS[_device_type(pointer)],
        pointer=pointer,
    )


def _function(name: str, result: Any, *arguments: Any) -> Any:
    found = next(getattr(library, name) for library in _libraries if hasattr(library, name))
    found.restype, found.argtypes = result, arguments
    return found


# Elsewhere the one library looks a name up in those it stands on.
_BELOW = ('ggml', 'ggml-base') if sys.platform == 'win32' else ()
_libraries = (C._lib, *(load_shared_library(name, C._base_path) for name in _BELOW))
_AbortCallback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_pointer, _size_out = ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)
_device_count = _function('ggml_backend_dev_count', ctypes.c_size_t)
_device_get = _function('ggml_backend_dev_get', _pointer, ctypes.c_size_t)
_device_name = _function('ggml_backend_dev_name', ctypes.c_char_p, _pointer)
_device_description = _function('ggml_backend_dev_description', ctypes.c_char_p, _pointer)
_device_type = _function('ggml_backend_dev_type', ctypes.c_int, _pointer)
_device_memory = _function('ggml_backend_dev_memory', None, _pointer, _size_out, _size_out)
_device_buffer_type = _function('ggml_backend_dev_buffer_type', _pointer, _pointer)
_cpu_buffer_type = _function('ggml_backend_cpu_buffer_type', _pointer)
_set_abort_callback = _function('ggml_set_abort_callback', _pointer, _AbortCallback)


def native_abort_callback() -> Any:
    """Return C's `strlen` as the abort callback: 0 for an empty string is 'go on'; no Python, no GIL.

    It is called for every node of the graph, hundreds of times a token.
    """
    library = ctypes.cdll.msvcrt if sys.platform == 'win32' else ctypes.CDLL(None)
    return ctypes.cast(library.strlen, C.ggml_abort_callback)


def return_memory() -> None:
    """Ask glibc to hand freed memory back to the system; other C libraries do it by themselves."""
    if sys.platform == 'linux':
        trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
        trim(0) if trim else None
