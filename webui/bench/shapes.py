"""Model files of several shapes, made in a moment: headers are real, and the weights are a hole in the file."""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.gguf_reader import TENSOR_TYPES

Value = bool | int | float | str | Sequence[bool] | Sequence[int] | Sequence[float] | Sequence[str]
Tensor = tuple[str, tuple[int, ...], str]
"""Name, shape with the longest rows first, type."""

_ALIGNMENT = 32
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_NUMBERS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}
_SPECIAL = ['<unk>', '<s>', '</s>', *(f'<0x{byte:02X}>' for byte in range(256))]
_UNKNOWN, _CONTROL, _BYTE, _NORMAL = 2, 3, 6, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A model: `facts` are keys without their prefix; the weights have the type `weights`, small ones are F32."""

    name: str
    architecture: str = 'llama'
    n_vocab: int = 32_000
    n_ctx_train: int = 32_768
    n_layer: int = 8
    n_embd: int = 512
    n_head: int = 8
    n_head_kv: int | tuple[int, ...] = 8
    n_ff: int = 1408
    weights: str = 'Q8_0'
    facts: dict[str, Value]
    layer: Callable[['Shape', int], Iterator[Tensor]]
    own_output: bool = True


def write_shape(path: Path, shape: Shape) -> Path:
    """Write the file; its weights are zeros that take no place on most disks."""
    tensors = list(_tensors(shape))
    values = _values(shape)
    with path.open('wb') as file:
        file.write(b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(values)))
        for key, value in values.items():
            file.write(_text(key) + _typed(value))
        offset = 0
        for name, dims, kind in tensors:
            numbers = struct.pack(f'<I{len(dims)}QIQ', len(dims), *dims, _NUMBERS[kind], offset)
            file.write(_text(name) + numbers)
            offset += _padded(_n_bytes(dims, kind))
        file.truncate(_padded(file.tell()) + offset)
    return path


def _values(shape: Shape) -> dict[str, Value]:
    tokens = [*_SPECIAL, *(f'▁word{number}' for number in range(shape.n_vocab - len(_SPECIAL)))]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * (shape.n_vocab - len(_SPECIAL))]
    own: dict[str, Value] = {
        'context_length': shape.n_ctx_train,
        'embedding_length': shape.n_embd,
        'block_count': shape.n_layer,
        'feed_forward_length': shape.n_ff,
        'attention.head_count': shape.n_head,
        'attention.head_count_kv': shape.n_head_kv,
        'attention.layer_norm_rms_epsilon': 1e-5,
        **shape.facts,
    }
    return {
        'general.architecture': shape.architecture,
        'general.name': shape.name,
        **{f'{shape.architecture}.{key}': value for key, value in own.items()},
        'tokenizer.ggml.model': 'llama',
        'tokenizer.ggml.tokens': tokens,
        'tokenizer.ggml.scores': [-float(number) for number in range(shape.n_vocab)],
        'tokenizer.ggml.token_type': kinds,
        'tokenizer.ggml.bos_token_id': 1,
        'tokenizer.ggml.eos_token_id': 2,
    }


def _tensors(shape: Shape) -> Iterator[Tensor]:
    yield 'token_embd.weight', (shape.n_embd, shape.n_vocab), shape.weights
    yield ('token_embd_norm' if shape.architecture == 'lfm2' else 'output_norm') + '.weight', (shape.n_embd,), 'F32'
    if shape.own_output:
        yield 'output.weight', (shape.n_embd, shape.n_vocab), shape.weights
    for number in range(shape.n_layer):
        for name, dims, kind in shape.layer(shape, number):
            yield f'blk.{number}.{name}', dims, kind


def attention(shape: Shape, number: int, key_length: int = 0) -> Iterator[Tensor]:
    """Yield the projections of one layer."""
    heads = shape.n_head_kv if isinstance(shape.n_head_kv, int) else shape.n_head_kv[number]
    length = key_length or shape.n_embd // shape.n_head
    yield 'attn_norm.weight', (shape.n_embd,), 'F32'
    yield 'attn_q.weight', (shape.n_embd, shape.n_head * length), shape.weights
    yield 'attn_k.weight', (shape.n_embd, heads * length), shape.weights
    yield 'attn_v.weight', (shape.n_embd, heads * length), shape.weights
    yield 'attn_output.weight', (shape.n_head * length, shape.n_embd), shape.weights


def feed_forward(shape: Shape) -> Iterator[Tensor]:
    """Yield a gated feed-forward network."""
    yield 'ffn_norm.weight', (shape.n_embd,), 'F32'
    yield 'ffn_gate.weight', (shape.n_embd, shape.n_ff), shape.weights
    yield 'ffn_up.weight', (shape.n_embd, shape.n_ff), shape.weights
    yield 'ffn_down.weight', (shape.n_ff, shape.n_embd), shape.weights


def _dense(shape: Shape, number: int) -> Iterator[Tensor]:
    yield from attention(shape, number)
    yield from feed_forward(shape)


def _norms(length: int) -> Iterator[Tensor]:
    yield 'attn_q_norm.weight', (length,), 'F32'
    yield 'attn_k_norm.weight', (length,), 'F32'


def _gemma(shape: Shape, number: int) -> Iterator[Tensor]:
    yield from attention(shape, number, key_length=256)
    yield from _norms(256)
    yield from feed_forward(shape)
    yield 'post_attention_norm.weight', (shape.n_embd,), 'F32'
    yield 'post_ffw_norm.weight', (shape.n_embd,), 'F32'


def _experts(shape: Shape, number: int) -> Iterator[Tensor]:
    yield from attention(shape, number)
    yield from _norms(shape.n_embd // shape.n_head)
    yield 'ffn_norm.weight', (shape.n_embd,), 'F32'
    yield 'ffn_gate_inp.weight', (shape.n_embd, 32), 'F32'
    yield 'ffn_gate_exps.weight', (shape.n_embd, 256, 32), shape.weights
    yield 'ffn_up_exps.weight', (shape.n_embd, 256, 32), shape.weights
    yield 'ffn_down_exps.weight', (256, shape.n_embd, 32), shape.weights


def _with_biases(shape: Shape, number: int) -> Iterator[Tensor]:
    yield from _dense(shape, number)
    for letter, heads in (('q', shape.n_head), ('k', 2), ('v', 2)):
        yield f'attn_{letter}.bias', (heads * shape.n_embd // shape.n_head,), 'F32'


def _mixed(shape: Shape, number: int) -> Iterator[Tensor]:
    assert isinstance(shape.n_head_kv, tuple)
    if shape.n_head_kv[number]:
        yield from attention(shape, number)
        yield from _norms(shape.n_embd // shape.n_head)
    else:
        yield 'attn_norm.weight', (shape.n_embd,), 'F32'
        yield 'shortconv.conv.weight', (3, shape.n_embd), 'F32'
        yield 'shortconv.in_proj.weight', (shape.n_embd, 3 * shape.n_embd), shape.weights
        yield 'shortconv.out_proj.weight', (shape.n_embd, shape.n_embd), shape.weights
    yield from feed_forward(shape)


def _state_space(shape: Shape, number: int) -> Iterator[Tensor]:
    inner, rank, state = 2 * shape.n_embd, 32, 16
    yield 'attn_norm.weight', (shape.n_embd,), 'F32'
    yield 'ssm_in.weight', (shape.n_embd, 2 * inner), shape.weights
    yield 'ssm_conv1d.weight', (4, inner), 'F32'
    yield 'ssm_conv1d.bias', (inner,), 'F32'
    yield 'ssm_x.weight', (inner, rank + 2 * state), shape.weights
    yield 'ssm_dt.weight', (rank, inner), shape.weights
    yield 'ssm_dt.bias', (inner,), 'F32'
    yield 'ssm_a', (state, inner), 'F32'
    yield 'ssm_d', (inner,), 'F32'
    yield 'ssm_out.weight', (inner, shape.n_embd), shape.weights


SHAPES = (
    Shape(name='plain', facts={'rope.dimension_count': 64}, layer=_dense),
    Shape(name='gqa', n_embd=768, n_head=12, n_head_kv=2, n_ff=2048, facts={'rope.dimension_count': 64}, layer=_dense),
    Shape(
        name='sliding-window', architecture='gemma3', n_layer=12, n_embd=640, n_head=4, n_head_kv=1, n_ff=2048,
        facts={'attention.key_length': 256, 'attention.value_length': 256, 'attention.sliding_window': 512},
        layer=_gemma, own_output=False,
    ),
    Shape(
        name='experts', architecture='qwen3moe', n_layer=6, n_head_kv=2,
        facts={'expert_count': 32, 'expert_used_count': 4, 'expert_feed_forward_length': 256}, layer=_experts,
    ),
    Shape(
        name='large-vocabulary', architecture='qwen2', n_vocab=151_936, n_head_kv=2, facts={},
        layer=_with_biases, own_output=False,
    ),
    Shape(
        name='hybrid', architecture='lfm2', n_layer=12, n_head_kv=tuple(8 * (number % 3 == 2) for number in range(12)),
        facts={'shortconv.l_cache': 3}, layer=_mixed, own_output=False,
    ),
    Shape(
        name='recurrent', architecture='mamba', n_head=0, n_head_kv=0, n_ff=0, layer=_state_space,
        facts={'ssm.conv_kernel': 4, 'ssm.inner_size': 1024, 'ssm.state_size': 16, 'ssm.time_step_rank': 32},
    ),
)  # fmt: skip


def _typed(value: Value) -> bytes:
    match value:
        case bool():
            return struct.pack('<I?', _BOOL, value)
        case int():
            return struct.pack('<II', _U32, value)
        case float():
            return struct.pack('<If', _F32, value)
        case str():
            return struct.pack('<I', _STRING) + _text(value)
        case _:
            return struct.pack('<I', _ARRAY) + _listed(value)


def _listed(values: Sequence[bool] | Sequence[int] | Sequence[float] | Sequence[str]) -> bytes:
    match values[0]:
        case bool():
            return struct.pack(f'<IQ{len(values)}?', _BOOL, len(values), *values)
        case int():
            return struct.pack(f'<IQ{len(values)}i', _I32, len(values), *values)
        case float():
            return struct.pack(f'<IQ{len(values)}f', _F32, len(values), *values)
        case str():
            return struct.pack('<IQ', _STRING, len(values)) + b''.join(map(_text, map(str, values)))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack('<Q', len(data)) + data


def _n_bytes(dims: Sequence[int], kind: str) -> int:
    _, block, n_bytes = TENSOR_TYPES[_NUMBERS[kind]]
    count = 1
    for length in dims:
        count *= length
    return count // block * n_bytes


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
