"""What a GGUF file says about its model, read from the header alone; damaged files are refused with a reason."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from inference.errors import InvalidModelFile
from inference.gguf_checks import MOST_LAYERS, check_numbers, check_types
from inference.gguf_reader import ArraySummary, Contents, Damaged, TensorInfo, Value, count_of, read_contents

_SPLIT_NAME = re.compile(r'(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf', re.IGNORECASE)

ModelKind = Literal['chat', 'embedding', 'reranker']
Pooling = Literal['none', 'mean', 'cls', 'last', 'rank']
_POOLINGS: dict[object, Pooling] = {1: 'mean', 2: 'cls', 3: 'last', 4: 'rank'}
_ENCODERS = {
    'bert', 'modern-bert', 'nomic-bert', 'nomic-bert-moe', 'neo-bert', 'jina-bert-v2', 'jina-bert-v3', 'eurobert',
    'gemma-embedding', 'llama-embed',
}  # fmt: skip
_OUT_OF_SCOPE = {
    **dict.fromkeys(('t5', 't5encoder'), 'is an encoder-decoder model, which this app cannot run'),
    **dict.fromkeys(('dream', 'llada', 'llada-moe', 'rnd1'), 'writes by diffusion, which this app cannot do'),
    **dict.fromkeys(('eagle3', 'dflash', 'gemma4-assistant'), 'only guesses ahead for another model'),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The facts of a model; of a split model all parts that are there count, listed in `parts`.

    `n_head` and `n_head_kv` are tuples where they differ from layer to layer. A number the file does not give is 0.
    """

    path: Path
    parts: tuple[Path, ...]
    size: int
    architecture: str
    name: str
    quantization: str
    parameters: int
    n_ctx_train: int
    n_layer: int
    n_embd: int
    n_head: int | tuple[int, ...]
    n_head_kv: int | tuple[int, ...]
    key_length: int
    value_length: int
    n_vocab: int
    n_expert: int
    chat_template: str | None
    has_tokenizer: bool
    split_count: int
    metadata: Mapping[str, Value] = field(repr=False, compare=False)
    tensors: tuple[TensorInfo, ...] = field(repr=False, compare=False)

    @property
    def is_companion(self) -> bool:
        """Whether the file belongs to a model instead of being one: an image projector or a LoRA adapter."""
        return _is_projector(self) or _is_adapter(self)


def read_header(path: Path) -> Header:
    """Read the header of a model file, of a split model those of all its parts that are there; raise InvalidModelFile.

    Of a split model `path` is the first part.
    """
    names = split_parts(path)
    parts = [path] if path != names[0] else [path, *(part for part in names[1:] if part.is_file())]
    contents = [read_contents(part) for part in parts]
    return _header(tuple(parts), contents)


def check_usable(header: Header) -> None:
    """Refuse a sound file that still is of no use here, and say what it is instead."""
    name = header.path.name
    if _is_projector(header):
        raise InvalidModelFile(f'{name} is an image projector that goes with a model. Choose the model itself.')
    if _is_adapter(header):
        raise InvalidModelFile(f'{name} is a LoRA adapter that goes with a model. Choose a complete model.')
    if len(header.parts) < header.split_count:
        raise InvalidModelFile(_missing_parts(header))
    if not any(tensor.name.startswith('blk.') for tensor in header.tensors):
        raise InvalidModelFile(f'{name} has no layers, only a vocabulary. Choose a complete model.')
    if not header.has_tokenizer:
        raise InvalidModelFile(f'{name} has no tokenizer, so it cannot read text. Choose a language model.')
    if header.architecture in _OUT_OF_SCOPE:
        raise InvalidModelFile(f'{name} {_OUT_OF_SCOPE[header.architecture]}. Choose another model.')
    if pooling_of(header) == 'rank' and not _has_head(header):
        raise InvalidModelFile(f'{name} ranks documents, but the layer that scores them is missing or does not fit.')
    try:
        check_numbers(header.architecture, header.metadata)
        check_types(header.tensors)
    except Damaged as error:
        raise error.of(header.path) from None


def kind_of(header: Header) -> ModelKind:
    """Return what a model is for: only chat models write, the others turn text into vectors or scores."""
    pooling = pooling_of(header)
    if pooling == 'rank':
        return 'reranker'
    both_ways = header.metadata.get(f'{header.architecture}.attention.causal') is False
    return 'embedding' if pooling != 'none' or both_ways or header.architecture in _ENCODERS else 'chat'


def pooling_of(header: Header) -> Pooling:
    """Return how a model was trained to make one vector of a text; chat models were not."""
    return _POOLINGS.get(header.metadata.get(f'{header.architecture}.pooling_type'), 'none')


def split_parts(path: Path) -> tuple[Path, ...]:
    """Return all paths of the split model `path` is a part of, whether they exist or not; of others just `path`."""
    found = _SPLIT_NAME.fullmatch(path.name)
    if not found or not 1 <= int(found['count']) <= 1000:
        return (path,)
    count, ending = found['count'], path.name[-5:]
    names = (f'{found["stem"]}-{number:05}-of-{count}{ending}' for number in range(1, int(count) + 1))
    return tuple(path.with_name(name) for name in names)


def _header(parts: tuple[Path, ...], contents: list[Contents]) -> Header:
    path, meta = parts[0], contents[0].metadata
    tensors = tuple(tensor for part in contents for tensor in part.tensors)
    try:
        return _facts(parts, sum(part.size for part in contents), meta, tensors)
    except Damaged as error:
        raise error.of(path) from None


