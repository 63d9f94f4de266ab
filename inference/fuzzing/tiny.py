"""Tiny models of several architectures, made from nothing: they load in milliseconds and babble random words.

Tokenizers, experts, windows and states differ, since each has code of its own in llama.cpp.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from inference.fuzzing.gguf_file import (
    ARRAY,
    BOOL,
    FLOAT32,
    INT32,
    STRING,
    UINT32,
    Entry,
    GGUFFile,
    Tensor,
    array,
    number,
    text,
)
from inference.template import CHATML

N_EMBD, N_HEAD, N_HEAD_KV, N_FF, N_LAYER, N_EXPERT = 32, 4, 2, 48, 2, 4
HEAD = N_EMBD // N_HEAD
INNER, D_CONV, D_STATE, DT_RANK = 2 * N_EMBD, 4, 8, 4
WORDS = (
    'hello', 'the', 'cat', 'sees', 'a', 'dog', 'and', 'my', 'bird', 'quietly', 'likes', 'your', 'world', 'but', 'one',
    'fish', 'hears', 'it', 'again',
)  # fmt: skip
SPECIAL = (
    b'<unk>', b'<s>', b'</s>', b'<|im_start|>', b'<|im_end|>', b'<think>', b'</think>', b'<tool_call>', b'</tool_call>',
)  # fmt: skip
N_VOCAB = len(SPECIAL) + 256 + len(WORDS)
EOS = SPECIAL.index(b'<|im_end|>')
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""llama.cpp's kinds of tokens."""

Shapes = dict[str, tuple[int, ...]]
"""Tensors by name, the length of a row first."""


def llama() -> GGUFFile:
    """The common case: grouped-query attention, a SentencePiece vocabulary."""
    return _model('llama', _sentencepiece(), _attention_keys('llama'), _attention() | _feed_forward())


def llama_bpe() -> GGUFFile:
    """The same with a byte-pair vocabulary, as most models have."""
    return _model('llama', _byte_pairs(), _attention_keys('llama'), _attention() | _feed_forward())


def experts() -> GGUFFile:
    """A mixture of experts."""
    keys = [*_attention_keys('llama'), _count('llama.expert_count', N_EXPERT), _count('llama.expert_used_count', 2)]
    shapes: Shapes = {
        'ffn_norm.weight': (N_EMBD,),
        'ffn_gate_inp.weight': (N_EMBD, N_EXPERT),
        'ffn_gate_exps.weight': (N_EMBD, N_FF, N_EXPERT),
        'ffn_up_exps.weight': (N_EMBD, N_FF, N_EXPERT),
        'ffn_down_exps.weight': (N_FF, N_EMBD, N_EXPERT),
    }
    return _model('llama', _sentencepiece(), keys, _attention() | shapes)


def sliding() -> GGUFFile:
    """Attention that looks back a few tokens in three layers of four."""
    keys = [
        *_attention_keys('cohere2', epsilon='attention.layer_norm_epsilon'),
        _count('cohere2.attention.sliding_window', 16),
        _float('cohere2.logit_scale', 1.0),
    ]
    shapes = _attention() | _feed_forward()
    del shapes['ffn_norm.weight']
    return _model('cohere2', _sentencepiece(), keys, shapes, n_layer=4, has_output=False)


def recurrent() -> GGUFFile:
    """A state instead of attention."""
    keys = [
        _count('mamba.ssm.conv_kernel', D_CONV),
        _count('mamba.ssm.inner_size', INNER),
        _count('mamba.ssm.state_size', D_STATE),
        _count('mamba.ssm.time_step_rank', DT_RANK),
        _float('mamba.attention.layer_norm_rms_epsilon', 1e-5),
    ]
    shapes: Shapes = {
        'attn_norm.weight': (N_EMBD,),
        'ssm_in.weight': (N_EMBD, 2 * INNER),
        'ssm_conv1d.weight': (D_CONV, INNER),
        'ssm_conv1d.bias': (INNER,),
        'ssm_x.weight': (INNER, DT_RANK + 2 * D_STATE),
        'ssm_dt.weight': (DT_RANK, INNER),
        'ssm_dt.bias': (INNER,),
        'ssm_a': (D_STATE, INNER),
        'ssm_d': (INNER,),
        'ssm_out.weight': (INNER, N_EMBD),
    }
    return _model('mamba', _sentencepiece(), keys, shapes)


MODELS: Mapping[str, Callable[[], GGUFFile]] = MappingProxyType(
    {'llama': llama, 'bpe': llama_bpe, 'experts': experts, 'sliding': sliding, 'recurrent': recurrent}
)


def _model(
    architecture: str,
    tokenizer: list[Entry],
    keys: list[Entry],
    layer: Shapes,
    *,
    n_layer: int = N_LAYER,
    has_output: bool = True,
) -> GGUFFile:
    n_vocab = _n_tokens(tokenizer)
    entries = [
        _text('general.architecture', architecture),
        _text('general.name', f'Tiny {architecture}'),
        _count('general.file_type', 0),
        _count(f'{architecture}.context_length', 8192),
        _count(f'{architecture}.embedding_length', N_EMBD),
        _count(f'{architecture}.block_count', n_layer),
        _count(f'{architecture}.feed_forward_length', N_FF),
        _count(f'{architecture}.vocab_size', n_vocab),
        *keys,
        *tokenizer,
    ]
    shapes: Shapes = {'token_embd.weight': (N_EMBD, n_vocab), 'output_norm.weight': (N_EMBD,)}
    shapes |= {f'blk.{number}.{name}': shape for number in range(n_layer) for name, shape in layer.items()}
    shapes |= {'output.weight': (N_EMBD, n_vocab)} if has_output else {}
    file = GGUFFile(entries, [Tensor(name.encode(), [*shape], kind=0) for name, shape in shapes.items()])
    file.lay_out()
    file.data, file.hole = _weights(file), 0
    return file


