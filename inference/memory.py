"""How much memory a model will take, before it is loaded, and how much there is.

Formulas follow llama.cpp for plain and grouped-query attention; one KV cache is shared by all slots.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import psutil

from inference.errors import NotEnoughMemory
from inference.gguf import Header
from inference.gguf_reader import TENSOR_TYPES
from inference.settings import KVType, LoadSettings

_STEP = 256  # llama.cpp rounds the cells of a KV cache up to this
_MOST_UBATCH = 512  # tokens that are computed at once, however large a batch is
_LONGEST = 1 << 20
_BLOCKS = {name.lower(): (block, n_bytes) for name, block, n_bytes in TENSOR_TYPES.values()}


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """Bytes for the weights, the KV cache and the scratch memory of a computation."""

    weights: int
    kv_cache: int
    compute: int

    @property
    def total(self) -> int:
        """All three together."""
        return self.weights + self.kv_cache + self.compute


def estimate(header: Header, settings: LoadSettings, *, n_slots: int = 1) -> MemoryEstimate:
    """Tell what loading takes.

    Weights count in full even where the file is mapped: they must stay in memory to be fast.
    Flash attention `auto` counts as off, as on a CPU; that is the larger number.
    """
    n_ctx = effective_n_ctx(header, settings)
    return MemoryEstimate(
        weights=header.size,
        kv_cache=_kv_cache(header, n_ctx, settings.type_k, settings.type_v),
        compute=_compute(header, n_ctx, settings, n_slots),
    )


def effective_n_ctx(header: Header, settings: LoadSettings) -> int:
    """Return the cells a context really gets: at most the trained length, rounded up to a multiple of 256."""
    trained = header.n_ctx_train or _LONGEST
    return _rounded_up(min(settings.n_ctx or header.n_ctx_train or _STEP, trained))


def largest_n_ctx(header: Header, settings: LoadSettings, free: int, *, n_slots: int = 1) -> int:
    """Return the longest context, a multiple of 256, that fits into `free` bytes; 0 if none does."""
    smallest, next_one = (
        estimate(header, settings.model_copy(update={'n_ctx': n_ctx}), n_slots=n_slots).total
        for n_ctx in (_STEP, 2 * _STEP)
    )
    longest = _rounded_up(header.n_ctx_train or _LONGEST)
    if free < smallest:
        return 0
    if next_one == smallest:
        return longest
    return min(longest, ((free - smallest) // (next_one - smallest) + 1) * _STEP)


def require_fit(header: Header, settings: LoadSettings, free: int, *, n_slots: int = 1) -> None:
    """Refuse to load what would end in the system killing the app."""
    need = estimate(header, settings, n_slots=n_slots)
    if need.total <= free:
        return
    raise NotEnoughMemory(
        f'{header.name} needs about {_size(need.total)} of memory ({_size(need.weights)} for the weights, '
        f'{_size(need.kv_cache)} for a context of {effective_n_ctx(header, settings):,} tokens, '
        f'{_size(need.compute)} to compute), but {_size(free)} are free. '
        + _way_out(largest_n_ctx(header, settings, free, n_slots=n_slots))
    )


def free_memory(root: Path = Path('/')) -> int:
    """Return the bytes that can be used now; in a container no more than its limit leaves."""
    available: int = psutil.virtual_memory().available
    return max(0, min([available, *_left_in_cgroups(root)]))


def _kv_cache(header: Header, n_ctx: int, type_k: KVType, type_v: KVType) -> int:
    def cell(n_head: int) -> int:
        return _row_size(type_k, n_head * header.key_length) + _row_size(type_v, n_head * header.value_length)

    heads = header.n_head_kv
    if isinstance(heads, int):
        return n_ctx * header.n_layer * cell(heads)
    return n_ctx * sum(map(cell, heads[: header.n_layer]))


def _row_size(kind: str, n_elements: int) -> int:
    block, n_bytes = _BLOCKS[kind]
    return -(-n_elements // block) * n_bytes


def _compute(header: Header, n_ctx: int, settings: LoadSettings, n_slots: int) -> int:
    """Estimate the largest buffers that live at once, a little on the large side."""
    n_ubatch = min(settings.n_batch, _MOST_UBATCH)
    logits = 2 * n_slots * header.n_vocab * 4
    scratch = n_ubatch * 4 * (2 * _widest_layer(header) + 8 * header.n_embd)
    if settings.flash_attn == 'on':
        return logits + scratch + n_ubatch * n_ctx * 2
    heads = header.n_head if isinstance(header.n_head, int) else max(header.n_head, default=0)
    return logits + scratch + n_ubatch * n_ctx * 4 * (heads + 1)


def _widest_layer(header: Header) -> int:
    match header.metadata.get(f'{header.architecture}.feed_forward_length'):
        case int(width) if width > 0:
            return width
        case tuple(widths):
            return max((width for width in widths if isinstance(width, int)), default=0)
    return 4 * header.n_embd


def _rounded_up(n_ctx: int) -> int:
    return -(-n_ctx // _STEP) * _STEP


def _way_out(n_ctx: int) -> str:
    if n_ctx:
        return f'A context length of {n_ctx:,} fits.'
    return 'No context length fits: close other programs or choose a smaller model.'


def _size(n_bytes: int) -> str:
    return f'{n_bytes / 2**30:.1f} GiB' if n_bytes >= 2**30 else f'{n_bytes / 2**20:.0f} MiB'


def _left_in_cgroups(root: Path) -> list[int]:
    """Return what the memory limits around this process leave, from its own control group up to the topmost."""
    limits = [_left(group, version) for group, version in _cgroups(root)]
    return [left for left in limits if left is not None]


def _cgroups(root: Path) -> list[tuple[Path, int]]:
    found: list[tuple[Path, int]] = []
    for line in _read(root / 'proc' / 'self' / 'cgroup').splitlines():
        number, controllers, path = [*line.split(':', 2), '', ''][:3]
        version = 2 if number == '0' and not controllers else 1 if 'memory' in controllers.split(',') else 0
        if not version:
            continue
        top = root / 'sys' / 'fs' / 'cgroup' / ('memory' if version == 1 else '')
        below = top / path.lstrip('/')
        found += [(group, version) for group in (below, *below.parents) if group.is_relative_to(top)]
    return found


def _left(group: Path, version: int) -> int | None:
    limit_name, used_name, cache_name = (
        ('memory.max', 'memory.current', 'inactive_file')
        if version == 2
        else ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file')
    )
    limit, used = _read(group / limit_name).strip(), _read(group / used_name).strip()
    if not limit.isdigit() or not used.isdigit():  # "max", or no limit file at this level
        return None
    return int(limit) - int(used) + _stat(group / 'memory.stat', cache_name)


def _stat(path: Path, name: str) -> int:
    """Return a number of memory.stat: file cache that the system takes back when a program needs memory."""
    words = _read(path).split()
    return next((int(value) for key, value in itertools.pairwise(words) if key == name and value.isdigit()), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ''
