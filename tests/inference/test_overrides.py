"""The settings that are small languages: what is wrong in them is named before llama.cpp is."""

import re
from pathlib import Path

import pytest

from inference.errors import LoadFailed
from inference.gguf import read_header
from inference.overrides import (
    AdapterSpec,
    MetadataOverride,
    TensorOverride,
    adapter_specs,
    experts_below,
    metadata_overrides,
    tensor_overrides,
)
from tests import tiny_models as tiny


@pytest.mark.parametrize(
    ('entry', 'key', 'value'),
    [
        ('qwen3moe.expert_used_count=int:4', 'qwen3moe.expert_used_count', 4),
        ('a=int: -7', 'a', -7),
        ('llama.rope.freq_base=float:1e6', 'llama.rope.freq_base', 1e6),
        ('a=float:3', 'a', 3.0),
        ('tokenizer.ggml.add_bos_token=bool:false', 'tokenizer.ggml.add_bos_token', False),
        ('tokenizer.ggml.pre=str:llama-bpe', 'tokenizer.ggml.pre', 'llama-bpe'),
        ('a=str:b=c:d', 'a', 'b=c:d'),
        ('a=str:', 'a', ''),
    ],
)
def test_metadata_are_replaced_by_typed_values(entry: str, key: str, value: object) -> None:
    (override,) = metadata_overrides((entry,))

    assert override == MetadataOverride(key, value)  # type: ignore[arg-type]
    assert type(override.value) is type(value)


@pytest.mark.parametrize(
    ('entry', 'why'),
    [
        ('', 'is not KEY=TYPE:VALUE'),
        ('a=5', 'is not KEY=TYPE:VALUE'),
        ('=int:5', 'is not KEY=TYPE:VALUE'),
        (f'{"k" * 128}=int:5', 'is not KEY=TYPE:VALUE'),
        ('a\0b=int:5', 'is not KEY=TYPE:VALUE'),
        ('a=int:five', 'has no int after the colon'),
        ('a=int:9223372036854775808', 'has no int after the colon'),
        ('a=int:1.5', 'has no int after the colon'),
        ('a=float:much', 'has no float after the colon'),
        ('a=float:nan', 'has no float after the colon'),
        ('a=bool:yes', 'has no bool after the colon'),
        (f'a=str:{"é" * 64}', 'is too long, at most 127 bytes'),
        ('a=u32:5', 'has an unknown type'),
    ],
)
def test_a_wrong_metadata_entry_is_named(entry: str, why: str) -> None:
    with pytest.raises(LoadFailed) as caught:
        metadata_overrides(('good=int:1', entry))

    assert f'{entry!r} {why}' in str(caught.value)
    assert 'for instance qwen3moe.expert_used_count=int:4' in str(caught.value)


def test_a_value_of_another_type_than_the_files_would_be_ignored_and_is_refused(tmp_path: Path) -> None:
    header = read_header(tiny.write_tiny_model(tmp_path / 'm.gguf', some__list=[1, 2]))

    metadata_overrides(('llama.context_length=int:1024', 'not.there=float:1'), header)
    with pytest.raises(LoadFailed, match=r'Write llama\.context_length=int:…\.'):
        metadata_overrides(('llama.context_length=float:1024',), header)
    with pytest.raises(LoadFailed, match=r'Write general\.name=str:…\.'):
        metadata_overrides(('general.name=bool:true',), header)
    with pytest.raises(LoadFailed, match='A list cannot be replaced'):
        metadata_overrides(('some.list=int:1',), header)
    with pytest.raises(LoadFailed, match=r'names a\.b twice'):
        metadata_overrides(('a.b=int:1', 'a.b=int:2'), header)


def test_tensors_are_placed_by_pattern() -> None:
    entries = ('ffn_.*_exps=CPU', r'blk\.(1|2)\.attn_(?:q|k)=Vulkan1', 'a=b=ROCm0')

    assert tensor_overrides(entries) == (
        TensorOverride('ffn_.*_exps', 'CPU'),
        TensorOverride(r'blk\.(1|2)\.attn_(?:q|k)', 'Vulkan1'),
        TensorOverride('a=b', 'ROCm0'),
    )


@pytest.mark.parametrize(
    ('entry', 'why'),
    [
        ('ffn', 'is not PATTERN=DEVICE'),
        ('=CPU', 'is not PATTERN=DEVICE'),
        ('ffn=', 'is not PATTERN=DEVICE'),
        ('ffn_(up=CPU', "the pattern 'ffn_(up' is wrong: missing"),
        ('*ffn=CPU', 'is wrong: nothing to repeat'),
        ('(?i)FFN=CPU', 'is not plain enough for llama.cpp'),
        ('(?<=blk)x=CPU', 'is not plain enough for llama.cpp'),
        ('[[:foo:]]=CPU', 'is not plain enough for llama.cpp'),
        (f'{"x" * 257}=CPU', 'is too long'),
        ('x\0=CPU', 'is too long'),
    ],
)
def test_a_wrong_placement_is_named(entry: str, why: str) -> None:
    with pytest.raises(LoadFailed) as caught:
        tensor_overrides((entry,))

    assert why in str(caught.value)


@pytest.mark.parametrize('count', [1, 2, 9, 10, 11, 20, 37, 99, 100, 101, 480, 999])
def test_the_experts_of_the_first_layers_are_found(count: int) -> None:
    pattern = re.compile(experts_below(count))

    found = [layer for layer in range(1100) if pattern.search(f'blk.{layer}.ffn_gate_up_exps.weight')]

    assert found == list(range(count))
    assert pattern.search('blk.0.ffn_down_chexps.weight')
    assert not pattern.search('blk.0.ffn_down.weight')
    assert not pattern.search('blk.0.ffn_down_shexp.weight')


def test_adapters_are_files_with_a_scale() -> None:
    assert adapter_specs(('a.gguf', 'b.gguf=0.5', 'c=d.gguf', '/x/e=1.gguf=-2', 'f.gguf=nan')) == (
        AdapterSpec('a.gguf', 1),
        AdapterSpec('b.gguf', 0.5),
        AdapterSpec('c=d.gguf', 1),
        AdapterSpec('/x/e=1.gguf', -2),
        AdapterSpec('f.gguf=nan', 1),
    )
