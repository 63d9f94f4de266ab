"""What a GGUF file says about its model, read from the header alone; damaged files are refused with a reason.

A header is untrusted: every count and length in it is held against the file's size and a limit before it is believed.
Layout: magic, version, number of tensors, number of key-values; the key-values; the tensor infos; padding; tensor data.
"""

import re
import stat
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from inference.errors import InvalidModelFile

Scalar = int | float | bool | str

_SPLIT_NAME = re.compile(r'(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf', re.IGNORECASE)
_U32, _U64 = struct.Struct('<I'), struct.Struct('<Q')
_STRING, _ARRAY = 8, 9
_SCALARS = dict(enumerate(map(struct.Struct, ('<B', '<b', '<H', '<h', '<I', '<i', '<f', '<?')))) | {
    10: struct.Struct('<Q'),
    11: struct.Struct('<q'),
    12: struct.Struct('<d'),
}
_CHUNK = 1 << 20
_MOST_KEYS, _MOST_TENSORS, _MOST_STRINGS = 50_000, 100_000, 4_000_000
_MOST_TEXT, _MOST_NAME = 64 << 20, 1 << 16
_KEPT_SCALARS, _KEPT_STRINGS = 1024, 64
_MOST_LAYERS = 1024
_MOST_ELEMENTS = 1 << 62


@dataclass(frozen=True, slots=True)
class ArraySummary:
    """Stands for an array that is too long to keep, such as the vocabulary."""

    count: int


class TensorInfo(NamedTuple):
    """One tensor; `offset` counts from the start of the tensor data."""

    name: str
    type: str
    n_elements: int
    n_bytes: int
    offset: int


