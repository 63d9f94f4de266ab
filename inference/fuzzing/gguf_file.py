"""A GGUF file as parts that can be changed: to damage real files on purpose, and to make tiny ones from nothing."""

import mmap
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from inference.gguf_reader import TENSOR_TYPES

STRING, ARRAY, UINT32, INT32, FLOAT32, BOOL = 8, 9, 4, 5, 6, 7
NUMBERS = {
    kind: struct.Struct(f'<{code}')
    for kind, code in {
        0: 'B',
        1: 'b',
        2: 'H',
        3: 'h',
        4: 'I',
        5: 'i',
        6: 'f',
        7: 'B',
        10: 'Q',
        11: 'q',
        12: 'd',
    }.items()
}
"""The value types of a fixed size."""
ALIGNMENT = 32
MOST_HOLE = 64 << 20
LARGEST = (1 << 64) - 1


@dataclass(slots=True)
class Entry:
    """A key with its value as the bytes of the file; those of an array begin with its type and count."""

    key: bytes
    kind: int
    payload: bytes


@dataclass(slots=True)
class Tensor:
    """A tensor's line in the header; `shape` begins with the length of a row."""

    name: bytes
    shape: list[int]
    kind: int
    offset: int = 0

    @property
    def n_bytes(self) -> int:
        """The size of its data; of an unknown type a guess."""
        _, block, block_bytes = TENSOR_TYPES.get(self.kind, ('', 1, 4))
        count = 1
        for length in self.shape:
            count *= length
        return -(-count // block) * block_bytes


@dataclass(slots=True)
class GGUFFile:
    """`data` is what the tensors hold, followed by a hole of so many bytes; `counts` may lie about the header."""

    entries: list[Entry]
    tensors: list[Tensor]
    data: bytes = b''
    hole: int = 0
    version: int = 3
    counts: tuple[int | None, int | None] = field(default=(None, None))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Take a sound file apart; its data become a hole of the same size."""
        with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            reader = _Reader(content)
            version, n_tensors, n_entries = reader.take('<4xIQQ')
            entries = [reader.entry() for _ in range(n_entries)]
            tensors = [reader.tensor() for _ in range(n_tensors)]
            return cls(entries=entries, tensors=tensors, hole=len(content) - _padded(reader.at), version=version)

    def copy(self) -> Self:
        """Return one whose parts can be changed without changing these."""
        tensors = [replace(tensor, shape=[*tensor.shape]) for tensor in self.tensors]
        return replace(self, entries=[replace(entry) for entry in self.entries], tensors=tensors)

    def find(self, key: bytes) -> Entry | None:
        """Return the first entry of this key."""
        return next((entry for entry in self.entries if entry.key == key), None)

    def lay_out(self) -> None:
        """Put the tensors one after the other, as a sound file has them, and make the data as long as they need."""
        end = 0
        for tensor in self.tensors:
            tensor.offset = end & LARGEST
            end += _padded(tensor.n_bytes)
        self.hole = min(max(0, end - len(self.data)), MOST_HOLE)

    def header(self) -> bytes:
        """Return the bytes up to where the data begin."""
        n_tensors = len(self.tensors) if self.counts[0] is None else self.counts[0]
        n_entries = len(self.entries) if self.counts[1] is None else self.counts[1]
        parts = [b'GGUF', struct.pack('<IQQ', self.version, n_tensors, n_entries)]
        for entry in self.entries:
            parts += [text(entry.key), struct.pack('<I', entry.kind), entry.payload]
        for tensor in self.tensors:
            n_dims = len(tensor.shape)
            parts += [
                text(tensor.name),
                struct.pack(f'<I{n_dims}QIQ', n_dims, *tensor.shape, tensor.kind, tensor.offset),
            ]
        header = b''.join(parts)
        return header.ljust(_padded(len(header)), b'\0')

    def write(self, path: Path) -> Path:
        """Write the file; the hole takes no room on most disks."""
        return write_sparse(path, self.header() + self.data, self.hole)


def write_sparse(path: Path, content: bytes, hole: int) -> Path:
    """Write a file that ends with `hole` bytes of nothing."""
    with path.open('wb') as file:
        file.write(content)
        file.truncate(len(content) + hole)
    return path


def text(value: bytes) -> bytes:
    """Return a text as the file has it."""
    return struct.pack('<Q', len(value)) + value


def number(kind: int, value: float) -> bytes:
    """Return a number as the file has it; one that is too large loses its upper bits."""
    form = NUMBERS[kind]
    if form.format[-1:] in 'fd':
        return form.pack(value)
    return (int(value) & ((1 << 8 * form.size) - 1)).to_bytes(form.size, 'little')


def array(kind: int, items: list[bytes]) -> bytes:
    """Return an array of items that are in the bytes of the file already."""
    return struct.pack('<IQ', kind, len(items)) + b''.join(items)


def items_of(payload: bytes) -> tuple[int, list[bytes]]:
    """Take an array apart: the type of its items, and their bytes."""
    reader = _Reader(payload)
    kind, count = reader.take('<IQ')
    return kind, [reader.value(kind) for _ in range(count)]


class _Reader:
    """Reads a sound file; others raise struct.error or KeyError."""

    def __init__(self, content: bytes | mmap.mmap) -> None:
        self._content, self.at = content, 0

    def take(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self._content, self.at)
        self.at += struct.calcsize(form)
        return values

    def text(self) -> bytes:
        (length,) = self.take('<Q')
        self.at += length
        return self._content[self.at - length : self.at]

    def value(self, kind: int) -> bytes:
        start = self.at
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            kind, count = self.take('<IQ')
            if kind in NUMBERS:
                self.at += count * NUMBERS[kind].size
            else:
                for _ in range(count):
                    self.value(kind)
        else:
            self.at += NUMBERS[kind].size
        return self._content[start : self.at]

    def entry(self) -> Entry:
        key = self.text()
        (kind,) = self.take('<I')
        return Entry(key, kind, self.value(kind))

    def tensor(self) -> Tensor:
        name = self.text()
        (n_dims,) = self.take('<I')
        shape = [*self.take(f'<{n_dims}Q')]
        kind, offset = self.take('<IQ')
        return Tensor(name, shape, kind, offset)


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT
