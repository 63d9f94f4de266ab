"""Tiny babbling models whose memory is not plain attention: recurrent, hybrid, and with a sliding window.

What they say depends on every word before, so a memory that is cut or restored wrongly shows in the text.
"""

from pathlib import Path

import gguf
import numpy as np

from inference.template import CHATML
from tests.tiny_models import (
    FIRST_WORD,
    N_EMBD,
    N_FF,
    N_HEAD,
    N_HEAD_KV,
    SENTENCE,
    Tensor,
    add_tensors,
    add_tokenizer,
    random_weights,
    tokens_of,
    write_out,
)

N_CTX_TRAIN = 8192
D_CONV, D_STATE, DT_RANK = 4, 8, 4
L_CACHE = 3
WINDOW = 32


def write_recurrent(path: Path, template: str = CHATML) -> Path:
    """Write a Mamba model: each sequence is one state that can only go forward."""
    writer = _writer(path, 'mamba', n_layer=2, template=template)
    writer.add_ssm_conv_kernel(D_CONV)
    writer.add_ssm_inner_size(2 * N_EMBD)
    writer.add_ssm_state_size(D_STATE)
    writer.add_ssm_time_step_rank(DT_RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    random = np.random.default_rng(1)
    tensors = _embedding(random) | {'output_norm.weight': _ones(N_EMBD)}
    for number in range(2):
        tensors |= _mamba_layer(f'blk.{number}', random)
    return _finish(writer, tensors, path)


def write_hybrid(path: Path, template: str = CHATML) -> Path:
    """Write an LFM2 model: a layer with a state, then one with attention."""
    writer = _writer(path, 'lfm2', n_layer=2, template=template)
    writer.add_shortconv_l_cache(L_CACHE)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_heads(writer, [0, N_HEAD_KV])
    random = np.random.default_rng(2)
    tensors = _embedding(random) | {'token_embd_norm.weight': _ones(N_EMBD)}
    tensors |= {
        'blk.0.shortconv.conv.weight': random_weights(random, N_EMBD, L_CACHE) * 10,
        'blk.0.shortconv.in_proj.weight': random_weights(random, 3 * N_EMBD, N_EMBD) * 2,
        'blk.0.shortconv.out_proj.weight': random_weights(random, N_EMBD, N_EMBD),
    }
    head = N_EMBD // N_HEAD
    tensors |= {'blk.1.attn_q_norm.weight': _ones(head), 'blk.1.attn_k_norm.weight': _ones(head)}
    tensors |= _attention('blk.1', random, strength=20)
    for number in range(2):
        tensors |= _feed_forward(f'blk.{number}', random) | {f'blk.{number}.ffn_norm.weight': _ones(N_EMBD)}
    return _finish(writer, tensors, path)


def write_sliding(path: Path, template: str = CHATML) -> Path:
    """Write a Cohere 2 model: three layers look back `WINDOW` tokens, the fourth at everything."""
    writer = _writer(path, 'cohere2', n_layer=4, template=template)
    writer.add_sliding_window(WINDOW)
    writer.add_logit_scale(1.0)
    writer.add_layer_norm_eps(1e-5)
    _add_heads(writer, N_HEAD_KV)
    random = np.random.default_rng(3)
    tensors = _embedding(random) | {'output_norm.weight': _ones(N_EMBD)}
    for number in range(4):
        tensors |= _attention(f'blk.{number}', random) | _feed_forward(f'blk.{number}', random)
    return _finish(writer, tensors, path)


def _writer(path: Path, architecture: str, *, n_layer: int, template: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(path.stem)
    writer.add_context_length(N_CTX_TRAIN)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(N_FF)
    writer.add_vocab_size(len(tokens_of(SENTENCE)))
    writer.add_chat_template(template)
    add_tokenizer(writer, tokens_of(SENTENCE))
    return writer


def _add_heads(writer: gguf.GGUFWriter, n_head_kv: int | list[int]) -> None:
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(n_head_kv)
    writer.add_rope_dimension_count(N_EMBD // N_HEAD)


def _embedding(random: np.random.Generator) -> dict[str, Tensor]:
    """The embedding is the output as well; small rows keep what is no word from being said."""
    rows = random_weights(random, len(tokens_of(SENTENCE)), N_EMBD) * 10
    rows[:FIRST_WORD] /= 100
    return {'token_embd.weight': rows}


def _mamba_layer(name: str, random: np.random.Generator) -> dict[str, Tensor]:
    inner = 2 * N_EMBD
    return {
        f'{name}.attn_norm.weight': _ones(N_EMBD),
        f'{name}.ssm_in.weight': random_weights(random, 2 * inner, N_EMBD) * 2,
        f'{name}.ssm_conv1d.weight': random_weights(random, inner, D_CONV) * 5,
        f'{name}.ssm_conv1d.bias': random_weights(random, inner),
        f'{name}.ssm_x.weight': random_weights(random, DT_RANK + 2 * D_STATE, inner) * 3,
        f'{name}.ssm_dt.weight': random_weights(random, inner, DT_RANK) * 5,
        f'{name}.ssm_dt.bias': random_weights(random, inner),
        f'{name}.ssm_a': -np.abs(random_weights(random, inner, D_STATE)) * 5 - np.float32(0.01),
        f'{name}.ssm_d': _ones(inner),
        f'{name}.ssm_out.weight': random_weights(random, N_EMBD, inner) * 3,
    }


def _attention(name: str, random: np.random.Generator, strength: float = 3) -> dict[str, Tensor]:
    n_kv = N_EMBD // N_HEAD * N_HEAD_KV
    return {
        f'{name}.attn_norm.weight': _ones(N_EMBD),
        f'{name}.attn_q.weight': random_weights(random, N_EMBD, N_EMBD) * 3,
        f'{name}.attn_k.weight': random_weights(random, n_kv, N_EMBD) * 3,
        f'{name}.attn_v.weight': random_weights(random, n_kv, N_EMBD) * np.float32(strength),
        f'{name}.attn_output.weight': random_weights(random, N_EMBD, N_EMBD) * 3,
    }


def _feed_forward(name: str, random: np.random.Generator) -> dict[str, Tensor]:
    return {
        f'{name}.attn_norm.weight': _ones(N_EMBD),
        f'{name}.ffn_gate.weight': random_weights(random, N_FF, N_EMBD),
        f'{name}.ffn_up.weight': random_weights(random, N_FF, N_EMBD),
        f'{name}.ffn_down.weight': random_weights(random, N_EMBD, N_FF),
    }


def _ones(size: int) -> Tensor:
    return np.ones(size, np.float32)


def _finish(writer: gguf.GGUFWriter, tensors: dict[str, Tensor], path: Path) -> Path:
    add_tensors(writer, tensors, np.float32)
    return write_out(writer, path)
