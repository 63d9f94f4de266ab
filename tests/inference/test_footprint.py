"""What loading a model takes: the formula against what llama.cpp then says, and where it puts things."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from inference.buffers import read_buffers
from inference.catalog import starter_model
from inference.dry_run import Task, ask
from inference.footprint import DeviceNeed, MemoryPlan, effective_n_ctx, estimate
from inference.free_memory import RAM, DeviceMemory
from inference.gguf import Header, read_header
from inference.gguf_reader import Value
from inference.layers import has_state
from inference.settings import LoadSettings
from tests.tiny_models import write_tiny_model
from webui.bench.shapes import SHAPES, write_shape

MIB, GIB = 1 << 20, 1 << 30
SLACK = MIB
Shaped = Callable[[str], Header]


@pytest.fixture(scope='module')
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Shaped:
    """Give the header of a generated model, or of the starter model."""
    folder = tmp_path_factory.mktemp('shapes')

    def header(name: str) -> Header:
        path = starter_model() if name == 'starter' else folder / f'{name}.gguf'
        assert path
        if not path.exists():
            write_shape(path, next(shape for shape in SHAPES if shape.name == name))
        return read_header(path)

    return header


@pytest.fixture(scope='module')
def smollm(shaped: Shaped) -> Header:
    return shaped('starter')


def load_settings(**changes: Any) -> LoadSettings:
    return LoadSettings.model_validate({'n_threads': 1, 'use_extra_bufts': False, **changes})


def gpu(name: str = 'ROCm0', free: int = 16 * GIB, *, shares_ram: bool = False) -> DeviceMemory:
    return DeviceMemory(name=name, free=free, total=free, shares_ram=shares_ram)


def by_device(plan: MemoryPlan, part: str) -> dict[str, int]:
    return {need.device: getattr(need, part) for need in plan.devices}


# Against real loads


@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('starter', {'n_ctx': 2048}),
        ('starter', {'n_ctx': 4096, 'flash_attn': 'on', 'type_k': 'q8_0', 'type_v': 'q4_0'}),
        ('starter', {'n_ctx': 1024, 'n_batch': 2048, 'n_ubatch': 1024}),
        ('plain', {'n_ctx': 3000, 'n_ubatch': 96}),
        ('gqa', {'n_ctx': 2048, 'type_k': 'bf16', 'type_v': 'f32'}),
        ('gqa', {'n_ctx': 2048, 'load_mode': 'read', 'flash_attn': 'on'}),
        ('sliding-window', {'n_ctx': 8192}),
        ('sliding-window', {'n_ctx': 8192, 'swa_full': True, 'flash_attn': 'on'}),
        ('experts', {'n_ctx': 2048, 'flash_attn': 'on'}),
        ('large-vocabulary', {'n_ctx': 1024, 'n_slots': 16}),
        ('hybrid', {'n_ctx': 4096}),
        ('recurrent', {'n_slots': 8}),
    ],
)
async def test_every_part_is_as_large_as_llama_cpp_says(shaped: Shaped, name: str, changes: dict[str, Any]) -> None:
    header, settings = shaped(name), load_settings(**changes)

    answer = await ask(Task(path=header.path, settings=settings, n_slots=settings.n_slots, real=True))

    plan = estimate(header, settings, n_slots=settings.n_slots)
    said = read_buffers(answer.lines, [])
    assert plan.weights == pytest.approx(said.weights.total(), rel=0.05, abs=SLACK)
    assert plan.kv_cache == pytest.approx(said.kv_cache.total(), rel=0.05, abs=SLACK)
    assert plan.compute == pytest.approx(said.compute.total(), rel=0.05, abs=SLACK)
    assert plan.total == pytest.approx(said.weights.total() + said.kv_cache.total() + said.compute.total(), rel=0.05)
    assert answer.grown > 0.9 * (said.weights.total() + said.kv_cache.total())


async def test_more_rows_of_scores_are_counted(shaped: Shaped) -> None:
    header, settings = shaped('large-vocabulary'), load_settings(n_ctx=512, n_ubatch=128)

    answer = await ask(Task(path=header.path, settings=settings, n_slots=4, n_outputs=128))

    few, many = (estimate(header, settings, n_slots=4, n_outputs=count).compute for count in (0, 128))
    # The buffer they come out in is made for one row a sequence first, and grows with the first batch.
    said = read_buffers(answer.lines, []).compute.total() + 124 * header.n_vocab * 4
    assert many == pytest.approx(said, rel=0.05)
    assert many > 2 * few


async def test_repacked_weights_count_once(tmp_path: Path) -> None:
    """Whatever is repacked on this processor: without a mapping, what stays is one or the other."""
    header = read_header(write_shape(tmp_path / 'm.gguf', SHAPES[0]))
    settings = load_settings(n_ctx=256, load_mode='read', use_extra_bufts=True)

    answer = await ask(Task(path=header.path, settings=settings, real=True))

    said = read_buffers(answer.lines, []).weights.total()
    assert estimate(header, settings).weights == pytest.approx(said, rel=0.05)


# Cells and settings


@pytest.mark.parametrize(('asked', 'cells'), [(0, 8192), (-1, 8192), (100_000, 8192), (1, 256), (1000, 1024)])
def test_a_context_is_padded_and_never_longer_than_trained(smollm: Header, asked: int, cells: int) -> None:
    assert effective_n_ctx(smollm, LoadSettings(n_ctx=asked)) == cells


def test_a_stretched_context_is_as_long_as_it_is_said(smollm: Header) -> None:
    assert effective_n_ctx(smollm, LoadSettings(n_ctx=30_000, rope_scaling='yarn')) == 30_208


def test_the_kv_cache_of_the_starter_model_is_known_to_the_byte(smollm: Header) -> None:
    assert estimate(smollm, LoadSettings(n_ctx=8192)).kv_cache == 180 * MIB
    assert estimate(smollm, LoadSettings(n_ctx=8192, type_k='q8_0')).kv_cache == (90 + 90 * 17 / 32) * MIB


def test_the_whole_file_counts_but_only_unmapped_weights_are_given_back(smollm: Header) -> None:
    mapped, read = (estimate(smollm, load_settings(load_mode=mode)) for mode in ('mmap', 'read'))

    assert mapped.weights == read.weights == pytest.approx(smollm.path.stat().st_size, rel=0.03)
    assert read.reclaimable == {RAM: read.total}
    assert mapped.reclaimable == {RAM: mapped.total - mapped.weights}


def test_layers_with_heads_of_their_own_are_summed(tmp_path: Path) -> None:
    even = read_header(write_tiny_model(tmp_path / 'even.gguf'))
    mixed = read_header(write_tiny_model(tmp_path / 'mixed.gguf', llama__attention__head_count_kv=[2, 0]))
    settings = LoadSettings(n_ctx=256, flash_attn='on')

    full, half = (estimate(header, settings).kv_cache for header in (even, mixed))

    assert full == 2 * half == 256 * 2 * (2 * 16 + 2 * 16) * 2


def test_layers_for_multi_token_prediction_are_not_loaded(tmp_path: Path) -> None:
    plain = read_header(write_tiny_model(tmp_path / 'plain.gguf', n_layer=3))
    drafting = read_header(write_tiny_model(tmp_path / 'mtp.gguf', n_layer=3, llama__nextn_predict_layers=1))

    most, less = (estimate(header, LoadSettings(n_ctx=256)) for header in (plain, drafting))

    assert most.kv_cache * 2 == less.kv_cache * 3
    assert less.weights < most.weights


def test_guessing_ahead_asks_for_more_scores(smollm: Header) -> None:
    off, on = (estimate(smollm, load_settings(draft=draft), n_slots=4).compute for draft in ('auto', 'on'))

    assert on - off >= 32 * smollm.n_vocab * 4


def test_models_whose_sequences_cost_memory_are_known(shaped: Shaped) -> None:
    assert [has_state(shaped(name)) for name in ('plain', 'sliding-window', 'hybrid', 'recurrent')] == [0, 0, 1, 1]


def test_numbers_that_make_no_sense_make_no_endless_work(tmp_path: Path) -> None:
    keys = ('attention__key_length', 'attention__sliding_window', 'expert_used_count', 'ssm__state_size')
    absurd: dict[str, Any] = {f'llama__{key}': (1 << 31) - 1 for key in keys}
    header = read_header(write_tiny_model(tmp_path / 'm.gguf', llama__expert_count=4, **absurd))

    assert estimate(header, LoadSettings()).total > 1 << 40


@pytest.mark.parametrize(
    'architecture', ['llama', 'gemma3', 'gemma4', 'lfm2', 'mamba', 'qwen35', 'rwkv7', 'nemotron_h']
)
def test_any_header_has_an_estimate(shaped: Shaped, architecture: str) -> None:
    """Values of any size and kind under the keys that count; seeded."""
    sound, random = shaped('experts'), Random(architecture)
    numbers: list[Value] = [0, 1, 3, 64, 4096, -5, (1 << 31) - 1, 1.5, 'x', True, (1, 0), (True, False, True), ()]
    keys = (
        'attention.sliding_window', 'attention.sliding_window_pattern', 'attention.recurrent_layers', 'ssm.inner_size',
        'attention.shared_kv_layers', 'shortconv.l_cache', 'ssm.conv_kernel', 'ssm.state_size', 'wkv.head_size',
        'nextn_predict_layers', 'feed_forward_length', 'expert_used_count', 'full_attention_interval',
    )  # fmt: skip
    heads: list[int | tuple[int, ...]] = [0, 2, (0, 3), ()]
    for _ in range(20):
        header = dataclasses.replace(
            sound,
            architecture=architecture,
            metadata={f'{architecture}.{key}': random.choice(numbers) for key in keys},
            n_layer=random.choice([0, 1, 5]),
            n_head_kv=random.choice(heads),
            tensors=random.choice([sound.tensors, ()]),
        )
        for devices in ([], [gpu(RAM), gpu('A', 0), gpu('B')]):
            plan = estimate(header, LoadSettings(n_gpu_layers=random.choice([-1, 2])), devices=devices)
            assert min(min(need.weights, need.kv_cache, need.compute) for need in plan.devices) >= 0


# Devices


def test_without_a_gpu_everything_is_in_ram(smollm: Header) -> None:
    plan = estimate(smollm, LoadSettings(n_gpu_layers=10), devices=[gpu(RAM)])

    assert by_device(plan, 'total') == {RAM: plan.total}


def test_with_all_layers_on_a_gpu_the_ram_keeps_the_embedding_and_the_inputs(shaped: Shaped) -> None:
    header = shaped('gqa')
    plan = estimate(header, load_settings(n_ctx=4096), n_slots=4, devices=[gpu(RAM), gpu()])

    embedding = next(tensor.n_bytes for tensor in header.tensors if tensor.name == 'token_embd.weight')
    assert by_device(plan, 'weights') == {RAM: embedding, 'ROCm0': plan.weights - embedding}
    assert by_device(plan, 'kv_cache') == {RAM: 0, 'ROCm0': plan.kv_cache}
    assert 0 < plan.on(RAM).compute < plan.on('ROCm0').compute


def test_an_embedding_that_also_scores_is_kept_twice_with_a_gpu(smollm: Header) -> None:
    embedding = next(tensor.n_bytes for tensor in smollm.tensors if tensor.name == 'token_embd.weight')

    alone, both = (estimate(smollm, load_settings(), devices=[gpu(RAM), *more]) for more in ([], [gpu()]))

    assert both.weights == alone.weights + embedding
    assert both.on(RAM).weights == embedding


def test_the_last_layers_go_to_the_gpu_with_their_cells(shaped: Shaped) -> None:
    header = shaped('gqa')  # 8 layers and the output
    plan = estimate(header, load_settings(n_ctx=4096, n_gpu_layers=4), devices=[gpu(RAM), gpu()])

    assert plan.on('ROCm0').kv_cache * 5 == plan.on(RAM).kv_cache * 3
    assert 0.5 < plan.on('ROCm0').weights / plan.on(RAM).weights < 1


def test_the_kv_cache_may_stay_in_ram(shaped: Shaped) -> None:
    plan = estimate(shaped('gqa'), load_settings(offload_kqv=False), devices=[gpu(RAM), gpu()])

    assert by_device(plan, 'kv_cache') == {RAM: plan.kv_cache, 'ROCm0': 0}


def test_experts_may_stay_in_ram(shaped: Shaped) -> None:
    header, devices = shaped('experts'), [gpu(RAM), gpu()]
    experts = sum(tensor.n_bytes for tensor in header.tensors if '_exps' in tensor.name)

    every, some, named = (
        estimate(header, load_settings(**changes), devices=devices).on(RAM).weights
        for changes in ({}, {'n_cpu_moe': 2}, {'tensor_overrides': ('_exps=CPU',)})
    )

    assert some - every == pytest.approx(experts / 3)
    assert named - every == experts


def test_layers_are_divided_by_free_memory_or_as_it_is_said(shaped: Shaped) -> None:
    header = shaped('plain')
    devices = [gpu(RAM), gpu('A', 30 * GIB), gpu('B', 10 * GIB)]

    free, said, one = (
        by_device(estimate(header, load_settings(**changes), devices=devices), 'kv_cache')
        for changes in ({}, {'tensor_split': (1, 3)}, {'split_mode': 'none', 'main_gpu': 1})
    )

    assert free['A'] > 2 * free['B'] > 0
    assert said['A'] * 5 == said['B'] * 3, '3 of 9 layers, the output at the end counts'
    assert one == {RAM: 0, 'B': free['A'] + free['B']}


def test_a_gpu_in_the_processor_is_used_only_where_there_is_no_other(shaped: Shaped) -> None:
    inside, beside = gpu('Vulkan0', shares_ram=True), gpu('Vulkan1')
    header = shaped('plain')

    def used(settings: LoadSettings, *devices: DeviceMemory) -> set[str]:
        plan = estimate(header, settings, devices=[gpu(RAM), *devices])
        return {need.device for need in plan.devices} - {RAM}

    assert used(load_settings(), inside) == {'Vulkan0'}
    assert used(load_settings(), inside, beside) == {'Vulkan1'}
    assert used(load_settings(devices=('Vulkan0',)), inside, beside) == {'Vulkan0'}
    assert used(load_settings(n_gpu_layers=0), inside, beside) == set()


def test_a_device_without_a_need_needs_nothing(smollm: Header) -> None:
    assert estimate(smollm, LoadSettings()).on('ROCm7') == DeviceNeed(device='ROCm7')
