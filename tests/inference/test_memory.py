"""Whether a model fits, what would make it fit, and what "as much as fits" comes to."""

from collections.abc import Callable
from typing import Any

import pytest

from inference.catalog import starter_model
from inference.errors import NotEnoughMemory
from inference.footprint import DeviceNeed, MemoryPlan
from inference.free_memory import RAM, DeviceMemory
from inference.gguf import Header, read_header
from inference.memory import (
    calibrated,
    estimate,
    fit_label,
    fits,
    largest_n_ctx,
    margin,
    most_gpu_layers,
    remedies,
    require_fit,
    resolve,
)
from inference.settings import LoadSettings
from webui.bench.shapes import SHAPES, write_shape

MIB, GIB = 1 << 20, 1 << 30
Shaped = Callable[[str], Header]


@pytest.fixture(scope='module')
def smollm() -> Header:
    path = starter_model()
    assert path is not None
    return read_header(path)


@pytest.fixture(scope='module')
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Shaped:
    """Give the header of a generated model."""
    folder = tmp_path_factory.mktemp('shapes')
    return lambda name: read_header(
        write_shape(folder / f'{name}.gguf', next(shape for shape in SHAPES if shape.name == name))
    )


def ram(mebibytes: float) -> DeviceMemory:
    return DeviceMemory(name=RAM, free=int(mebibytes * MIB), total=1 << 40)


def gpu(mebibytes: float, *, shares_ram: bool = False) -> DeviceMemory:
    return DeviceMemory(name='ROCm0', free=int(mebibytes * MIB), total=1 << 40, shares_ram=shares_ram)


def refusal(header: Header, settings: LoadSettings, *devices: DeviceMemory) -> str:
    with pytest.raises(NotEnoughMemory) as caught:
        require_fit(header, settings, devices)
    return str(caught.value)


def changed(settings: LoadSettings, **changes: Any) -> LoadSettings:
    return LoadSettings.model_validate({**settings.model_dump(), **changes})


# As much as fits


@pytest.mark.parametrize('free', [150, 250, 350, 450])
def test_the_largest_context_fits_and_leaves_the_margin(smollm: Header, free: int) -> None:
    devices = [ram(free)]
    n_ctx = largest_n_ctx(smollm, LoadSettings(), devices)

    assert n_ctx % 256 == 0
    this, more = (estimate(smollm, LoadSettings(n_ctx=size)) for size in (n_ctx, n_ctx + 256))
    assert this.total <= devices[0].free - margin(devices[0]) < more.total


def test_with_plenty_of_memory_the_trained_length_is_the_largest(smollm: Header) -> None:
    assert largest_n_ctx(smollm, LoadSettings(), [ram(1 << 20)]) == 8192


def test_where_not_even_the_weights_fit_no_context_does(smollm: Header) -> None:
    assert largest_n_ctx(smollm, LoadSettings(), [ram(50)]) == 0


def test_most_layers_go_to_the_gpu_that_it_has_room_for(shaped: Shaped) -> None:
    header = shaped('plain')  # 8 layers and the output
    settings = LoadSettings(n_ctx=4096)

    layers = [most_gpu_layers(header, settings, [ram(4096), gpu(free)]) for free in (10, 60, 100, 150, 4096)]

    assert layers == sorted(layers)
    assert (layers[0], layers[-1]) == (0, 9)
    assert 0 < layers[2] < 9
    assert most_gpu_layers(header, settings, [ram(4096)]) == 0, 'there is none'


def test_as_much_as_fits_becomes_numbers(smollm: Header) -> None:
    settings = LoadSettings(n_ctx=-1, n_gpu_layers=-2)
    devices = [ram(4096), gpu(260)]

    found = resolve(smollm, settings, devices)

    assert 0 < found.n_ctx <= 8192
    assert 0 < found.n_gpu_layers <= 31
    assert fits(estimate(smollm, found, devices=devices), devices, with_margin=True)
    assert resolve(smollm, settings, [ram(4096)]) == changed(settings, n_ctx=8192, n_gpu_layers=0)


def test_numbers_stay_what_they_are(smollm: Header) -> None:
    settings = LoadSettings(n_ctx=300, n_gpu_layers=-1)

    assert resolve(smollm, settings, [ram(10)]) == settings


def test_where_nothing_fits_the_shortest_context_is_asked_for_and_then_refused(smollm: Header) -> None:
    settings = resolve(smollm, LoadSettings(n_ctx=-1), [ram(50)])

    assert settings.n_ctx == 256
    assert 'smaller model' in refusal(smollm, settings, ram(50))


def test_the_margin_is_an_eighth_and_at_most_a_gibibyte() -> None:
    assert [margin(ram(free)) for free in (8, 8192, 1 << 20)] == [MIB, GIB, GIB]


