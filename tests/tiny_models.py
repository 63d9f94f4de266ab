"""Makes real but tiny model files: llama architecture, seeded weights, a tokenizer that takes any text.

They load in llama.cpp in a few milliseconds. Each word of a sentence makes the next one likely, so a reply to a
ChatML prompt is that sentence, more or less, and ends after its last word; an endless model starts over. What a
babbling model says depends on every word before.
Equal arguments give equal files.
The second half makes the damaged and unsuitable files people run into.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from inference.template import CHATML

Tensor = np.ndarray[Any, np.dtype[np.floating[Any]]]
DType = type[np.floating[Any]]

SENTENCE = ' hello , the cat sees a dog and my bird quietly likes your world but one fish hears it again .'
EOS, NEWLINE, FIRST_WORD = 4, 15, 261
N_EMBD, N_HEAD, N_HEAD_KV, N_FF = 64, 4, 2, 96


def write_tiny_model(
    path: Path,
    *,
    template: str | None = CHATML,
    architecture: str = 'llama',
    name: str = 'Tiny',
    n_layer: int = 2,
    n_ctx_train: int = 512,
    sentence: str = SENTENCE,
    endless: bool = False,
    babbles: bool = False,
    dtype: DType = np.float32,
    seed: int = 0,
    tokenizer: bool = True,
    tensors: bool = True,
    tied: bool = False,
    **overrides: Any,
) -> Path:
    """Write a model to `path`; `overrides` are more key-values, dots written as double underscores.

    A `tied` one writes with the weights it reads with, and says nothing sensible.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if dtype is np.float32 else gguf.LlamaFileType.MOSTLY_F16)
    tokens = tokens_of(sentence)
    _add_shape(writer, n_layer=n_layer, n_ctx_train=n_ctx_train, n_vocab=len(tokens))
    if tokenizer:
        add_tokenizer(writer, tokens)
    if template is not None:
        writer.add_chat_template(template)
    for key, value in overrides.items():
        add_value(writer, key.replace('__', '.'), value)
    if tensors:
        weights = _tensors(n_layer, len(tokens), seed=seed, endless=endless, babbles=babbles)
        add_tensors(writer, {name: weights[name] for name in weights if not (tied and name == 'output.weight')}, dtype)
    return write_out(writer, path)


def write_truncated(path: Path, *, missing: int = 1000) -> Path:
    """Write a model whose last `missing` bytes did not arrive."""
    write_tiny_model(path)
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size - missing)
    return path


def write_lying_header(path: Path, *, n_tensors: int = 1, n_keys: int = 1 << 40) -> Path:
    """Write a header that announces far more than the file holds."""
    path.write_bytes(b'GGUF' + struct.pack('<IQQ', 3, n_tensors, n_keys) + bytes(4096))
    return path


def write_lying_vocabulary(path: Path, *, count: int = 1 << 50) -> Path:
    """Write a model file whose only value is a vocabulary of `count` entries that are not there."""
    key = b'tokenizer.ggml.tokens'
    start = b'GGUF' + struct.pack('<IQQ', 3, 0, 1) + struct.pack('<Q', len(key)) + key
    path.write_bytes(start + struct.pack('<IIQ', 9, 8, count) + bytes(4096))
    return path


def write_unknown_architecture(path: Path) -> Path:
    """Write a sound file of an architecture that llama.cpp has never heard of."""
    return write_tiny_model(path, architecture='dreamformer')


def write_vocabulary_only(path: Path) -> Path:
    """Write a file with a tokenizer and no tensors."""
    return write_tiny_model(path, tensors=False)


def write_broken_template(path: Path) -> Path:
    """Write a model that works, with a chat template that does not compile."""
    return write_tiny_model(path, template='{% for message in messages %}{{ message')


def write_projector(path: Path) -> Path:
    """Write an image projector, as it lies beside a model that can see."""
    return write_tiny_model(path, architecture='clip', tokenizer=False, template=None, general__type='mmproj')


def write_adapter(path: Path) -> Path:
    """Write a LoRA adapter."""
    return write_tiny_model(path, tokenizer=False, template=None, general__type='adapter')


def write_tiny_lora(
    path: Path,
    *,
    word: int = FIRST_WORD,
    follower: int = FIRST_WORD + 5,
    seed: int = 0,
    architecture: str = 'llama',
    drop: str = '',
    extra: dict[str, Tensor] | None = None,
    **overrides: Any,
) -> Path:
    """Write a LoRA for the tiny model of that seed: after `word` it says `follower` instead of the next word.

    `drop` leaves tensors out whose names begin so, `extra` adds or replaces some.
    """
    n_vocab = len(tokens_of(SENTENCE))
    embedding = random_weights(np.random.default_rng(seed), n_vocab, N_EMBD)
    says = np.zeros((n_vocab, 1), np.float32)
    says[follower] = 4
    tensors = {'output.weight.lora_a': embedding[word : word + 1], 'output.weight.lora_b': says} | (extra or {})
    writer = gguf.GGUFWriter(path, architecture)
    values = {'general.type': 'adapter', 'adapter.type': 'lora', 'adapter.lora.alpha': 1.0}
    for key, value in (values | {key.replace('__', '.'): value for key, value in overrides.items()}).items():
        add_value(writer, key, value)
    for name, tensor in tensors.items():
        if not (drop and name.startswith(drop)):
            writer.add_tensor(name, tensor)
    return write_out(writer, path)


