"""Tiny BERT models, which read but cannot write: one for vectors, one that ranks documents by how much is about cats.

Their vocabulary is WordPiece with a few words, and letters for all others.
"""

import string
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.tiny_models import N_FF, Tensor, add_tensors, add_value, random_weights, write_out

N_EMBD, N_HEAD, N_CTX_TRAIN = 32, 4, 128
CAT = 'cat'
WORDS = f'the a {CAT} dog bird fish sees hears likes my your hello world and is asleep'.split()
SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
LETTERS = string.ascii_lowercase + string.digits + string.punctuation


def write_encoder(
    path: Path,
    *,
    pooling: gguf.PoolingType | None = gguf.PoolingType.MEAN,
    n_layer: int = 2,
    n_ctx_train: int = N_CTX_TRAIN,
    **overrides: Any,
) -> Path:
    """Write a model for embeddings; `overrides` are more key-values, dots written as double underscores."""
    writer = _writer(path, pooling, n_layer=n_layer, n_ctx_train=n_ctx_train)
    for key, value in overrides.items():
        add_value(writer, key.replace('__', '.'), value)
    add_tensors(writer, _encoder(np.random.default_rng(4), n_layer, n_ctx_train), np.float32)
    return write_out(writer, path)


def write_reranker(path: Path, *, head: bool = True, **overrides: Any) -> Path:
    """Write a reranker whose first token sees all others alike, and whose head looks for cats among them."""
    writer = _writer(path, gguf.PoolingType.RANK, n_layer=1, n_ctx_train=N_CTX_TRAIN)
    for key, value in overrides.items():
        add_value(writer, key.replace('__', '.'), value)
    tensors = _encoder(np.random.default_rng(5), 1, N_CTX_TRAIN)
    identity = np.eye(N_EMBD, dtype=np.float32)
    tensors |= {f'blk.0.attn_{name}.weight': 0 * identity for name in ('q', 'k')}
    tensors |= {f'blk.0.attn_{name}.weight': 4 * identity for name in ('v', 'output')}
    tensors['position_embd.weight'] *= 0
    if head:
        cat = tensors['token_embd.weight'][len(SPECIAL) + WORDS.index(CAT)]
        tensors |= {'cls.weight': identity, 'cls.bias': _zeros(N_EMBD)}
        tensors |= {'cls.output.weight': cat[np.newaxis] / 8, 'cls.output.bias': _zeros(1)}
    add_tensors(writer, tensors, np.float32)
    return write_out(writer, path)


def _writer(path: Path, pooling: gguf.PoolingType | None, *, n_layer: int, n_ctx_train: int) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, 'bert')
    writer.add_name(path.stem)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(n_ctx_train)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    _add_tokenizer(writer)
    return writer


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokens = _tokens()
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    kinds[SPECIAL.index('[UNK]')] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model('bert')
    writer.add_token_type_count(2)
    writer.add_token_list(tokens)
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_pad_token_id(SPECIAL.index('[PAD]'))
    writer.add_unk_token_id(SPECIAL.index('[UNK]'))
    writer.add_bos_token_id(SPECIAL.index('[CLS]'))
    writer.add_sep_token_id(SPECIAL.index('[SEP]'))
    writer.add_mask_token_id(SPECIAL.index('[MASK]'))


def _tokens() -> list[str]:
    """The mark is where a word begins; a letter without it goes on."""
    return list(dict.fromkeys([*SPECIAL, *(f'▁{piece}' for piece in (*WORDS, *LETTERS)), *LETTERS]))


def _encoder(random: np.random.Generator, n_layer: int, n_ctx_train: int) -> dict[str, Tensor]:
    tensors = {
        'token_embd.weight': random_weights(random, len(_tokens()), N_EMBD) * 10,
        'token_types.weight': random_weights(random, 2, N_EMBD),
        'position_embd.weight': random_weights(random, n_ctx_train, N_EMBD) * 3,
        **_norm('token_embd_norm'),
    }
    for number in range(n_layer):
        tensors |= _layer(f'blk.{number}', random)
    return tensors


def _layer(name: str, random: np.random.Generator) -> dict[str, Tensor]:
    square = {f'{name}.attn_{part}.weight': random_weights(random, N_EMBD, N_EMBD) * 3 for part in ('q', 'k', 'v')}
    return {
        **square,
        f'{name}.attn_output.weight': random_weights(random, N_EMBD, N_EMBD) * 3,
        f'{name}.ffn_up.weight': random_weights(random, N_FF, N_EMBD),
        f'{name}.ffn_down.weight': random_weights(random, N_EMBD, N_FF),
        **_norm(f'{name}.attn_output_norm'),
        **_norm(f'{name}.layer_output_norm'),
    }


def _norm(name: str) -> dict[str, Tensor]:
    return {f'{name}.weight': np.ones(N_EMBD, np.float32), f'{name}.bias': _zeros(N_EMBD)}


def _zeros(size: int) -> Tensor:
    return np.zeros(size, np.float32)
