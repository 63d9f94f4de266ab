"""What llama.cpp's log says of the buffers it made, or in a dry run would make."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from inference.free_memory import RAM

_BUFFER = re.compile(r'(?P<name>\S+) +(?P<kind>model|output|KV|RS|compute) buffer size = +(?P<size>[\d.]+) MiB')
_CACHE = re.compile(r'^llama_(?:kv_cache|memory_recurrent)\w*: size = +(?P<size>[\d.]+) MiB')
_MIB = 1 << 20


@dataclass(slots=True)
class Buffers:
    """Bytes by device; `cache` is the size of all KV caches and states, also where a dry run made none."""

    weights: Counter[str] = field(default_factory=Counter)
    kv_cache: Counter[str] = field(default_factory=Counter)
    compute: Counter[str] = field(default_factory=Counter)
    cache: int = 0


def is_about_buffers(line: str) -> bool:
    """Whether a line of the log counts here."""
    return bool(_BUFFER.search(line) or _CACHE.search(line))


def read_buffers(lines: Iterable[str], gpus: Iterable[str]) -> Buffers:
    """Add up the lines of one load. What belongs to none of the GPUs, such as `ROCm_Host`, is RAM.

    A mapped file counts from the first to the last tensor that is used in it.
    """
    names, found = tuple(gpus), Buffers()
    kinds = {'model': found.weights, 'KV': found.kv_cache, 'RS': found.kv_cache}
    for line in lines:
        if cache := _CACHE.search(line):
            found.cache += _bytes(cache['size'])
        if buffer := _BUFFER.search(line):
            kinds.get(buffer['kind'], found.compute)[_device(buffer['name'], names)] += _bytes(buffer['size'])
    return found


def _device(buffer: str, gpus: tuple[str, ...]) -> str:
    """Return the GPU a buffer's name begins with, such as `MTL0` of `MTL0_Mapped`."""
    return next((name for name in gpus if re.match(rf'{re.escape(name)}(?!\d)', buffer)), RAM)


def _bytes(mebibytes: str) -> int:
    return round(float(mebibytes) * _MIB)