# Refusals


def test_what_does_not_fit_is_refused_with_the_context_that_would(smollm: Header) -> None:
    said = refusal(smollm, LoadSettings(n_ctx=8192), ram(300))

    assert 'needs about 439 MiB of memory (92 MiB for the weights, 180 MiB for a context of 8,192 tokens, ' in said
    assert 'but 300 MiB are free. It fits with a context length of 3,840, or with ' in said


def test_every_remedy_is_one(shaped: Shaped) -> None:
    header, devices = shaped('experts'), [ram(4096), gpu(100)]
    settings = LoadSettings(n_ctx=8192, flash_attn='off')
    refusal(header, settings, *devices)

    found = remedies(header, settings, devices)

    assert found
    for remedy in found:
        require_fit(header, changed(settings, **remedy.changes), devices)
    words = refusal(header, settings, *devices)
    assert all(remedy.text in words for remedy in found)


def test_flash_attention_is_a_remedy_where_the_scores_are_too_large(smollm: Header) -> None:
    said = refusal(smollm, LoadSettings(), ram(400))

    assert ', or with flash attention on, or with K and V cache of type q8_0 with flash attention on.' in said
    assert 'flash attention on,' not in refusal(smollm, LoadSettings(flash_attn='on'), ram(250))


def test_fewer_layers_or_experts_in_ram_are_remedies_for_a_gpu(shaped: Shaped) -> None:
    header = shaped('experts')

    said = refusal(header, LoadSettings(n_ctx=256), ram(4096), gpu(80))

    assert ' of memory on ROCm0 (' in said
    found = {
        name for remedy in remedies(header, LoadSettings(n_ctx=256), [ram(4096), gpu(80)]) for name in remedy.changes
    }
    assert {'n_cpu_moe', 'n_gpu_layers'} <= found


def test_a_gpu_inside_the_processor_takes_from_the_ram(shaped: Shaped) -> None:
    header, settings = shaped('plain'), LoadSettings(n_ctx=4096)
    need = estimate(header, settings, devices=[gpu(4096)]).total / MIB

    require_fit(header, settings, [ram(need + 1), gpu(need + 1, shares_ram=True)])
    refusal(header, settings, ram(need - 1), gpu(need + 1, shares_ram=True))


def test_a_gpu_that_does_not_tell_its_memory_is_believed_to_have_enough(shaped: Shaped) -> None:
    header, silent = shaped('plain'), DeviceMemory(name='Vulkan0', free=0, total=0)

    require_fit(header, LoadSettings(), [ram(4096), silent])
    assert most_gpu_layers(header, LoadSettings(), [ram(4096), silent]) == 9


def test_a_better_plan_decides_and_its_remedies_hold(smollm: Header) -> None:
    """The library says twice what the formula does, so half of the memory is as good as all of it."""
    formula = estimate(smollm, LoadSettings())
    twice = MemoryPlan(
        devices=tuple(
            DeviceNeed(
                device=need.device, weights=2 * need.weights, kv_cache=2 * need.kv_cache, compute=2 * need.compute
            )
            for need in formula.devices
        ),
        n_ctx=formula.n_ctx,
        is_exact=True,
    )
    devices = [ram(600)]
    require_fit(smollm, LoadSettings(), devices)

    with pytest.raises(NotEnoughMemory) as caught:
        require_fit(smollm, LoadSettings(), devices, plan=twice)

    half = largest_n_ctx(smollm, LoadSettings(), calibrated(devices, formula, twice))
    assert f'a context length of {half:,}' in str(caught.value)
    assert half == pytest.approx(largest_n_ctx(smollm, LoadSettings(), [ram(300)]), abs=256)


# Labels


def test_labels_say_how_a_model_fits(shaped: Shaped) -> None:
    header, settings = shaped('plain'), LoadSettings(n_ctx=4096)
    need = estimate(header, settings).total / MIB

    assert fit_label(header, settings, [ram(2 * need)]) == 'fits'
    assert fit_label(header, settings, [ram(need + 1)]) == 'tight'
    assert fit_label(header, settings, [ram(need - 1)]) == 'does not fit'
    assert fit_label(header, settings, [ram(4096), gpu(4096)]) == 'fits'
    assert fit_label(header, settings, [ram(4096), gpu(100)]) == 'partly on the GPU'
    assert fit_label(header, changed(settings, n_gpu_layers=3), [ram(4096), gpu(4096)]) == 'partly on the GPU'
    assert fit_label(header, changed(settings, n_gpu_layers=0), [ram(4096), gpu(100)]) == 'fits'
    assert fit_label(header, settings, [ram(50), gpu(50)]) == 'does not fit'
    assert fit_label(header, changed(settings, n_ctx=-1), [ram(need - 1)]) == 'fits', 'with a shorter context'