def write_not_gguf(path: Path, content: bytes = b'<!DOCTYPE html><title>Sign in</title>') -> Path:
    """Write something else under a model's name, such as the page a failed download leaves."""
    path.write_bytes(content)
    return path


def write_split_model(folder: Path, *, stem: str = 'split', parts: int = 3) -> tuple[Path, ...]:
    """Write one model as several files, the way llama.cpp splits them; the first part has no tensors."""
    paths = tuple(folder / f'{stem}-{number:05}-of-{parts:05}.gguf' for number in range(1, parts + 1))
    tensors = list(_tensors(2, len(tokens_of(SENTENCE)), seed=0, endless=False).items())
    facts: dict[str, Any] = {'split.count': np.uint16(parts), 'split.tensors.count': np.int32(len(tensors))}
    write_tiny_model(paths[0], tensors=False, **(facts | {'split.no': np.uint16(0)}))
    for number, path in enumerate(paths[1:], start=1):
        writer = gguf.GGUFWriter(path, 'llama')
        for key, value in (facts | {'split.no': np.uint16(number)}).items():
            add_value(writer, key, value)
        add_tensors(writer, dict(tensors[number - 1 :: parts - 1]), np.float32)
        write_out(writer, path)
    return paths


def write_out(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: gguf.GGUFWriter, *, n_layer: int, n_ctx_train: int, n_vocab: int) -> None:
    writer.add_context_length(n_ctx_train)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD_KV)
    writer.add_rope_dimension_count(N_EMBD // N_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(n_vocab)


def tokens_of(sentence: str) -> list[tuple[str, gguf.TokenType]]:
    """Return texts and kinds: the special ones, every byte, then the words in their order."""
    kinds = gguf.TokenType
    special = [('<unk>', kinds.UNKNOWN), ('<s>', kinds.CONTROL), ('</s>', kinds.CONTROL)]
    special += [('<|im_start|>', kinds.CONTROL), ('<|im_end|>', kinds.CONTROL)]
    every_byte = [(f'<0x{byte:02X}>', kinds.BYTE) for byte in range(256)]
    words = dict.fromkeys(word if word in '.,' else f'▁{word}' for word in sentence.split())
    return special + every_byte + [(word, kinds.NORMAL) for word in words]


def add_tokenizer(writer: gguf.GGUFWriter, tokens: Sequence[tuple[str, gguf.TokenType]]) -> None:
    writer.add_tokenizer_model('llama')
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(4)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def add_value(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """Add a value under the type a converter would choose; it replaces one that is there."""
    for values in writer.kv_data:
        values.pop(key, None)
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case np.generic():
            writer.add_key_value(key, value.item(), gguf.GGUFValueType[value.dtype.name.upper()])
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, list(value))


def add_tensors(writer: gguf.GGUFWriter, tensors: dict[str, Tensor], dtype: DType) -> None:
    for name, values in tensors.items():
        writer.add_tensor(name, values if values.ndim == 1 else values.astype(dtype))


def _tensors(n_layer: int, n_vocab: int, *, seed: int, endless: bool, babbles: bool = False) -> dict[str, Tensor]:
    random = np.random.default_rng(seed)
    embedding = random_weights(random, n_vocab, N_EMBD)
    output = np.zeros_like(embedding)
    output[FIRST_WORD + 1 :] = embedding[FIRST_WORD:-1]  # the one most like the word before
    output[FIRST_WORD] = embedding[NEWLINE]  # the end of a ChatML prompt
    output[FIRST_WORD if endless else EOS] += embedding[-1]
    if babbles:
        output[FIRST_WORD:] = random_weights(random, n_vocab - FIRST_WORD, N_EMBD)
        output[:FIRST_WORD] = 0
    tensors = {'token_embd.weight': embedding, 'output_norm.weight': np.ones(N_EMBD, np.float32)}
    for number in range(n_layer):
        tensors |= _layer(number, random, 1 if babbles else 8)
    return tensors | {'output.weight': output}


def _layer(number: int, random: np.random.Generator, damping: int) -> dict[str, Tensor]:
    n_kv = N_EMBD // N_HEAD * N_HEAD_KV
    tensors = {
        'attn_norm': np.ones(N_EMBD, np.float32),
        'attn_q': random_weights(random, N_EMBD, N_EMBD),
        'attn_k': random_weights(random, n_kv, N_EMBD),
        'attn_v': random_weights(random, n_kv, N_EMBD),
        'attn_output': random_weights(random, N_EMBD, N_EMBD) / damping,  # keeps the layers from drowning the embedding
        'ffn_norm': np.ones(N_EMBD, np.float32),
        'ffn_gate': random_weights(random, N_FF, N_EMBD),
        'ffn_up': random_weights(random, N_FF, N_EMBD),
        'ffn_down': random_weights(random, N_EMBD, N_FF) / damping,
    }
    return {f'blk.{number}.{name}.weight': values for name, values in tensors.items()}


def random_weights(random: np.random.Generator, *shape: int) -> Tensor:
    return random.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
