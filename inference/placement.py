"""Which device keeps which layer and which weights of a model, as llama.cpp distributes them."""

import itertools
import platform
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.free_memory import RAM, DeviceMemory
from inference.gguf import Header
from inference.gguf_reader import TensorInfo
from inference.layers import n_layer
from inference.overrides import experts_below, tensor_overrides
from inference.settings import LoadSettings

MAPPING_MODES = ('auto', 'mmap', 'mmap+mlock')
_LAYER = re.compile(r'blk\.(\d+)\.')
_INPUTS = ('token_embd.', 'position_embd.', 'token_types.', 'per_layer_token_embd.', 'token_embd_norm.')
_REPACKED = {'Q4_0', 'Q4_K', 'Q2_K', 'IQ4_NL', 'MXFP4'}
_REPACKED_ARM = {*_REPACKED, 'Q5_K', 'Q6_K', 'Q8_0'}
_REPACKED_AMX = {*_REPACKED_ARM, 'Q4_1', 'IQ4_XS'}
"""Types that the library copies into another order, by processor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The device of each layer and of the output, bytes of weights by device, and how many of RAM's are mapped.

    `largest_in_ram` is the largest tensor of a layer that stays in RAM, or 0: a GPU that helps with it needs a copy.
    """

    layers: tuple[str, ...]
    output: str
    weights: Mapping[str, int]
    mapped: int
    largest_in_ram: int
    overridden: bool


def place(header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory]) -> Placement:
    """Distribute a model over the GPUs among `devices` that the settings allow, and the RAM. Raises LoadFailed.

    Repacked weights count once: their pages in the mapped file are not looked at again, and the system drops them.
    """
    gpus = used_gpus(settings, devices)
    layers = _layer_devices(header, settings, gpus)
    rules = _rules(settings)
    repacked = _repacked_types() if settings.use_extra_bufts and not gpus else set()
    weights: Counter[str] = Counter({RAM: 0})
    mapped = largest = 0
    tensors = _loaded(header)
    for tensor in tensors:
        device = _device(tensor.name, layers, rules)
        weights[device] += tensor.n_bytes
        if device == RAM:
            is_input = tensor.name.startswith(_INPUTS)
            mapped += tensor.n_bytes * (is_input or tensor.type not in repacked)
            largest = max(largest, tensor.n_bytes * tensor.name.startswith('blk.'))
    if (shared := _shared_embedding(tensors)) and (layers[-1] != RAM or shared.type in repacked):
        weights[layers[-1]] += shared.n_bytes
    return Placement(
        layers=layers[:-1],
        output=layers[-1],
        weights=weights,
        mapped=mapped if settings.load_mode in MAPPING_MODES else 0,
        largest_in_ram=largest if gpus else 0,
        overridden=bool(rules),
    )


def used_gpus(settings: LoadSettings, devices: Sequence[DeviceMemory]) -> tuple[DeviceMemory, ...]:
    """Return the GPUs a model is distributed over; those inside the processor only if there are no others."""
    gpus = [device for device in devices if device.is_gpu]
    if settings.devices:
        gpus = [device for name in settings.devices for device in gpus if device.name == name]
    elif not all(device.shares_ram for device in gpus):
        gpus = [device for device in gpus if not device.shares_ram]
    if settings.split_mode == 'none':
        gpus = gpus[settings.main_gpu : settings.main_gpu + 1]
    return tuple(gpus) if settings.n_gpu_layers else ()


def gpu_layers(header: Header, settings: LoadSettings) -> int:
    """Return how many layers are kept on GPUs if there are any; the output counts as one."""
    every = header.n_layer + 1
    return every if settings.n_gpu_layers < 0 else min(settings.n_gpu_layers, every)


def _layer_devices(header: Header, settings: LoadSettings, gpus: Sequence[DeviceMemory]) -> tuple[str, ...]:
    """Return the device of each layer and, at the end, of the output; the first layers stay in RAM."""
    count = n_layer(header) + 1
    if not gpus:
        return (RAM,) * count
    shares = (settings.tensor_split or tuple(float(gpu.free) for gpu in gpus))[: len(gpus)]
    bounds = list(itertools.accumulate([*shares, *[0.0] * (len(gpus) - len(shares))]))
    on_gpus = gpu_layers(header, settings)
    first = header.n_layer + 1 - on_gpus
    # llama.cpp counts heads for multi-token prediction among the layers it distributes, before the output.
    numbers = [*range(n_layer(header)), header.n_layer]

    def device(number: int) -> str:
        if number < first or not bounds[-1]:
            return RAM
        at = bisect_right(bounds, (number - first) / on_gpus * bounds[-1])
        return gpus[min(at, len(gpus) - 1)].name

    return tuple(map(device, numbers))


def _rules(settings: LoadSettings) -> list[tuple[re.Pattern[str], str]]:
    """Return patterns for tensor names with the device they go to; the first that matches counts."""
    placed = [(override.pattern, override.device) for override in tensor_overrides(settings.tensor_overrides)]
    if settings.n_cpu_moe:
        placed.append((experts_below(settings.n_cpu_moe), RAM))
    return [(re.compile(pattern), device) for pattern, device in placed]


def _device(name: str, layers: tuple[str, ...], rules: list[tuple[re.Pattern[str], str]]) -> str:
    overridden = next((device for pattern, device in rules if pattern.search(name)), None)
    if overridden:
        return overridden
    found = _LAYER.match(name)
    if found:
        return layers[int(found[1])]
    return RAM if name.startswith(_INPUTS) else layers[-1]


def _loaded(header: Header) -> list[TensorInfo]:
    """Return the tensors that are loaded; those for multi-token prediction are not."""
    count = n_layer(header)
    found = ((tensor, _LAYER.match(tensor.name)) for tensor in header.tensors)
    return [tensor for tensor, layer in found if not layer or int(layer[1]) < count]


def _shared_embedding(tensors: Sequence[TensorInfo]) -> TensorInfo | None:
    """Return the embedding if the model scores with it; where that is done in another way, it is loaded twice."""
    if any(tensor.name == 'output.weight' for tensor in tensors):
        return None
    return next((tensor for tensor in tensors if tensor.name == 'token_embd.weight'), None)


def _repacked_types() -> set[str]:
    if platform.machine().lower() in {'arm64', 'aarch64'}:
        return _REPACKED_ARM
    try:
        with Path('/proc/cpuinfo').open() as file:
            return _REPACKED_AMX if 'amx_int8' in file.read(4096) else _REPACKED
    except OSError:
        return _REPACKED
