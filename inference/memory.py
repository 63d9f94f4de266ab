"""Whether a model fits into the memory there is, what would make it fit, and what "as much as fits" comes to.

All of it is worked out with the formula of `inference.footprint`; `devices` are those of the machine, the RAM among
them, as `inference.dry_run.find_devices` finds them and `after_unloading` expects them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from inference.errors import NotEnoughMemory
from inference.footprint import STEP, MemoryPlan, effective_n_ctx, estimate
from inference.free_memory import RAM, DeviceMemory, free_memory
from inference.gguf import Header
from inference.load_settings import ALL_LAYERS, FITS, LAYERS_THAT_FIT
from inference.placement import gpu_layers, used_gpus
from inference.settings import LoadSettings

MARGIN, MOST_MARGIN = 8, 1 << 30
"""What "as much as fits" leaves free of each device: an eighth, but at most 1 GiB.

It is for what no plan counts: the tables of the vocabulary, a driver's own memory, and other programs.
"""
COMFORTABLE = 8192
"""Tokens of context that are seen to before layers are put on a GPU, where both are to be as much as fits."""

__all__ = [
    'Fit', 'MemoryPlan', 'Remedy', 'calibrated', 'effective_n_ctx', 'estimate', 'fit_label', 'fits', 'free_memory',
    'largest_n_ctx', 'margin', 'most_gpu_layers', 'remedies', 'require_fit', 'resolve', 'size',
]  # fmt: skip

USABLE = 1024
"""Tokens of context below which it is no remedy to have no more."""

Fit = Literal['fits', 'tight', 'partly on the GPU', 'does not fit']


@dataclass(frozen=True, kw_only=True, slots=True)
class Remedy:
    """A change of settings that makes a model fit, and its words for the middle of a sentence."""

    changes: Mapping[str, Any]
    text: str


def resolve(
    header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory], *, n_slots: int = 1
) -> LoadSettings:
    """Turn "as much as fits" into numbers: first the layers on GPUs, then the context that still fits with them."""
    if settings.n_gpu_layers == LAYERS_THAT_FIT:
        known = settings if settings.n_ctx != FITS else _with(settings, n_ctx=COMFORTABLE)
        layers = most_gpu_layers(header, known, devices, n_slots=n_slots)
        settings = _with(settings, n_gpu_layers=layers)
    if settings.n_ctx == FITS:
        settings = _with(settings, n_ctx=largest_n_ctx(header, settings, devices, n_slots=n_slots) or STEP)
    return settings


def largest_n_ctx(header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory], *, n_slots: int = 1) -> int:
    """Return the longest context, a multiple of 256, that fits and leaves the margin; 0 if none does."""
    longest = effective_n_ctx(header, _with(settings, n_ctx=0))

    def fits(steps: int) -> bool:
        return _fits(header, _with(settings, n_ctx=steps * STEP), devices, n_slots)

    return _most(fits, longest // STEP) * STEP


def most_gpu_layers(
    header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory], *, n_slots: int = 1
) -> int:
    """Return how many layers, the output counted as one, fit on the GPUs beside their margin; 0 if none does."""
    every = gpu_layers(header, _with(settings, n_gpu_layers=ALL_LAYERS))
    gpus = [device for device in devices if device.is_gpu]

    def fits(layers: int) -> bool:
        plan = estimate(header, _with(settings, n_gpu_layers=layers), n_slots=n_slots, devices=devices)
        return all(gpu.has(plan.on(gpu.name).total + margin(gpu)) for gpu in gpus if plan.on(gpu.name).total)

    return _most(fits, every) if used_gpus(_with(settings, n_gpu_layers=ALL_LAYERS), devices) else 0


def margin(device: DeviceMemory) -> int:
    """Return the bytes of a device that "as much as fits" leaves free."""
    return min(device.free // MARGIN, MOST_MARGIN)


def fits(plan: MemoryPlan, devices: Sequence[DeviceMemory], *, with_margin: bool = False) -> bool:
    """Whether every device has what the plan asks of it; a GPU inside the processor takes it from the RAM."""
    return not _short(plan, devices, with_margin=with_margin)


def fit_label(header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory], *, n_slots: int = 1) -> Fit:
    """Say in a few words how a model fits; "tight" leaves less than the margin."""
    settings = resolve(header, settings, devices, n_slots=n_slots)
    plan = estimate(header, settings, n_slots=n_slots, devices=devices)
    split = bool(used_gpus(settings, devices)) and 0 < gpu_layers(header, settings) <= header.n_layer
    if fits(plan, devices):
        return 'partly on the GPU' if split else 'fits' if fits(plan, devices, with_margin=True) else 'tight'
    fewer = _with(settings, n_gpu_layers=most_gpu_layers(header, settings, devices, n_slots=n_slots))
    helps = fewer.n_gpu_layers < gpu_layers(header, settings) and _fits(header, fewer, devices, n_slots, tight=True)
    return 'partly on the GPU' if helps and fewer.n_gpu_layers else 'does not fit'


def require_fit(
    header: Header,
    settings: LoadSettings,
    devices: Sequence[DeviceMemory],
    *,
    n_slots: int = 1,
    plan: MemoryPlan | None = None,
) -> None:
    """Refuse to load what would end in the system killing the app; `plan` is a better one than the formula's.

    Raises NotEnoughMemory, which names the settings that would make it fit.
    """
    formula = estimate(header, settings, n_slots=n_slots, devices=devices)
    plan = plan or formula
    short = _short(plan, devices)
    if not short:
        return
    seen = calibrated(devices, formula, plan)
    found = [remedy.text for remedy in remedies(header, settings, seen, n_slots=n_slots)]
    ways_out = (
        f'It fits with {", or with ".join(found)}.' if found else 'Close other programs or choose a smaller model.'
    )
    raise NotEnoughMemory(
        ' '.join(_shortage(header, plan, device, n_bytes) for device, n_bytes in short.items()) + f' {ways_out}'
    )


def calibrated(devices: Sequence[DeviceMemory], formula: MemoryPlan, better: MemoryPlan) -> tuple[DeviceMemory, ...]:
    """Return the devices with as much free as makes the formula come to the conclusions of a better plan."""
    shares = {
        device: formula.on(device.name).total / max(1, better.on(device.name).total)
        for device in devices
        if better.on(device.name).total
    }
    return tuple(replace(device, free=int(device.free * shares.get(device, 1))) for device in devices)


def remedies(
    header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory], *, n_slots: int = 1
) -> tuple[Remedy, ...]:
    """Return the changes of one or two settings that make a model fit, each by itself, what costs least first."""
    return tuple(
        remedy
        for remedy in _candidates(header, settings, devices, n_slots)
        if _fits(header, _with(settings, **remedy.changes), devices, n_slots)
    )


def _candidates(
    header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory], n_slots: int
) -> Iterator[Remedy]:
    has_gpus = bool(used_gpus(settings, devices))
    if (n_ctx := largest_n_ctx(header, settings, devices, n_slots=n_slots)) >= USABLE:
        yield Remedy(changes={'n_ctx': n_ctx}, text=f'a context length of {n_ctx:,}')
    if settings.flash_attn != 'on':
        yield Remedy(changes={'flash_attn': 'on'}, text='flash attention on')
    if settings.type_k == settings.type_v == 'f16':
        changes = {'type_k': 'q8_0', 'type_v': 'q8_0', 'flash_attn': 'on'}
        yield Remedy(changes=changes, text='K and V cache of type q8_0 with flash attention on')
    if has_gpus and header.n_expert:
        layers = _least_cpu_moe(header, settings, devices, n_slots)
        yield Remedy(changes={'n_cpu_moe': layers}, text=f'the experts of {layers} layers on the CPU')
    if has_gpus:
        layers = most_gpu_layers(header, settings, devices, n_slots=n_slots)
        yield Remedy(changes={'n_gpu_layers': layers}, text=f'{layers} GPU layers')


def _least_cpu_moe(header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory], n_slots: int) -> int:
    def still_too_large(layers: int) -> bool:
        return not _fits(header, _with(settings, n_cpu_moe=layers), devices, n_slots)

    return min(header.n_layer, _most(still_too_large, header.n_layer) + 1)


def _fits(
    header: Header, settings: LoadSettings, devices: Sequence[DeviceMemory], n_slots: int, *, tight: bool = False
) -> bool:
    plan = estimate(header, settings, n_slots=n_slots, devices=devices)
    return fits(plan, devices, with_margin=not tight)


def _most(holds: Callable[[int], bool], most: int) -> int:
    """Return the largest number up to `most` for which a condition holds that ends somewhere; 0 if never."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _short(plan: MemoryPlan, devices: Sequence[DeviceMemory], *, with_margin: bool = False) -> dict[DeviceMemory, int]:
    """Return the devices that have too little, with what is asked of them."""
    asked = {device: plan.on(device.name).total for device in devices}
    shared = sum(n_bytes for device, n_bytes in asked.items() if device.shares_ram)
    asked |= {device: n_bytes + shared for device, n_bytes in asked.items() if device.name == RAM}
    return {
        device: n_bytes
        for device, n_bytes in asked.items()
        if n_bytes and not device.has(n_bytes + with_margin * margin(device))
    }


def _shortage(header: Header, plan: MemoryPlan, device: DeviceMemory, n_bytes: int) -> str:
    need = plan.on(device.name)
    where = f' on {device.name}' if device.is_gpu else ''
    return (
        f'{header.name} needs about {size(n_bytes)} of memory{where} ({size(need.weights)} for the weights, '
        f'{size(need.kv_cache)} for a context of {plan.n_ctx:,} tokens, {size(need.compute)} to compute), '
        f'but {size(device.free)} are free.'
    )


def size(n_bytes: int) -> str:
    """Return a number of bytes in words."""
    return f'{n_bytes / 2**30:.1f} GiB' if n_bytes >= 2**30 else f'{n_bytes / 2**20:.0f} MiB'


def _with(settings: LoadSettings, **changes: Any) -> LoadSettings:
    return settings.model_copy(update=changes)