def _weights(file: GGUFFile) -> bytes:
    """Norms of 1 and random matrices; the ends of texts get small ones, so that replies are long."""
    random = np.random.default_rng(0)
    data = np.zeros(file.hole // 4, np.float32)
    for tensor in file.tensors:
        start, size = tensor.offset // 4, tensor.n_bytes // 4
        is_norm = b'norm' in tensor.name
        data[start : start + size] = 1 if is_norm else random.standard_normal(size, dtype=np.float32) * 0.3
        if tensor.name == b'ssm_a' or tensor.name.endswith(b'.ssm_a'):
            data[start : start + size] = -np.abs(data[start : start + size]) - 0.01
        if tensor.name in (b'output.weight', b'token_embd.weight'):
            data[start : start + N_EMBD * len(SPECIAL)] *= 0.01
    return data.tobytes()


def _attention_keys(architecture: str, epsilon: str = 'attention.layer_norm_rms_epsilon') -> list[Entry]:
    return [
        _count(f'{architecture}.attention.head_count', N_HEAD),
        _count(f'{architecture}.attention.head_count_kv', N_HEAD_KV),
        _count(f'{architecture}.rope.dimension_count', HEAD),
        _float(f'{architecture}.rope.freq_base', 10_000.0),
        _float(f'{architecture}.{epsilon}', 1e-5),
    ]


def _attention() -> Shapes:
    return {
        'attn_norm.weight': (N_EMBD,),
        'attn_q.weight': (N_EMBD, N_EMBD),
        'attn_k.weight': (N_EMBD, HEAD * N_HEAD_KV),
        'attn_v.weight': (N_EMBD, HEAD * N_HEAD_KV),
        'attn_output.weight': (N_EMBD, N_EMBD),
    }


def _feed_forward() -> Shapes:
    return {
        'ffn_norm.weight': (N_EMBD,),
        'ffn_gate.weight': (N_EMBD, N_FF),
        'ffn_up.weight': (N_EMBD, N_FF),
        'ffn_down.weight': (N_FF, N_EMBD),
    }


def _sentencepiece() -> list[Entry]:
    every_byte = [b'<0x%02X>' % byte for byte in range(256)]
    words = [f'▁{word}'.encode() for word in WORDS]
    kinds = [UNKNOWN, *[CONTROL] * (len(SPECIAL) - 1), *[BYTE] * 256, *[NORMAL] * len(words)]
    scores = [number(FLOAT32, -place) for place in range(len(kinds))]
    return [
        *_tokenizer('llama', [*SPECIAL, *every_byte, *words], kinds),
        Entry(b'tokenizer.ggml.scores', ARRAY, array(FLOAT32, scores)),
        Entry(b'tokenizer.ggml.add_space_prefix', BOOL, b'\0'),
    ]


def _byte_pairs() -> list[Entry]:
    every_byte = [letter.encode() for letter in _letters()]
    words = [f'Ġ{word}'.encode() for word in WORDS]
    kinds = [*[CONTROL] * len(SPECIAL), *[NORMAL] * (256 + len(words))]
    merges = [f'Ġ {word}'.encode() for word in WORDS if len(word) == 1] + [b'\xc4\xa0 h', b'h e', b'l l']
    return [
        *_tokenizer('gpt2', [*SPECIAL, *every_byte, *words], kinds),
        _text('tokenizer.ggml.pre', 'smollm'),
        Entry(b'tokenizer.ggml.merges', ARRAY, array(STRING, [text(merge) for merge in merges])),
    ]


def _letters() -> list[str]:
    """Return the letters that stand for the 256 bytes in a byte-pair vocabulary, as GPT-2 began to."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


def _tokenizer(model: str, tokens: list[bytes], kinds: list[int]) -> list[Entry]:
    return [
        _text('tokenizer.ggml.model', model),
        Entry(b'tokenizer.ggml.tokens', ARRAY, array(STRING, [text(token) for token in tokens])),
        Entry(b'tokenizer.ggml.token_type', ARRAY, array(INT32, [number(INT32, kind) for kind in kinds])),
        _count('tokenizer.ggml.bos_token_id', 1),
        _count('tokenizer.ggml.eos_token_id', EOS),
        _count('tokenizer.ggml.unknown_token_id', 0),
        Entry(b'tokenizer.ggml.add_bos_token', BOOL, b'\1'),
        _text('tokenizer.chat_template', CHATML),
    ]


def _n_tokens(tokenizer: list[Entry]) -> int:
    (payload,) = (entry.payload for entry in tokenizer if entry.key == b'tokenizer.ggml.tokens')
    return int.from_bytes(payload[4:12], 'little')


def _text(key: str, value: str) -> Entry:
    return Entry(key.encode(), STRING, text(value.encode()))


def _count(key: str, value: int) -> Entry:
    return Entry(key.encode(), UINT32, number(UINT32, value))


def _float(key: str, value: float) -> Entry:
    return Entry(key.encode(), FLOAT32, number(FLOAT32, value))
