"""Damages model files: bytes that flipped, and headers that are well written and say absurd things."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType

from inference.fuzzing.gguf_file import (
    ARRAY,
    BOOL,
    FLOAT32,
    INT32,
    NUMBERS,
    STRING,
    UINT32,
    Entry,
    GGUFFile,
    Tensor,
    array,
    items_of,
    number,
    text,
    write_sparse,
)
from inference.gguf_reader import TENSOR_TYPES

LENGTHS = (
    0, 1, 2, 3, 5, 7, 8, 16, 31, 32, 33, 63, 64, 127, 128, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 4096, 32_767,
    32_768, 65_535, 65_536, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 62) - 1, 1 << 62,
    (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-8, 1e8, 3.4e38, -3.4e38, float('nan'), float('inf'), float('-inf'))
INTEGERS = (0, 1, 2, 3, 4, 5, 10, 11)
KEYS = (
    'context_length', 'embedding_length', 'block_count', 'feed_forward_length', 'vocab_size', 'expert_count',
    'expert_used_count', 'expert_group_count', 'expert_group_used_count', 'expert_feed_forward_length',
    'expert_shared_count', 'leading_dense_block_count', 'nextn_predict_layers', 'embedding_length_out', 'pooling_type',
    'attention.head_count', 'attention.head_count_kv', 'attention.key_length', 'attention.value_length',
    'attention.key_length_swa', 'attention.value_length_swa', 'attention.sliding_window',
    'attention.sliding_window_pattern', 'attention.shared_kv_layers', 'attention.group_norm_groups',
    'rope.dimension_count', 'rope.dimension_count_swa', 'rope.dimension_sections',
    'rope.scaling.original_context_length', 'ssm.conv_kernel', 'ssm.inner_size', 'ssm.state_size',
    'ssm.time_step_rank', 'ssm.group_count', 'full_attention_interval', 'decoder_block_count',
)  # fmt: skip
FLOAT_KEYS = (
    'rope.freq_base', 'rope.freq_base_swa', 'rope.scaling.factor', 'rope.scaling.attn_factor', 'rope.scale_linear',
    'attention.layer_norm_rms_epsilon', 'attention.layer_norm_epsilon', 'attention.scale', 'logit_scale',
    'embedding_scale', 'residual_scale', 'attn_logit_softcapping', 'final_logit_softcapping', 'attention.clamp_kqv',
    'attention.max_alibi_bias',
)  # fmt: skip
TEXTS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    'general.architecture': (
        'llama', 'llama4', 'falcon', 'gpt2', 'gptneox', 'bert', 'qwen2', 'qwen3', 'qwen3moe', 'qwen2vl', 'phi3',
        'gemma', 'gemma2', 'gemma3', 'gemma3n', 'mamba', 'mamba2', 'jamba', 'command-r', 'cohere2', 'deepseek2', 'glm4',
        't5', 't5encoder', 'rwkv6', 'rwkv7', 'granite', 'granitehybrid', 'exaone4', 'lfm2', 'gpt-oss', 'smollm3',
        'clip', 'wavtokenizer-dec', 'minicpm', 'olmo2', 'starcoder2', 'stablelm', 'mpt', 'bloom', 'nomic-bert', 'odd',
    ),
    'tokenizer.ggml.model': (
        'llama', 'gpt2', 'bert', 't5', 'rwkv', 'plamo2', 'gemma4', 'none', 'no_vocab', 'test', 'whitespace', 'replit',
        'hybriddna', 'odd',
    ),
    'tokenizer.ggml.pre': ('default', 'llama-bpe', 'qwen2', 'deepseek-v3', 'gpt-2', 'smollm', 'kimi-k2', 'odd'),
    'rope.scaling.type': ('none', 'linear', 'yarn', 'longrope', 'odd', ''),
    'general.type': ('model', 'adapter', 'mmproj', 'imatrix', 'odd'),
    'tokenizer.chat_template': ('{{', '{% for x in range(9**9) %}x{% endfor %}', '{{ messages }}', '{%- if %}', ''),
})  # fmt: skip
MOST_TEXT = 300
ELEMENTS_LEFT_ALONE = 2000
"""A longer array is changed as a whole only: taking it apart takes too long to do it thousands of times."""

Change = Callable[[Random, GGUFFile], str]


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """The bytes of a file that ends with a hole; `changes` tell what was done to the sound one named `base`."""

    base: str
    changes: tuple[str, ...]
    content: bytes
    hole: int

    def write(self, path: Path) -> Path:
        """Write it to disk."""
        return write_sparse(path, self.content, self.hole)


def damage(dice: Random, base: str, sound: GGUFFile) -> DamagedFile:
    """Return a damaged copy: mostly of sound form with absurd contents, else with broken bytes, or both."""
    file, changes = sound.copy(), [f'of {base}']
    on_parts, on_bytes = dice.choices(((True, False), (False, True), (True, True)), (8, 3, 1))[0]
    chosen = dice.choices(list(CHANGES), list(CHANGES.values()), k=dice.choice((1, 1, 1, 2, 3)) if on_parts else 0)
    changes += [change(dice, file) for change in chosen]
    if on_parts and dice.random() < 0.8:
        file.lay_out()
    header, data, hole = file.header(), file.data, file.hole
    for _ in range(dice.choice((1, 1, 2, 8)) if on_bytes else 0):
        change, header = dice.choice(BYTE_CHANGES)(dice, header)
        changes.append(change)
    if dice.random() < 0.05:
        changes.append('cut')
        header, data, hole = header[: dice.randrange(len(header))], b'', 0
    return DamagedFile(base, tuple(changes), header + data, hole)


# Changes of the parts of a file


def _absurd_number(dice: Random, file: GGUFFile) -> str:
    entry = dice.choice([entry for entry in file.entries if entry.kind in NUMBERS])
    entry.payload = number(entry.kind, _odd_value(dice, entry.kind, entry.payload))
    return f'{_shown(entry.key)} = {_value(entry)}'


def _other_hyperparameter(dice: Random, file: GGUFFile) -> str:
    """Set a number the architecture may know, often one that is not there, often of the right kind."""
    if dice.random() < 0.3:
        return _put(file, _key(file, dice.choice(FLOAT_KEYS)), FLOAT32, number(FLOAT32, dice.choice(FLOATS)))
    key = _key(file, dice.choice(KEYS))
    known = file.find(key)
    kind = dice.choice((UINT32, UINT32, UINT32, *INTEGERS, BOOL))
    value = _odd_value(dice, kind, known.payload if known else b'\4')
    return _put(file, key, kind, number(kind, value))


def _number_per_layer(dice: Random, file: GGUFFile) -> str:
    kind = dice.choice((UINT32, INT32, BOOL, FLOAT32))
    count = dice.choice((0, 1, 2, 2, 4, 30, 512, 513))
    values = [number(kind, dice.choice((0, 1, 2, 3, 4, 4, 7, 64, dice.choice(LENGTHS)))) for _ in range(count)]
    if kind == FLOAT32:
        values = [number(kind, dice.choice(FLOATS)) for _ in range(count)]
    return _put(file, _key(file, dice.choice(KEYS)), ARRAY, array(kind, values))


def _other_text(dice: Random, file: GGUFFile) -> str:
    key = dice.choice(list(TEXTS))
    value = dice.choice(TEXTS[key]).encode() if dice.random() < 0.8 else _noise(dice)
    if key == 'general.architecture' and dice.random() < 0.8:
        return _other_architecture(file, value)
    full = _key(file, key) if key.startswith('rope.') else key.encode()
    return _put(file, full, STRING, text(value))


def _special_token(dice: Random, file: GGUFFile) -> str:
    names = ('bos', 'eos', 'eot', 'eom', 'unknown', 'seperator', 'padding', 'mask', 'fim_pre')
    key = f'tokenizer.ggml.{dice.choice(names)}_token_id'.encode()
    return _put(file, key, UINT32, number(UINT32, dice.choice((0, 1, 3, 255, 275, 276, 277, dice.choice(LENGTHS)))))


def _other_kind(dice: Random, file: GGUFFile) -> str:
    """Say another type for the same bytes, or write the value as that type."""
    entry = dice.choice(file.entries)
    kind = dice.choice((*NUMBERS, STRING, ARRAY, 13, 255, 1 << 31))
    if kind in NUMBERS and dice.random() < 0.7:
        entry.payload = number(kind, _odd_value(dice, kind, entry.payload))
    elif kind == STRING and dice.random() < 0.7:
        entry.payload = text(_noise(dice))
    elif kind == ARRAY and dice.random() < 0.7:
        entry.payload = array(UINT32, [number(UINT32, 1)] * dice.choice((0, 1, 2, 99)))
    entry.kind = kind
    return f'{_shown(entry.key)} of kind {kind}'


def _entry_gone(dice: Random, file: GGUFFile) -> str:
    return f'without {_shown(file.entries.pop(dice.randrange(len(file.entries))).key)}'


def _entry_twice(dice: Random, file: GGUFFile) -> str:
    entry = dice.choice(file.entries)
    file.entries.insert(dice.randrange(len(file.entries)), Entry(entry.key, entry.kind, entry.payload))
    return f'{_shown(entry.key)} twice'


def _entry_renamed(dice: Random, file: GGUFFile) -> str:
    entry, other = dice.choice(file.entries), dice.choice(file.entries)
    old, entry.key = entry.key, dice.choice((b'', other.key, entry.key + b'x', _noise(dice), b'k' * 70_000))
    return f'{_shown(old)} named {_shown(entry.key)}'


def _entries_swapped(dice: Random, file: GGUFFile) -> str:
    a, b = dice.choice(file.entries), dice.choice(file.entries)
    a.kind, a.payload, b.kind, b.payload = b.kind, b.payload, a.kind, a.payload
    return f'{_shown(a.key)} and {_shown(b.key)} swapped'


def _array_changed(dice: Random, file: GGUFFile) -> str:
    arrays = [entry for entry in file.entries if entry.kind == ARRAY]
    if not arrays:
        return 'no array to change'
    entry = dice.choice(arrays)
    count = int.from_bytes(entry.payload[4:12], 'little')
    if count > ELEMENTS_LEFT_ALONE or dice.random() < 0.3:
        lie = dice.choice((0, 1, count - 1, count + 1, count * 2, dice.choice(LENGTHS)))
        entry.payload = entry.payload[:4] + number(10, lie) + entry.payload[12:]
        return f'{_shown(entry.key)} said to have {lie} entries'
    try:
        kind, items = items_of(entry.payload)
    except Exception:  # an earlier change broke it
        return f'{_shown(entry.key)} was broken before'
    return f'{_shown(entry.key)} {_items_changed(dice, entry, kind, items)}'


def _items_changed(dice: Random, entry: Entry, kind: int, items: list[bytes]) -> str:
    what = dice.choice(('shorter', 'longer', 'of one', 'odd', 'of another type'))
    place = dice.randrange(len(items)) if items else 0
    match what:
        case 'shorter':
            items = items[:place]
        case 'longer':
            items = items + items[:1] * dice.choice((1, 2, 1000))
        case 'of one':
            items[place:] = items[place : place + 1] * (len(items) - place)
        case 'odd':
            items[place : place + 1] = [text(_noise(dice)) if kind == STRING else number(kind, 255)]
        case _:
            kind = dice.choice(list(NUMBERS))
            items = [number(kind, 1)] * len(items)
    entry.payload = array(kind, items)
    return what


def _tensor_reshaped(dice: Random, file: GGUFFile) -> str:
    tensor = dice.choice(file.tensors)
    if not tensor.shape:
        tensor.shape = [1]
    place = dice.randrange(len(tensor.shape))
    length = tensor.shape[place]
    match dice.choice(('length', 'swap', 'more', 'fewer')):
        case 'length':
            tensor.shape[place] = dice.choice(
                (1, length + 1, max(0, length - 1), length * 2, length // 2, _length(dice))
            )
        case 'swap':
            tensor.shape.reverse()
        case 'more':
            tensor.shape += [dice.choice((0, 1, 1, 2, _length(dice)))] * dice.choice((1, 2, 3, 4))
        case _:
            del tensor.shape[place]
    tensor.shape = [min(length, (1 << 64) - 1) for length in tensor.shape]
    return f'{_shown(tensor.name)} of shape {tensor.shape}'


def _tensor_of_another_type(dice: Random, file: GGUFFile) -> str:
    tensor = dice.choice(file.tensors)
    tensor.kind = dice.choice((*TENSOR_TYPES, 4, 5, 31, 36, 43, 255, (1 << 32) - 1))
    return f'{_shown(tensor.name)} of type {tensor.kind}'


def _tensor_renamed(dice: Random, file: GGUFFile) -> str:
    tensor, other = dice.choice(file.tensors), dice.choice(file.tensors)
    old = tensor.name
    tensor.name = dice.choice((
        b'', other.name, old + b'x', old.replace(b'blk.0', b'blk.9'), old.replace(b'blk.1', b'blk.999999999999'),
        old.replace(b'weight', b'bias'), _noise(dice), old.ljust(63, b'x'), old.ljust(64, b'x'),
    ))  # fmt: skip
    return f'{_shown(old)} named {_shown(tensor.name)}'


def _tensor_gone(dice: Random, file: GGUFFile) -> str:
    return f'without {_shown(file.tensors.pop(dice.randrange(len(file.tensors))).name)}'


def _tensor_more(dice: Random, file: GGUFFile) -> str:
    name = dice.choice((
        b'rope_freqs.weight', b'blk.0.attn_q.bias', b'blk.0.attn_rot_embd', b'blk.0.ffn_gate_inp.weight', b'cls.weight',
        b'blk.0.attn_q.scale', b'output.bias', b'token_types.weight', b'position_embd.weight', b'odd',
    ))  # fmt: skip
    shape = [dice.choice((1, 4, 8, 32, 64, 576)) for _ in range(dice.choice((1, 1, 2, 3)))]
    file.tensors.append(Tensor(name, shape, dice.choice((0, 0, 0, 1, *TENSOR_TYPES))))
    return f'with {_shown(name)} of shape {shape}'


def _tensors_moved(dice: Random, file: GGUFFile) -> str:
    tensor, other = dice.choice(file.tensors), dice.choice(file.tensors)
    match dice.choice(('shuffled', 'overlapping', 'far', 'odd')):
        case 'shuffled':
            dice.shuffle(file.tensors)
            return 'tensors shuffled'
        case 'overlapping':
            tensor.offset = other.offset
        case 'far':
            tensor.offset = dice.choice(LENGTHS)
        case _:
            tensor.offset = (tensor.offset + dice.choice((-32, -1, 1, 4, 32))) & ((1 << 64) - 1)
    return f'{_shown(tensor.name)} at {tensor.offset}'


def _lying_counts(dice: Random, file: GGUFFile) -> str:
    n_tensors, n_entries = len(file.tensors), len(file.entries)
    odd = dice.choice((n_tensors - 1, n_tensors + 1, n_entries - 1, n_entries + 1, _length(dice)))
    match dice.choice(('tensors', 'values', 'version')):
        case 'tensors':
            file.counts = (max(0, odd), None)
        case 'values':
            file.counts = (None, max(0, odd))
        case _:
            file.version = dice.choice((0, 1, 2, 4, 3 << 24, (1 << 32) - 1))
    return f'counts {file.counts}, version {file.version}'


CHANGES: Mapping[Change, int] = MappingProxyType({
    _absurd_number: 6,
    _other_hyperparameter: 8,
    _number_per_layer: 2,
    _other_text: 5,
    _special_token: 2,
    _other_kind: 2,
    _entry_gone: 2,
    _entry_twice: 1,
    _entry_renamed: 1,
    _entries_swapped: 1,
    _array_changed: 4,
    _tensor_reshaped: 4,
    _tensor_of_another_type: 3,
    _tensor_renamed: 3,
    _tensor_gone: 2,
    _tensor_more: 2,
    _tensors_moved: 2,
    _lying_counts: 1,
})  # fmt: skip
"""With how often each is chosen."""


# Changes of the bytes of a header


def _bits_flipped(dice: Random, header: bytes) -> tuple[str, bytes]:
    content = bytearray(header)
    places = [dice.randrange(len(content)) for _ in range(dice.choice((1, 1, 4, 64)))]
    for place in places:
        content[place] ^= 1 << dice.randrange(8)
    return f'bits flipped at {places[:4]}', bytes(content)


def _number_written(dice: Random, header: bytes) -> tuple[str, bytes]:
    """Put a length or count where there may be one."""
    width = dice.choice((4, 8))
    place, value = dice.randrange(max(1, len(header) - width)), dice.choice(LENGTHS) & ((1 << 8 * width) - 1)
    written = value.to_bytes(width, 'little')
    return f'{value} written at {place}', header[:place] + written + header[place + width :]


def _bytes_spliced(dice: Random, header: bytes) -> tuple[str, bytes]:
    start, target, length = dice.randrange(len(header)), dice.randrange(len(header)), dice.choice((1, 3, 8, 64, 4096))
    piece, gone = header[start : start + length], dice.choice((0, length))
    spliced = header[:target] + piece + header[target + gone :]
    return f'{length} bytes from {start} spliced in at {target}', spliced


BYTE_CHANGES = (_bits_flipped, _number_written, _bytes_spliced)


# Helpers


def _other_architecture(file: GGUFFile, name: bytes) -> str:
    """Rename the architecture and all its keys, so that other code finds them."""
    old = _architecture(file)
    for entry in file.entries:
        if entry.key.startswith(old + b'.'):
            entry.key = name + entry.key[len(old) :]
    return _put(file, b'general.architecture', STRING, text(name))


def _architecture(file: GGUFFile) -> bytes:
    entry = file.find(b'general.architecture')
    return entry.payload[8:] if entry and entry.kind == STRING else b'llama'


def _key(file: GGUFFile, name: str) -> bytes:
    return _architecture(file) + b'.' + name.encode()


def _put(file: GGUFFile, key: bytes, kind: int, payload: bytes) -> str:
    entry = file.find(key)
    if entry:
        entry.kind, entry.payload = kind, payload
    else:
        file.entries.append(entry := Entry(key, kind, payload))
    return f'{_shown(key)} = {_value(entry)}'


def _odd_value(dice: Random, kind: int, payload: bytes) -> float:
    """Return a value at a boundary, or one near what is there, of which more than half must pass the simple checks."""
    if NUMBERS[kind].format[-1:] in 'fd':
        return dice.choice(FLOATS)
    known = int.from_bytes(payload[:4], 'little')
    return dice.choice((known + 1, max(0, known - 1), known * 2, known // 2, known * 3, 0, dice.choice(LENGTHS)))


def _length(dice: Random) -> int:
    return dice.choice(LENGTHS)


def _noise(dice: Random) -> bytes:
    return dice.randbytes(dice.choice((0, 1, 8, 64, MOST_TEXT)))


def _value(entry: Entry) -> str:
    if entry.kind in NUMBERS and len(entry.payload) == NUMBERS[entry.kind].size:
        return str(NUMBERS[entry.kind].unpack(entry.payload)[0])
    return repr(entry.payload[:60])


def _shown(name: bytes) -> str:
    return name[:80].decode('utf-8', 'backslashreplace')