def _facts(parts: tuple[Path, ...], size: int, meta: Mapping[str, Value], tensors: tuple[TensorInfo, ...]) -> Header:
    architecture = _text(meta, 'general.architecture')
    if number := count_of(meta, 'split.no'):
        raise InvalidModelFile(
            f'{parts[0].name} is part {number + 1} of {count_of(meta, "split.count")} of a model. '
            'Choose the first part, and keep all parts in one folder.'
        )
    if not architecture:
        raise Damaged('its header names no architecture')
    prefix = f'{architecture}.attention.'
    n_embd = count_of(meta, f'{architecture}.embedding_length')
    n_head = _per_layer(meta, f'{prefix}head_count', default=0)
    first = n_head if isinstance(n_head, int) else next(iter(n_head), 0)
    head_length = n_embd // first if first else 0
    n_vocab = _length(meta, 'tokenizer.ggml.tokens')
    return Header(
        path=parts[0],
        parts=parts,
        size=size,
        architecture=architecture,
        name=_text(meta, 'general.name') or parts[0].stem,
        quantization=_quantization(meta, tensors),
        parameters=sum(tensor.n_elements for tensor in tensors),
        n_ctx_train=count_of(meta, f'{architecture}.context_length'),
        n_layer=count_of(meta, f'{architecture}.block_count', most=MOST_LAYERS),
        n_embd=n_embd,
        n_head=n_head,
        n_head_kv=_per_layer(meta, f'{prefix}head_count_kv', default=n_head),
        key_length=count_of(meta, f'{prefix}key_length', default=head_length),
        value_length=count_of(meta, f'{prefix}value_length', default=head_length),
        n_vocab=n_vocab or count_of(meta, f'{architecture}.vocab_size'),
        n_expert=count_of(meta, f'{architecture}.expert_count'),
        chat_template=_text(meta, 'tokenizer.chat_template') or None,
        has_tokenizer=n_vocab > 0 and _text(meta, 'tokenizer.ggml.model') not in {'', 'none', 'no_vocab'},
        split_count=max(1, count_of(meta, 'split.count')),
        metadata=MappingProxyType(dict(meta)),
        tensors=tensors,
    )


def _text(meta: Mapping[str, Value], key: str) -> str:
    value = meta.get(key)
    return value if isinstance(value, str) else ''


def _per_layer(meta: Mapping[str, Value], key: str, default: int | tuple[int, ...]) -> int | tuple[int, ...]:
    values = meta.get(key, default)
    if not isinstance(values, tuple):
        return count_of({key: values}, key)
    return tuple(count_of({key: value}, key) for value in values)


def _length(meta: Mapping[str, Value], key: str) -> int:
    value = meta.get(key, ())
    return value.count if isinstance(value, ArraySummary) else len(value) if isinstance(value, tuple) else 0


def _quantization(meta: Mapping[str, Value], tensors: tuple[TensorInfo, ...]) -> str:
    number = meta.get('general.file_type')
    if isinstance(number, int) and (number & ~_GUESSED) in _FILE_TYPES:
        return _FILE_TYPES[number & ~_GUESSED]
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[tensor.type] += tensor.n_elements
    return weights.most_common(1)[0][0] if weights else ''


def _is_projector(header: Header) -> bool:
    return header.architecture == 'clip' or header.metadata.get('general.type') in {
        'mmproj',
        'projector',
        'clip-vision',
    }


def _is_adapter(header: Header) -> bool:
    return header.metadata.get('general.type') == 'adapter'


def _has_head(header: Header) -> bool:
    """The library reads one score for each label, whatever the layer gives; beyond its end it ends the process."""
    sizes = {tensor.name: tensor.n_elements for tensor in header.tensors}
    n_scores = _length(header.metadata, f'{header.architecture}.classifier.output_labels') or 1
    return sizes.get('cls.output.weight', sizes.get('cls.weight')) == n_scores * header.n_embd


def _missing_parts(header: Header) -> str:
    names = split_parts(header.path)
    missing = [part.name for part in names if part not in header.parts]
    if len(names) != header.split_count:
        return f'{header.path.name} is one of {header.split_count} parts, but was renamed. Give it its first name back.'
    return (
        f'{header.path.name} is the first of {header.split_count} parts and {len(missing)} are missing, '
        f'such as {missing[0]}. Put all parts into the same folder.'
    )


_GUESSED = 1024
# fmt: off
_FILE_TYPES = dict(enumerate((
    'F32', 'F16', 'Q4_0', 'Q4_1', 'Q4_1', 'Q4_2', 'Q4_3', 'Q8_0', 'Q5_0', 'Q5_1', 'Q2_K', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L',
    'Q4_K_S', 'Q4_K_M', 'Q5_K_S', 'Q5_K_M', 'Q6_K', 'IQ2_XXS', 'IQ2_XS', 'Q2_K_S', 'IQ3_XS', 'IQ3_XXS', 'IQ1_S',
    'IQ4_NL', 'IQ3_S', 'IQ3_M', 'IQ2_S', 'IQ2_M', 'IQ4_XS', 'IQ1_M', 'BF16', 'Q4_0_4_4', 'Q4_0_4_8', 'Q4_0_8_8',
    'TQ1_0', 'TQ2_0', 'MXFP4', 'NVFP4', 'Q1_0', 'Q2_0',
)))
"""llama.cpp's LLAMA_FTYPE numbers, in the short words people know from file names."""
# fmt: on
