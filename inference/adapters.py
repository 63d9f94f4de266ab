"""LoRA adapters on a loaded model: checked before the library sees them, put on, changed and taken off while it runs.

The library believes an adapter's shapes and types where it must not, and ends the process over them at the next token.
"""

import ctypes
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.errors import LoadFailed
from inference.gguf import Header, read_header
from inference.gguf_reader import TensorInfo, is_float32
from inference.library_log import LIBRARY_LOG
from inference.overrides import AdapterSpec, adapter_specs

Shape = tuple[int, ...]
ALPHA = 'adapter.lora.alpha'
EMBEDDING = 'token_embd.weight'
TYPES = ('F32', 'F16', 'BF16', 'Q8_0')


@dataclass(frozen=True, slots=True)
class _File:
    """One state of an adapter file; another one is another adapter."""

    path: Path
    size: int
    changed_ns: int


class Adapters:
    """The adapters of one context; belongs to the thread that decodes. Close it before the context."""

    def __init__(self, model: Any, context: Any, path: Path) -> None:
        """Adapters are held against the header of the model file at `path`; relative ones lie beside it."""
        self._model, self._context, self._path = model, context, path
        self._header: Header | None = None
        self._loaded: dict[_File, Any] = {}

    def apply(self, specs: tuple[str, ...]) -> str:
        """Put these adapters on and take all others off, from the next batch on; nothing changes where one is refused.

        Returns a fingerprint of those that have a strength, empty for none: what a KV cache holds depends on it.
        Raises LoadFailed or InvalidModelFile.
        """
        wanted = self._find(adapter_specs(specs))
        fresh: dict[_File, Any] = {}
        try:
            for file in wanted.keys() - self._loaded.keys():
                fresh[file] = self._load(file)
        except Exception:
            _free(fresh.values())
            raise
        self._loaded |= fresh
        self._set([self._loaded[file] for file in wanted], [*wanted.values()])
        _free([self._loaded.pop(file) for file in self._loaded.keys() - wanted.keys()])
        return _fingerprint(wanted)

    def close(self) -> None:
        """Take all adapters off and give their memory back."""
        self.apply(())

    def _find(self, specs: tuple[AdapterSpec, ...]) -> dict[_File, float]:
        found: dict[_File, float] = {}
        for spec in specs:
            path = self._path.parent / spec.file
            try:
                facts = path.stat()
            except OSError as error:
                raise LoadFailed(
                    f'The LoRA adapter {path} cannot be read: {error.strerror}. Is it still there?'
                ) from None
            file = _File(path.resolve(), facts.st_size, facts.st_mtime_ns)
            if file in found:
                raise LoadFailed(
                    f'The LoRA adapter {path.name} is named twice. Name it once, with the sum of the scales.'
                )
            found[file] = spec.scale
        return found

    def _load(self, file: _File) -> Any:
        self._header = self._header or read_header(self._path)
        check_adapter(read_header(file.path), self._header)
        LIBRARY_LOG.errors.clear()
        adapter = C.llama_adapter_lora_init(self._model, os.fsencode(file.path))
        if not adapter:
            raise LoadFailed(
                f'llama.cpp could not load the LoRA adapter {file.path.name}: {LIBRARY_LOG.reason()} '
                'Is it made for this model?'
            )
        return adapter

    def _set(self, adapters: list[Any], scales: list[float]) -> None:
        count = len(adapters)
        pointers = (C.llama_adapter_lora_p_ctypes * count)(*adapters)
        C.llama_set_adapters_lora(self._context, pointers, count, (ctypes.c_float * count)(*scales))


def check_adapter(adapter: Header, base: Header) -> None:
    """Refuse a file that is no LoRA, or not one of this model. Raises LoadFailed."""
    name, meta = adapter.path.name, adapter.metadata
    if meta.get('general.type') != 'adapter' or meta.get('adapter.type') != 'lora':
        raise LoadFailed(f'{name} is not a LoRA adapter. Choose a GGUF file that convert_lora_to_gguf.py made.')
    if adapter.architecture != base.architecture:
        raise LoadFailed(
            f'The LoRA adapter {name} is for models of the kind {adapter.architecture}, but {base.name} is '
            f'{base.architecture}. Choose one that was trained on this model.'
        )
    if 'adapter.alora.invocation_tokens' in meta:
        raise LoadFailed(f'{name} is an activated LoRA (aLoRA), which is not supported. Choose a plain LoRA.')
    if ALPHA in meta and not is_float32(adapter.path, ALPHA):
        raise LoadFailed(f'The LoRA adapter {name} has an alpha that is no 32-bit float. Convert it again.')
    if problem := _tensor_problem(adapter.tensors, {tensor.name: tensor for tensor in base.tensors}):
        raise LoadFailed(
            f'The LoRA adapter {name} does not fit {base.name}: {problem}. Choose one that was trained on this model.'
        )


def _tensor_problem(tensors: tuple[TensorInfo, ...], base: dict[str, TensorInfo]) -> str:
    """Tell what does not fit: each pair of tensors multiplies to the shape of one weight; empty if nothing."""
    pairs: dict[str, dict[str, TensorInfo]] = {}
    for tensor in tensors:
        weight, _, half = tensor.name.rpartition('.')
        if half in ('lora_a', 'lora_b'):
            pairs.setdefault(weight, {})[half] = tensor
        if tensor.type not in TYPES:
            return f'{tensor.name} has the type {tensor.type} instead of {", ".join(TYPES)}'
    for weight, halves in pairs.items():
        if len(halves) < 2:
            return f'half of the pair for {weight} is missing'
        if weight not in base:
            return f'the model has no {weight}'
        if weight == EMBEDDING and 'output.weight' not in base:  # the pair is turned, and that once only
            return f'it changes {weight}, which this model also writes with'
        if not _fits(weight, halves['lora_a'].shape, halves['lora_b'].shape, base[weight].shape):
            return f'the shapes for {weight} are others'
    return '' if pairs else 'it changes nothing'


def _fits(weight: str, a: Shape, b: Shape, shape: Shape) -> bool:
    if not len(a) == len(b) == len(shape) or len(shape) < 2:
        return False
    if weight == EMBEDDING:  # looked up instead of multiplied, the other way round
        return (b[1], a[1], a[0]) == (shape[0], shape[1], b[0])
    return (a[0], b[1], a[1]) == (shape[0], shape[1], b[0]) and a[2:] == b[2:] == shape[2:]


def _free(adapters: Iterable[Any]) -> None:
    for adapter in adapters:
        C.llama_adapter_lora_free(adapter)


def _fingerprint(files: dict[_File, float]) -> str:
    strong = sorted(f'{file.path} {file.size} {file.changed_ns} {scale}' for file, scale in files.items() if scale)
    return hashlib.sha256('\n'.join(strong).encode()).hexdigest()[:16] if strong else ''
