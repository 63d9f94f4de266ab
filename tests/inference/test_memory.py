"""What loading a model will take, and what is said when it does not fit."""

from pathlib import Path

import psutil
import pytest

from inference.catalog import starter_model
from inference.errors import NotEnoughMemory
from inference.gguf import Header, read_header
from inference.memory import effective_n_ctx, estimate, free_memory, largest_n_ctx, require_fit
from inference.settings import LoadSettings
from tests.tiny_models import write_tiny_model

MIB = 1 << 20


@pytest.fixture(scope='module')
def smollm() -> Header:
    path = starter_model()
    assert path is not None
    return read_header(path)


def test_the_kv_cache_is_as_large_as_llama_cpp_says(smollm: Header) -> None:
    assert estimate(smollm, LoadSettings(n_ctx=8192)).kv_cache == 180 * MIB
    assert estimate(smollm, LoadSettings(n_ctx=8192, type_k='q8_0')).kv_cache == (90 + 90 * 17 / 32) * MIB


@pytest.mark.parametrize(
    ('n_ctx', 'flash_attn', 'n_batch', 'measured'),
    [(8192, 'off', 512, 166.38), (2048, 'off', 512, 46.38), (8192, 'off', 128, 41.6), (8192, 'on', 512, 21.51)],
)
def test_compute_buffers_are_near_what_was_measured(
    smollm: Header, n_ctx: int, flash_attn: str, n_batch: int, measured: float
) -> None:
    settings = LoadSettings.model_validate({'n_ctx': n_ctx, 'flash_attn': flash_attn, 'n_batch': n_batch})

    compute = estimate(smollm, settings, n_slots=4).compute / MIB

    assert measured < compute < measured + 12


def test_the_whole_file_counts_also_when_it_is_mapped(smollm: Header) -> None:
    need = estimate(smollm, LoadSettings(load_mode='mmap'))

    assert need.weights == smollm.path.stat().st_size
    assert need.total == need.weights + need.kv_cache + need.compute


@pytest.mark.parametrize(('asked', 'cells'), [(0, 8192), (100_000, 8192), (1, 256), (1000, 1024), (4096, 4096)])
def test_a_context_is_padded_and_never_longer_than_trained(smollm: Header, asked: int, cells: int) -> None:
    assert effective_n_ctx(smollm, LoadSettings(n_ctx=asked)) == cells


def test_layers_with_heads_of_their_own_are_summed(tmp_path: Path) -> None:
    even = read_header(write_tiny_model(tmp_path / 'even.gguf'))
    mixed = read_header(write_tiny_model(tmp_path / 'mixed.gguf', llama__attention__head_count_kv=[2, 0]))

    full, half = (estimate(header, LoadSettings(n_ctx=256)).kv_cache for header in (even, mixed))

    assert full == 2 * half == 256 * 2 * (2 * 16 + 2 * 16) * 2


@pytest.mark.parametrize('free', [120 * MIB, 200 * MIB, 300 * MIB, 400 * MIB])
def test_the_largest_context_fits_and_the_next_one_does_not(smollm: Header, free: int) -> None:
    n_ctx = largest_n_ctx(smollm, LoadSettings(), free)

    assert n_ctx % 256 == 0
    require_fit(smollm, LoadSettings(n_ctx=n_ctx), free)
    with pytest.raises(NotEnoughMemory):
        require_fit(smollm, LoadSettings(n_ctx=n_ctx + 256), free)


def test_with_plenty_of_memory_the_trained_length_is_the_largest(smollm: Header) -> None:
    assert largest_n_ctx(smollm, LoadSettings(), 1 << 40) == 8192


def test_what_does_not_fit_is_refused_with_the_context_that_would(smollm: Header) -> None:
    with pytest.raises(NotEnoughMemory, match=r'needs about .* MiB .*180 MiB .* but 300 MiB are free.*[\d,]+ fits'):
        require_fit(smollm, LoadSettings(n_ctx=8192), 300 * MIB)


def test_where_not_even_the_weights_fit_a_smaller_model_is_suggested(smollm: Header) -> None:
    assert largest_n_ctx(smollm, LoadSettings(), 50 * MIB) == 0
    with pytest.raises(NotEnoughMemory, match='smaller model'):
        require_fit(smollm, LoadSettings(), 50 * MIB)


def test_free_memory_is_what_the_system_has(tmp_path: Path) -> None:
    assert 0 < free_memory() <= psutil.virtual_memory().total
    assert 0 < free_memory(tmp_path) <= psutil.virtual_memory().total


def test_a_container_with_cgroup_2_has_what_its_limit_leaves(tmp_path: Path) -> None:
    group = tmp_path / 'sys/fs/cgroup/app/part'
    write(tmp_path / 'proc/self/cgroup', '0::/app/part\n')
    write(group / 'memory.max', 'max\n')
    write(group.parent / 'memory.max', f'{50 * MIB}\n')
    write(group.parent / 'memory.current', f'{30 * MIB}\n')
    write(group.parent / 'memory.stat', f'anon {20 * MIB}\ninactive_file {10 * MIB}\n')

    assert free_memory(tmp_path) == 30 * MIB


def test_a_container_with_cgroup_1_has_what_its_limit_leaves(tmp_path: Path) -> None:
    top = tmp_path / 'sys/fs/cgroup/memory'
    write(tmp_path / 'proc/self/cgroup', '5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n')
    write(top / 'memory.limit_in_bytes', str(40 * MIB))
    write(top / 'memory.usage_in_bytes', str(45 * MIB))
    write(top / 'memory.stat', f'inactive_file 1\ntotal_inactive_file {15 * MIB}\n')

    assert free_memory(tmp_path) == 10 * MIB


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
