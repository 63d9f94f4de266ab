"""Reads the bytes of a GGUF header: values and tensors, each count and length checked before it is believed.

A header is untrusted: what it announces is held against the file's size and a limit.
Layout: magic, version, number of tensors, number of key-values; the key-values; the tensor infos; padding; tensor data.
"""

import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from inference.errors import InvalidModelFile

Scalar = int | float | bool | str

_U32, _U64 = struct.Struct('<I'), struct.Struct('<Q')
_FLOAT32, _STRING, _ARRAY = 6, 8, 9
_SCALARS = dict(enumerate(map(struct.Struct, ('<B', '<b', '<H', '<h', '<I', '<i', '<f', '<?')))) | {
    10: struct.Struct('<Q'),
    11: struct.Struct('<q'),
    12: struct.Struct('<d'),
}
_CHUNK = 1 << 20
_MOST_KEYS, _MOST_TENSORS, _MOST_STRINGS = 50_000, 100_000, 4_000_000
_MOST_TEXT, _MOST_NAME = 64 << 20, 1 << 16
_KEPT_SCALARS, _KEPT_STRINGS = 1024, 64
_MOST_ELEMENTS = 1 << 62


@dataclass(frozen=True, slots=True)
class ArraySummary:
    """Stands for an array that is too long to keep, such as the vocabulary."""

    count: int


class TensorInfo(NamedTuple):
    """One tensor; `offset` counts from the start of the tensor data, `shape` begins with the length of a row."""

    name: str
    type: str
    n_elements: int
    n_bytes: int
    offset: int
    shape: tuple[int, ...]


Value = Scalar | tuple[Scalar, ...] | ArraySummary


class Damaged(Exception):
    """Carries the cause up to where the file name is known."""

    def of(self, path: Path) -> InvalidModelFile:
        """Return the error that names the file."""
        return InvalidModelFile(f'{path.name} is damaged or incomplete: {self}. Download or copy it again.')


class Contents(NamedTuple):
    """What the header of one file holds, and the size of the file."""

    size: int
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]


def read_contents(path: Path) -> Contents:
    """Read the header of one file; raise InvalidModelFile."""
    size = _size(path)
    try:
        with path.open('rb', buffering=0) as file:
            _check_kind(path, file.read(64))
            return _contents(_Cursor(file, size), size)
    except Damaged as error:
        raise error.of(path) from None
    except OSError as error:
        raise InvalidModelFile(_unreadable(path, error)) from error


def is_float32(path: Path, key: str) -> bool:
    """Return whether a value of a file has this type; Python has but one for floats, and llama.cpp insists on it."""
    with path.open('rb', buffering=0) as file:
        cursor = _Cursor(file, path.stat().st_size)
        cursor.skip(16)
        for _ in range(cursor.number(_U64)):
            name, kind = _utf8(cursor.text(_MOST_NAME)), cursor.number(_U32)
            if name == key:
                return kind == _FLOAT32
            _value(cursor, kind, name)
    return False


def count_of(meta: Mapping[str, Value], key: str, default: int = 0, most: int = (1 << 31) - 1) -> int:
    """Return a value that must be a count; raise Damaged."""
    value = meta.get(key, default)
    if not isinstance(value, int) or not 0 <= value <= most:
        raise Damaged(f'"{key}" should be a count of at most {most:,} and is {value!r:.40}')
    return value


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
            raise Damaged(f'it announces a text of {length:,} bytes, but only {max(0, self.left):,} follow')
        if length > min(limit, self._text_left):
            raise Damaged(f'it holds a text of {length:,} bytes, far more than a model needs')
        self._text_left -= length
        return self._take(length)

    def skip(self, n_bytes: int) -> None:
        self._at += n_bytes

    def skip_texts(self, count: int) -> None:
        """Step over a vocabulary without making an object of each entry."""
        if count > self._strings_left:
            raise Damaged(f'it announces {count:,} texts, far more than a model needs')
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
            raise Damaged('it ends in the middle of its header')
        self._file.seek(position)
        self._window, self._start, self._at = self._file.read(max(n_bytes, _CHUNK)), position, 0
        if len(self._window) < n_bytes:
            raise Damaged('it became shorter while it was read')


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


