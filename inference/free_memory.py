"""The memory there is now: of the system, within what a container may use, and of the GPUs."""

import importlib.util
import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

RAM = 'CPU'
"""The name of the RAM, which is that of the device computing in it."""
_NO_GPU = ('ggml-base', 'ggml-cpu', 'ggml-blas')


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceMemory:
    """The memory of one device in bytes; that of a GPU inside the processor is a part of the RAM.

    A driver that does not tell has a `total` of 0, and is believed to have enough.
    """

    name: str
    free: int
    total: int
    description: str = ''
    shares_ram: bool = False

    @property
    def is_gpu(self) -> bool:
        """Whether layers can be kept there beside the RAM."""
        return self.name != RAM

    def has(self, n_bytes: int) -> bool:
        """Whether so many bytes are free, as far as that is known."""
        return not n_bytes or not self.total or n_bytes <= self.free


def ram(root: Path = Path('/')) -> DeviceMemory:
    """Return the system's memory; in a container no more than its limit leaves is free."""
    return DeviceMemory(name=RAM, free=free_memory(root), total=psutil.virtual_memory().total)


def free_memory(root: Path = Path('/')) -> int:
    """Return the bytes of RAM that can be used now; file cache counts as free, the system gives it back."""
    available: int = psutil.virtual_memory().available
    return max(0, min([available, *_left_in_cgroups(root)]))


def after_unloading(devices: Iterable[DeviceMemory], reclaimed: Mapping[str, int]) -> tuple[DeviceMemory, ...]:
    """Return the devices as they will be when a model that takes `reclaimed` bytes of each has gone."""
    return tuple(
        replace(device, free=min(device.total, device.free + reclaimed.get(device.name, 0))) for device in devices
    )


def may_have_gpus() -> bool:
    """Whether this build of the library can use any; told from its files, since loading it may start a driver."""
    spec = importlib.util.find_spec('llama_cpp')
    own = [Path(folder, 'lib') for folder in (spec.submodule_search_locations if spec else None) or ()]
    chosen = os.environ.get('LLAMA_CPP_LIB_PATH')
    backends = [path.name for folder in ([Path(chosen)] if chosen else own) for path in folder.glob('*ggml-*')]
    return any(not name.removeprefix('lib').startswith(_NO_GPU) for name in backends)


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