Value = Scalar | tuple[Scalar, ...] | ArraySummary


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The facts of a model; of a split model all parts that are there count, listed in `parts`.

    `n_head` and `n_head_kv` are tuples where they differ from layer to layer. A number the file does not give is 0.
    """

    path: Path
    parts: tuple[Path, ...]
    size: int
    architecture: str
    name: str
    quantization: str
    parameters: int
    n_ctx_train: int
    n_layer: int
    n_embd: int
    n_head: int | tuple[int, ...]
    n_head_kv: int | tuple[int, ...]
    key_length: int
    value_length: int
    n_vocab: int
    n_expert: int
    chat_template: str | None
    has_tokenizer: bool
    split_count: int
    metadata: Mapping[str, Value] = field(repr=False, compare=False)
    tensors: tuple[TensorInfo, ...] = field(repr=False, compare=False)

    @property
    def is_companion(self) -> bool:
        """Whether the file belongs to a model instead of being one: an image projector or a LoRA adapter."""
        return _is_projector(self) or _is_adapter(self)


def read_header(path: Path) -> Header:
    """Read the header of a model file, of a split model those of all its parts that are there; raise InvalidModelFile.

    Of a split model `path` is the first part.
    """
    names = split_parts(path)
    parts = [path] if path != names[0] else [path, *(part for part in names[1:] if part.is_file())]
    contents = [_read_file(part) for part in parts]
    return _header(tuple(parts), contents)


def check_usable(header: Header) -> None:
    """Refuse a sound file that still cannot be chatted with, and say what it is instead."""
    name, meta = header.path.name, header.metadata
    if _is_projector(header):
        raise InvalidModelFile(f'{name} is an image projector that goes with a model. Choose the model itself.')
    if _is_adapter(header):
        raise InvalidModelFile(f'{name} is a LoRA adapter that goes with a model. Choose a complete model.')
    if len(header.parts) < header.split_count:
        raise InvalidModelFile(_missing_parts(header))
    if not any(tensor.name.startswith('blk.') for tensor in header.tensors):
        raise InvalidModelFile(f'{name} has no layers, only a vocabulary. Choose a complete model.')
    if not header.has_tokenizer:
        raise InvalidModelFile(f'{name} has no tokenizer, so it cannot read text. Choose a language model.')
    if meta.get(f'{header.architecture}.attention.causal') is False:
        raise InvalidModelFile(f'{name} is an embedding model, it cannot write text. Choose a chat model.')


def split_parts(path: Path) -> tuple[Path, ...]:
    """Return all paths of the split model `path` is a part of, whether they exist or not; of others just `path`."""
    found = _SPLIT_NAME.fullmatch(path.name)
    if not found or not 1 <= int(found['count']) <= 1000:
        return (path,)
    count, ending = found['count'], path.name[-5:]
    names = (f'{found["stem"]}-{number:05}-of-{count}{ending}' for number in range(1, int(count) + 1))
    return tuple(path.with_name(name) for name in names)


class _Damaged(Exception):
    """Carries the cause up to where the file name is known."""


class _Contents(NamedTuple):
    size: int
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]


class _Cursor:
    """Reads forward in chunks, and never past the end or more text than a header can need."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._window, self._start, self._at = b'', 0, 0
        self._text_left, self._strings_left = _MOST_TEXT, _MOST_STRINGS

    @property
    def position(self) -> int:
        return self._start + self._at

    @property
    def left(self) -> int:
        return self._size - self.position

    def number(self, form: struct.Struct) -> int:
        value: int = form.unpack(self._take(form.size))[0]
        return value

    def numbers(self, form: struct.Struct, count: int) -> tuple[Scalar, ...]:
        return tuple(value for (value,) in form.iter_unpack(self._take(form.size * count)))

    def text(self, limit: int = _MOST_TEXT) -> bytes:
        length = self.number(_U64)
        if length > self.left:
            raise _Damaged(f'it announces a text of {length:,} bytes, but only {max(0, self.left):,} follow')
        if length > min(limit, self._text_left):
            raise _Damaged(f'it holds a text of {length:,} bytes, far more than a model needs')
        self._text_left -= length
        return self._take(length)

    def skip(self, n_bytes: int) -> None:
        self._at += n_bytes

    def skip_texts(self, count: int) -> None:
        """Step over a vocabulary without making an object of each entry."""
        if count > self._strings_left:
            raise _Damaged(f'it announces {count:,} texts, far more than a model needs')
        self._strings_left -= count
        length_at, window, at = _U64.unpack_from, self._window, self._at
        for _ in range(count):
            if at + 8 > len(window):
                self._at = at
                self._refill(8)
                window, at = self._window, 0
            at += 8 + length_at(window, at)[0]
        self._at = at

    def _take(self, n_bytes: int) -> bytes:
        if self._at + n_bytes > len(self._window):
            self._refill(n_bytes)
        self._at += n_bytes
        return self._window[self._at - n_bytes : self._at]

    def _refill(self, n_bytes: int) -> None:
        position = self.position
        if position + n_bytes > self._size:
            raise _Damaged('it ends in the middle of its header')
        self._file.seek(position)
        self._window, self._start, self._at = self._file.read(max(n_bytes, _CHUNK)), position, 0
        if len(self._window) < n_bytes:
            raise _Damaged('it became shorter while it was read')


def _read_file(path: Path) -> _Contents:
    size = _size(path)
    try:
        with path.open('rb', buffering=0) as file:
            _check_kind(path, file.read(64))
            return _contents(_Cursor(file, size), size)
    except _Damaged as error:
        raise InvalidModelFile(_damaged(path, error)) from None
    except OSError as error:
        raise InvalidModelFile(_unreadable(path, error)) from error


def _damaged(path: Path, error: _Damaged) -> str:
    return f'{path.name} is damaged or incomplete: {error}. Download or copy it again.'


def _unreadable(path: Path, error: OSError) -> str:
    return f'{path.name} cannot be read: {error.strerror}. Check its permissions and the disk.'


def _size(path: Path) -> int:
    try:
        facts = path.stat()
    except (FileNotFoundError, ValueError):
        raise InvalidModelFile(f'There is no file {path}. Choose another one.') from None
    except OSError as error:
        raise InvalidModelFile(_unreadable(path, error)) from error
    if not stat.S_ISREG(facts.st_mode):
        raise InvalidModelFile(f'{path} is a folder or a device, not a model file. Choose a .gguf file.')
    if not facts.st_size:
        raise InvalidModelFile(f'{path.name} is empty (0 bytes). Download or copy it again.')
    return facts.st_size


