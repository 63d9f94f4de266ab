"""Arrays that a model is loaded with, made of settings; llama.cpp borrows them until the load is over."""

import ctypes
from collections import Counter
from collections.abc import Iterable
from typing import Any

from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.errors import LoadFailed
from inference.ggml import Device, buffer_type, devices
from inference.overrides import MetadataOverride, experts_below, tensor_overrides
from inference.settings import LoadSettings

OVERRIDE_FIELDS = {int: (0, 'val_i64'), float: (1, 'val_f64'), bool: (2, 'val_bool'), str: (3, 'val_str')}


class _TensorOverride(ctypes.Structure):
    """`llama_model_tensor_buft_override`, which the binding leaves out."""

    _fields_ = (('pattern', ctypes.c_char_p), ('buffer_type', ctypes.c_void_p))


def device_array(settings: LoadSettings) -> Any:
    """Return the devices the settings name as the library wants them, None for all; raise LoadFailed."""
    if not settings.devices:
        return None
    named = {device.name: device.pointer for device in devices() if device.kind != 'cpu'}
    for name, count in Counter(settings.devices).items():
        if count > 1:
            raise LoadFailed(f'"Devices" names {name} {count} times. Name it once.')
        if name not in named:
            raise LoadFailed(f'"Devices": there is no device {name} here. {_those_there(named)}')
    pointers = [named[name] for name in settings.devices]
    return (ctypes.c_void_p * (len(pointers) + 1))(*pointers, None)


def placement_array(settings: LoadSettings) -> Any:
    """Return where tensors go as the library wants it, None for its own choice; the first match counts.

    Raises LoadFailed.
    """
    chosen = settings.devices
    there = {device.name: device for device in devices() if not chosen or device.kind == 'cpu' or device.name in chosen}
    placed: list[tuple[str, Device]] = []
    for override in tensor_overrides(settings.tensor_overrides):
        if override.device not in there:
            raise LoadFailed(f'"Tensor placement": no device {override.device} is in use. {_those_there(there)}')
        placed.append((override.pattern, there[override.device]))
    if settings.n_cpu_moe:
        cpu = next(device for device in there.values() if device.kind == 'cpu')
        placed.append((experts_below(settings.n_cpu_moe), cpu))
    if not placed:
        return None
    entries = [_TensorOverride(pattern.encode(), buffer_type(device)) for pattern, device in placed]
    return (_TensorOverride * (len(entries) + 1))(*entries, _TensorOverride())


def metadata_array(overrides: tuple[MetadataOverride, ...]) -> Any:
    """Return values that replace those of the file as the library wants them."""
    array = (C.llama_model_kv_override * (len(overrides) + 1))()  # one with an empty key ends it
    for entry, override in zip(array, overrides, strict=False):
        entry.tag, field = OVERRIDE_FIELDS[type(override.value)]
        entry.key = override.key.encode()
        value = override.value
        setattr(entry.value, field, value.encode() if isinstance(value, str) else value)
    return array


def _those_there(names: Iterable[str]) -> str:
    return f'These are there: {", ".join(names)}.' if names else 'There are only CPUs; leave it empty.'
