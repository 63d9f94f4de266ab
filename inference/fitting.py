"""The check of memory before a load: devices as they will be, "as much as fits" in numbers, and a refusal or none."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from loguru import logger

from inference.dry_run import dry_run, find_devices
from inference.errors import LoadFailed
from inference.footprint import MemoryPlan, estimate
from inference.free_memory import after_unloading
from inference.gguf import Header
from inference.memory import calibrated, fits, require_fit, resolve
from inference.settings import LoadSettings

CLEARLY = 2
"""How many times what the formula says must be free for its word to be enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """Settings in which every number is one, and what loading with them takes."""

    settings: LoadSettings
    plan: MemoryPlan


async def fit(
    header: Header,
    settings: LoadSettings,
    *,
    n_slots: int = 1,
    reclaimed: Mapping[str, int],
    insist: bool = False,
) -> Fitted:
    """Return what to load with when `reclaimed` bytes of each device are given back; with `insist`, come what may.

    Where it is not clear, the library is asked. If that fails, the formula has to do: the trial load will tell.
    Raises NotEnoughMemory.
    """
    devices = after_unloading(await find_devices(), reclaimed)
    resolved = resolve(header, settings, devices, n_slots=n_slots)
    plan = estimate(header, resolved, n_slots=n_slots, devices=devices)
    clear = all(device.has(CLEARLY * plan.on(device.name).total) for device in devices)
    if not clear and not insist:
        with suppress(LoadFailed):
            exact = await dry_run(header, resolved, n_slots=n_slots, devices=devices)
            if resolved != settings and not fits(exact, devices, with_margin=True):
                resolved = resolve(header, settings, calibrated(devices, plan, exact), n_slots=n_slots)
                exact = await dry_run(header, resolved, n_slots=n_slots, devices=devices)
            plan = exact
    if insist:
        logger.info('Loading {} without regard to memory: it takes {}', header.name, plan)
    else:
        require_fit(header, resolved, devices, n_slots=n_slots, plan=plan)
    return Fitted(settings=resolved, plan=plan)