def _check_kind(path: Path, start: bytes) -> None:
    if start[:4] != b'GGUF':
        raise InvalidModelFile(f'{path.name} is not a GGUF file{_disguise(start)}. Choose or download a .gguf model.')
    version = int.from_bytes(start[4:8], 'little')
    if len(start) >= 8 and not version & 0xFFFF:
        raise InvalidModelFile(f'{path.name} is made for big-endian computers. Download the usual, little-endian file.')
    if len(start) >= 8 and version not in {2, 3}:
        raise InvalidModelFile(
            f'{path.name} has GGUF version {version}; versions 2 and 3 can be read. '
            'Download a current file of this model, or update this app.'
        )


def _disguise(start: bytes) -> str:
    beginnings = {
        b'<': ': a web page was saved instead of the model',
        b'version https://git-lfs': ' but a Git LFS pointer to one; fetch the file with "git lfs pull"',
        b'PK': ' but a zip archive or a PyTorch model',
        b'lmgg': ' but an old GGML file',
        b'tjgg': ' but an old GGML file',
    }
    return next((words for first, words in beginnings.items() if start.lstrip().startswith(first)), '')


def _contents(cursor: _Cursor, size: int) -> _Contents:
    cursor.skip(8)
    n_tensors, n_keys = cursor.number(_U64), cursor.number(_U64)
    if n_tensors > min(_MOST_TENSORS, size // 32) or n_keys > min(_MOST_KEYS, size // 13):
        raise _Damaged(f'it announces {n_tensors:,} tensors and {n_keys:,} values, which cannot be')
    metadata = dict(_key_value(cursor) for _ in range(n_keys))
    if len(metadata) < n_keys:
        raise _Damaged('a value in its header occurs twice')
    tensors = tuple(_tensor(cursor) for _ in range(n_tensors))
    _check_places(tensors, cursor.position, _alignment(metadata), size)
    return _Contents(size, metadata, tensors)


def _key_value(cursor: _Cursor) -> tuple[str, Value]:
    key = _utf8(cursor.text(_MOST_NAME))
    kind = cursor.number(_U32)
    return key, _array(cursor, key) if kind == _ARRAY else _scalar(cursor, kind, key)


def _scalar(cursor: _Cursor, kind: int, key: str) -> Scalar:
    if kind == _STRING:
        return cursor.text().decode('utf-8', 'replace')
    return cursor.number(_form(kind, key))


def _array(cursor: _Cursor, key: str) -> Value:
    kind, count = cursor.number(_U32), cursor.number(_U64)
    width = 8 if kind == _STRING else _form(kind, key).size
    if count * width > cursor.left:
        raise _Damaged(f'it announces {count:,} entries of "{key}", more than the file can hold')
    if kind == _STRING and count > _KEPT_STRINGS:
        cursor.skip_texts(count)
        return ArraySummary(count)
    if kind == _STRING:
        return tuple(_scalar(cursor, kind, key) for _ in range(count))
    if count > _KEPT_SCALARS:
        cursor.skip(count * width)
        return ArraySummary(count)
    return cursor.numbers(_form(kind, key), count)


def _form(kind: int, key: str) -> struct.Struct:
    if kind not in _SCALARS:
        raise _Damaged(f'"{key}" has the unknown value type {kind}')
    return _SCALARS[kind]


def _tensor(cursor: _Cursor) -> TensorInfo:
    name = _utf8(cursor.text(_MOST_NAME))
    n_dims = cursor.number(_U32)
    if not 1 <= n_dims <= 4:
        raise _Damaged(f'tensor "{name}" has {n_dims:,} dimensions')
    shape = [cursor.number(_U64) for _ in range(n_dims)]
    kind, offset = cursor.number(_U32), cursor.number(_U64)
    if kind not in TENSOR_TYPES:
        raise _Damaged(
            f'tensor "{name}" has the unknown type {kind}; if the file is new, this app may be too old for it'
        )
    type_name, block, block_bytes = TENSOR_TYPES[kind]
    n_elements = shape[0]
    for length in shape[1:]:
        n_elements *= length
    if not 0 < n_elements < _MOST_ELEMENTS or shape[0] % block:
        raise _Damaged(f'tensor "{name}" has the impossible shape {"×".join(map(str, shape))}')
    return TensorInfo(name, type_name, n_elements, n_elements // block * block_bytes, offset)


def _check_places(tensors: tuple[TensorInfo, ...], header_end: int, alignment: int, size: int) -> None:
    """Tensors lie one after the other, each at a multiple of the alignment; llama.cpp accepts nothing else."""
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            raise _Damaged(f'tensor "{tensor.name}" is said to lie at {tensor.offset:,} instead of {expected:,}')
        expected += _padded(tensor.n_bytes, alignment)
    missing = _padded(header_end, alignment) + tensors[-1].offset + tensors[-1].n_bytes - size if tensors else 0
    if missing > 0:
        raise _Damaged(f'{missing:,} bytes are missing at its end ({size:,} are there)')


def _alignment(metadata: Mapping[str, Value]) -> int:
    alignment = _count(metadata, 'general.alignment', default=32)
    if alignment <= 0 or alignment & (alignment - 1):
        raise _Damaged(f'its data are aligned to {alignment}, which is no power of two')
    return alignment


def _padded(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment


def _utf8(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _Damaged('a name in its header is not readable text') from None


def _header(parts: tuple[Path, ...], contents: list[_Contents]) -> Header:
    path, meta = parts[0], contents[0].metadata
    tensors = tuple(tensor for part in contents for tensor in part.tensors)
    try:
        return _facts(parts, sum(part.size for part in contents), meta, tensors)
    except _Damaged as error:
        raise InvalidModelFile(_damaged(path, error)) from None


def _facts(parts: tuple[Path, ...], size: int, meta: Mapping[str, Value], tensors: tuple[TensorInfo, ...]) -> Header:
    architecture = _text(meta, 'general.architecture')
    if number := _count(meta, 'split.no'):
        raise InvalidModelFile(
            f'{parts[0].name} is part {number + 1} of {_count(meta, "split.count")} of a model. '
            'Choose the first part, and keep all parts in one folder.'
        )
    if not architecture:
        raise _Damaged('its header names no architecture')
    prefix = f'{architecture}.attention.'
    n_embd = _count(meta, f'{architecture}.embedding_length')
    n_head = _per_layer(meta, f'{prefix}head_count', default=0)
    first = n_head if isinstance(n_head, int) else next(iter(n_head), 0)
    head_length = n_embd // first if first else 0
    n_vocab = _length(meta, 'tokenizer.ggml.tokens')
    return Header(
        path=parts[0],
        parts=parts,
        size=size,
        architecture=architecture,
        name=_text(meta, 'general.name') or parts[0].stem,
        quantization=_quantization(meta, tensors),
        parameters=sum(tensor.n_elements for tensor in tensors),
        n_ctx_train=_count(meta, f'{architecture}.context_length'),
        n_layer=_count(meta, f'{architecture}.block_count', most=_MOST_LAYERS),
        n_embd=n_embd,
        n_head=n_head,
        n_head_kv=_per_layer(meta, f'{prefix}head_count_kv', default=n_head),
        key_length=_count(meta, f'{prefix}key_length', default=head_length),
        value_length=_count(meta, f'{prefix}value_length', default=head_length),
        n_vocab=n_vocab or _count(meta, f'{architecture}.vocab_size'),
        n_expert=_count(meta, f'{architecture}.expert_count'),
        chat_template=_text(meta, 'tokenizer.chat_template') or None,
        has_tokenizer=n_vocab > 0 and _text(meta, 'tokenizer.ggml.model') not in {'', 'none', 'no_vocab'},
        split_count=max(1, _count(meta, 'split.count')),
        metadata=MappingProxyType(dict(meta)),
        tensors=tensors,
    )


def _text(meta: Mapping[str, Value], key: str) -> str:
    value = meta.get(key)
    return value if isinstance(value, str) else ''


def _count(meta: Mapping[str, Value], key: str, default: int = 0, most: int = (1 << 31) - 1) -> int:
    value = meta.get(key, default)
    if not isinstance(value, int) or not 0 <= value <= most:
        raise _Damaged(f'"{key}" should be a count of at most {most:,} and is {value!r:.40}')
    return value


def _per_layer(meta: Mapping[str, Value], key: str, default: int | tuple[int, ...]) -> int | tuple[int, ...]:
    values = meta.get(key, default)
    if not isinstance(values, tuple):
        return _count({key: values}, key)
    return tuple(_count({key: value}, key) for value in values)


def _length(meta: Mapping[str, Value], key: str) -> int:
    value = meta.get(key, ())
    return value.count if isinstance(value, ArraySummary) else len(value) if isinstance(value, tuple) else 0


def _quantization(meta: Mapping[str, Value], tensors: tuple[TensorInfo, ...]) -> str:
    number = meta.get('general.file_type')
    if isinstance(number, int) and (number & ~_GUESSED) in _FILE_TYPES:
        return _FILE_TYPES[number & ~_GUESSED]
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[tensor.type] += tensor.n_elements
    return weights.most_common(1)[0][0] if weights else ''


def _is_projector(header: Header) -> bool:
    return header.architecture == 'clip' or header.metadata.get('general.type') in {
        'mmproj',
        'projector',
        'clip-vision',
    }


def _is_adapter(header: Header) -> bool:
    return header.metadata.get('general.type') == 'adapter'


def _missing_parts(header: Header) -> str:
    names = split_parts(header.path)
    missing = [part.name for part in names if part not in header.parts]
    if len(names) != header.split_count:
        return f'{header.path.name} is one of {header.split_count} parts, but was renamed. Give it its first name back.'
    return (
        f'{header.path.name} is the first of {header.split_count} parts and {len(missing)} are missing, '
        f'such as {missing[0]}. Put all parts into the same folder.'
    )


_GUESSED = 1024
# fmt: off
_FILE_TYPES = dict(enumerate((
    'F32', 'F16', 'Q4_0', 'Q4_1', 'Q4_1', 'Q4_2', 'Q4_3', 'Q8_0', 'Q5_0', 'Q5_1', 'Q2_K', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L',
    'Q4_K_S', 'Q4_K_M', 'Q5_K_S', 'Q5_K_M', 'Q6_K', 'IQ2_XXS', 'IQ2_XS', 'Q2_K_S', 'IQ3_XS', 'IQ3_XXS', 'IQ1_S',
    'IQ4_NL', 'IQ3_S', 'IQ3_M', 'IQ2_S', 'IQ2_M', 'IQ4_XS', 'IQ1_M', 'BF16', 'Q4_0_4_4', 'Q4_0_4_8', 'Q4_0_8_8',
    'TQ1_0', 'TQ2_0', 'MXFP4', 'NVFP4', 'Q1_0', 'Q2_0',
)))
"""llama.cpp's LLAMA_FTYPE numbers, in the short words people know from file names."""

TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType({
    0: ('F32', 1, 4), 1: ('F16', 1, 2), 2: ('Q4_0', 32, 18), 3: ('Q4_1', 32, 20), 6: ('Q5_0', 32, 22),
    7: ('Q5_1', 32, 24), 8: ('Q8_0', 32, 34), 9: ('Q8_1', 32, 40), 10: ('Q2_K', 256, 84), 11: ('Q3_K', 256, 110),
    12: ('Q4_K', 256, 144), 13: ('Q5_K', 256, 176), 14: ('Q6_K', 256, 210), 15: ('Q8_K', 256, 292),
    16: ('IQ2_XXS', 256, 66), 17: ('IQ2_XS', 256, 74), 18: ('IQ3_XXS', 256, 98), 19: ('IQ1_S', 256, 50),
    20: ('IQ4_NL', 32, 18), 21: ('IQ3_S', 256, 110), 22: ('IQ2_S', 256, 82), 23: ('IQ4_XS', 256, 136),
    24: ('I8', 1, 1), 25: ('I16', 1, 2), 26: ('I32', 1, 4), 27: ('I64', 1, 8), 28: ('F64', 1, 8),
    29: ('IQ1_M', 256, 56), 30: ('BF16', 1, 2), 34: ('TQ1_0', 256, 54), 35: ('TQ2_0', 256, 66),
    39: ('MXFP4', 32, 17), 40: ('NVFP4', 64, 36), 41: ('Q1_0', 128, 18), 42: ('Q2_0', 64, 18),
})
"""ggml's tensor types by number: name, elements in a block, bytes of a block."""
# fmt: on
