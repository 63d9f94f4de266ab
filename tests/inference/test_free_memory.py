"""How much memory there is, for this process, and when a model has gone."""

from pathlib import Path

import psutil
import pytest

from inference.free_memory import RAM, DeviceMemory, after_unloading, free_memory, may_have_gpus, ram

MIB = 1 << 20


def test_free_memory_is_what_the_system_has(tmp_path: Path) -> None:
    assert 0 < free_memory() <= psutil.virtual_memory().total
    assert 0 < free_memory(tmp_path) <= psutil.virtual_memory().total
    assert (ram().name, ram().total, ram().is_gpu) == (RAM, psutil.virtual_memory().total, False)


def test_a_container_with_cgroup_2_has_what_its_limit_leaves(tmp_path: Path) -> None:
    group = tmp_path / 'sys/fs/cgroup/app/part'
    write(tmp_path / 'proc/self/cgroup', '0::/app/part\n')
    write(group / 'memory.max', 'max\n')
    write(group.parent / 'memory.max', f'{50 * MIB}\n')
    write(group.parent / 'memory.current', f'{30 * MIB}\n')
    write(group.parent / 'memory.stat', f'anon {20 * MIB}\ninactive_file {10 * MIB}\n')

    assert free_memory(tmp_path) == ram(tmp_path).free == 30 * MIB


def test_a_container_with_cgroup_1_has_what_its_limit_leaves(tmp_path: Path) -> None:
    top = tmp_path / 'sys/fs/cgroup/memory'
    write(tmp_path / 'proc/self/cgroup', '5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n')
    write(top / 'memory.limit_in_bytes', str(40 * MIB))
    write(top / 'memory.usage_in_bytes', str(45 * MIB))
    write(top / 'memory.stat', f'inactive_file 1\ntotal_inactive_file {15 * MIB}\n')

    assert free_memory(tmp_path) == 10 * MIB


def test_an_unloaded_model_leaves_its_memory_to_the_next(tmp_path: Path) -> None:
    devices = (DeviceMemory(name=RAM, free=10, total=100), DeviceMemory(name='ROCm0', free=5, total=16))

    after = after_unloading(devices, {RAM: 20, 'ROCm0': 40, 'ROCm1': 1})

    assert [device.free for device in after] == [30, 16]


@pytest.mark.parametrize(
    ('files', 'has_gpus'),
    [
        (['libggml-base.so.0', 'libggml-cpu.so', 'libggml.so'], False),
        (['libggml-cpu.so', 'libggml-hip.so'], True),
        (['ggml-base.dll', 'ggml-cpu-haswell.dll'], False),
        (['ggml-vulkan.dll'], True),
        (['libggml-metal.dylib'], True),
        (['libggml-blas.dylib'], False),
        ([], False),
    ],
)
def test_a_build_for_gpus_is_known_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], has_gpus: bool
) -> None:
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setenv('LLAMA_CPP_LIB_PATH', str(tmp_path))

    assert may_have_gpus() is has_gpus


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