def _contents(cursor: _Cursor, size: int) -> Contents:
    cursor.skip(8)
    n_tensors, n_keys = cursor.number(_U64), cursor.number(_U64)
    if n_tensors > min(_MOST_TENSORS, size // 32) or n_keys > min(_MOST_KEYS, size // 13):
        raise Damaged(f'it announces {n_tensors:,} tensors and {n_keys:,} values, which cannot be')
    metadata = dict(_key_value(cursor) for _ in range(n_keys))
    if len(metadata) < n_keys:
        raise Damaged('a value in its header occurs twice')
    tensors = tuple(_tensor(cursor) for _ in range(n_tensors))
    if len({tensor.name for tensor in tensors}) < n_tensors:
        raise Damaged('a tensor in its header occurs twice')
    _check_places(tensors, cursor.position, _alignment(metadata), size)
    return Contents(size, metadata, tensors)


def _key_value(cursor: _Cursor) -> tuple[str, Value]:
    key = _utf8(cursor.text(_MOST_NAME))
    return key, _value(cursor, cursor.number(_U32), key)


def _value(cursor: _Cursor, kind: int, key: str) -> Value:
    return _array(cursor, key) if kind == _ARRAY else _scalar(cursor, kind, key)


def _scalar(cursor: _Cursor, kind: int, key: str) -> Scalar:
    if kind == _STRING:
        return cursor.text().decode('utf-8', 'replace')
    return cursor.number(_form(kind, key))


def _array(cursor: _Cursor, key: str) -> Value:
    kind, count = cursor.number(_U32), cursor.number(_U64)
    width = 8 if kind == _STRING else _form(kind, key).size
    if count * width > cursor.left:
        raise Damaged(f'it announces {count:,} entries of "{key}", more than the file can hold')
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
        raise Damaged(f'"{key}" has the unknown value type {kind}')
    return _SCALARS[kind]


def _tensor(cursor: _Cursor) -> TensorInfo:
    name = _utf8(cursor.text(_MOST_NAME))
    n_dims = cursor.number(_U32)
    if not 1 <= n_dims <= 4:
        raise Damaged(f'tensor "{name}" has {n_dims:,} dimensions')
    shape = [cursor.number(_U64) for _ in range(n_dims)]
    kind, offset = cursor.number(_U32), cursor.number(_U64)
    if kind not in TENSOR_TYPES:
        raise Damaged(
            f'tensor "{name}" has the unknown type {kind}; if the file is new, this app may be too old for it'
        )
    type_name, block, block_bytes = TENSOR_TYPES[kind]
    n_elements = shape[0]
    for length in shape[1:]:
        n_elements *= length
    if not 0 < n_elements < _MOST_ELEMENTS or shape[0] % block:
        raise Damaged(f'tensor "{name}" has the impossible shape {"×".join(map(str, shape))}')
    return TensorInfo(name, type_name, n_elements, n_elements // block * block_bytes, offset, tuple(shape))


def _check_places(tensors: tuple[TensorInfo, ...], header_end: int, alignment: int, size: int) -> None:
    """Tensors lie one after the other, each at a multiple of the alignment; llama.cpp accepts nothing else."""
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            raise Damaged(f'tensor "{tensor.name}" is said to lie at {tensor.offset:,} instead of {expected:,}')
        expected += _padded(tensor.n_bytes, alignment)
    missing = _padded(header_end, alignment) + tensors[-1].offset + tensors[-1].n_bytes - size if tensors else 0
    if missing > 0:
        raise Damaged(f'{missing:,} bytes are missing at its end ({size:,} are there)')


def _alignment(metadata: Mapping[str, Value]) -> int:
    alignment = count_of(metadata, 'general.alignment', default=32)
    if alignment <= 0 or alignment & (alignment - 1):
        raise Damaged(f'its data are aligned to {alignment}, which is no power of two')
    return alignment


def _padded(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment


def _utf8(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise Damaged('a name in its header is not readable text') from None


# fmt: off
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
