"""What each layer of a model keeps for every token, as llama.cpp reads it from the header.

Plain and grouped-query attention, sliding windows, shared caches, latent attention, recurrent and hybrid models.
What is newer than this and not listed here counts as plain attention; the dry run of the library knows better.
"""

from dataclasses import dataclass

from inference.gguf import Header
from inference.gguf_reader import ArraySummary, Value


@dataclass(frozen=True, slots=True)
class Layer:
    """Elements of K and V for one token, the largest V of all layers, and floats of state for one sequence."""

    n_head: int
    key_length: int
    value_length: int
    k: int
    v: int
    n_ff: int
    has_experts: bool
    window: bool
    state: int


@dataclass(frozen=True, slots=True)
class _Window:
    """A sliding window: its size where the file names none, every how many layers attention is full, and if first."""

    size: int = 0
    every: int = 1
    full_first: bool = False


# fmt: off
_WINDOWS = {
    'afmoe': _Window(every=4), 'cohere2': _Window(every=4), 'cohere2moe': _Window(every=4, full_first=True),
    'exaone4': _Window(4096, every=4), 'exaone-moe': _Window(128, every=4), 'gemma2': _Window(4096, every=2),
    'gemma3': _Window(every=6), 'gemma3n': _Window(every=5), 'gpt-oss': _Window(every=2),
    'laguna': _Window(every=4, full_first=True), 'llama4': _Window(8192, every=4), 'mellum': _Window(every=4),
    'muse-glimmer': _Window(every=4), 'olmo2': _Window(every=4), 'plamo3': _Window(every=8),
    'smallthinker': _Window(4096, every=4, full_first=True),
}
_IGNORES_WINDOW = {'phi3'}
_RECURRENT = {'mamba', 'mamba2', 'rwkv6', 'rwkv6qwen2', 'rwkv7', 'arwkv7'}
_HYBRID = {
    'jamba', 'plamo2', 'granitehybrid', 'lfm2', 'lfm2moe', 'nemotron_h', 'nemotron_h_moe', 'kimi-linear', 'falcon-h1',
    'qwen3next', 'qwen35', 'qwen35moe',
}
_FULL_ATTENTION_EVERY = {'qwen3next', 'qwen35', 'qwen35moe'}
# fmt: on


def layers(header: Header) -> tuple[Layer, ...]:
    """Return the layers that compute; heads for multi-token prediction at the end are not loaded and left out."""
    return tuple(_layer(header, number) for number in range(n_layer(header)))


def has_state(header: Header) -> bool:
    """Whether each sequence costs memory of its own, as in recurrent and hybrid models."""
    return any(layer.state for layer in layers(header))


def n_layer(header: Header) -> int:
    """Return how many layers compute."""
    return max(0, header.n_layer - number(header, 'nextn_predict_layers'))


def window(header: Header) -> int:
    """Return the tokens that a layer with a sliding window looks back; 0 if the model has none."""
    if header.architecture in _IGNORES_WINDOW:
        return 0
    known = _WINDOWS.get(header.architecture, _Window())
    if header.architecture == 'exaone4' and header.n_layer != 64:
        return 0
    size = number(header, 'attention.sliding_window', known.size)
    return known.size if header.architecture == 'llama4' and size else size


def number(header: Header, key: str, default: int = 0) -> int:
    """Return a count under the architecture's prefix; of one that differs from layer to layer the largest."""
    return max(_numbers(header.metadata.get(f'{header.architecture}.{key}')), default=default)


def _layer(header: Header, il: int) -> Layer:
    slides, recurs, keeps = _slides(header, il), _recurs(header, il), _keeps(header, il)
    n_head, n_head_kv = _at(header.n_head, il), _at(header.n_head_kv, il)
    key, value = header.key_length, header.value_length
    if slides:
        key = number(header, 'attention.key_length_swa', key)
        value = number(header, 'attention.value_length_swa', value)
    latent = number(header, 'attention.key_length_mla') > 0
    return Layer(
        n_head=n_head,
        key_length=key,
        value_length=value,
        k=keeps * n_head_kv * key,
        v=keeps * n_head_kv * value * (not latent),
        n_ff=_at_key(header, 'feed_forward_length', il),
        has_experts=header.n_expert > 0 and il >= number(header, 'leading_dense_block_count'),
        window=slides,
        state=recurs * _state(header, n_head),
    )


def _slides(header: Header, il: int) -> bool:
    if not window(header):
        return False
    pattern = header.metadata.get(f'{header.architecture}.attention.sliding_window_pattern')
    if isinstance(pattern, tuple):
        return il < len(pattern) and bool(pattern[il])
    if header.architecture in {'lfm2', 'lfm2moe'}:
        return not _recurs(header, il)
    known = _WINDOWS.get(header.architecture)
    if not known:
        return False
    every = pattern if isinstance(pattern, int) else known.every
    if not every:
        return True
    return il % every != 0 if known.full_first else il % every < every - 1


def _recurs(header: Header, il: int) -> bool:
    """Whether a layer keeps a state of fixed size."""
    architecture = header.architecture
    if architecture in _RECURRENT or architecture == 'falcon-h1':
        return True
    if architecture not in _HYBRID:
        return False
    listed = header.metadata.get(f'{architecture}.attention.recurrent_layers')
    if isinstance(listed, tuple):
        return il < len(listed) and bool(listed[il])
    if architecture in _FULL_ATTENTION_EVERY:
        every = number(header, 'full_attention_interval', 4)
        return bool(every) and (il + 1) % every != 0
    feeds = architecture.startswith('nemotron') and _at_key(header, 'feed_forward_length', il)
    return not _at(header.n_head_kv, il) and not feeds


def _keeps(header: Header, il: int) -> bool:
    """Whether a layer has a KV cache of its own."""
    architecture = header.architecture
    if architecture in _RECURRENT:
        return False
    if architecture == 'gemma3n':
        return il < 20
    if architecture == 'gemma4':
        return il < header.n_layer - number(header, 'attention.shared_kv_layers')
    return architecture == 'falcon-h1' or not _recurs(header, il)


def _state(header: Header, n_head: int) -> int:
    """Return the floats of one sequence's state: what a convolution looks back on, and what the layer remembers."""
    n_embd = header.n_embd
    if head := number(header, 'wkv.head_size'):
        return (number(header, 'token_shift_count', 2) + head) * n_embd
    if looks_back := number(header, 'shortconv.l_cache'):
        return n_embd * (looks_back - 1)
    looks_back, inner, state = (number(header, f'ssm.{key}') for key in ('conv_kernel', 'inner_size', 'state_size'))
    looks_back = max(0, looks_back - 1)
    if head := number(header, 'kda.head_dim'):
        return 3 * looks_back * n_head * head + head * head * n_head
    return looks_back * (inner + 2 * number(header, 'ssm.group_count') * state) + state * inner


def _at(values: int | tuple[int, ...], il: int) -> int:
    return values if isinstance(values, int) else values[il] if il < len(values) else 0


def _at_key(header: Header, key: str, il: int) -> int:
    values = header.metadata.get(f'{header.architecture}.{key}')
    return _at(_numbers(values) if isinstance(values, tuple) else number(header, key), il)


def _numbers(value: Value | None) -> tuple[int, ...]:
    match value:
        case None | ArraySummary():
            return ()
        case tuple():
            return tuple(max(0, one) if isinstance(one, int) else 0 for one in value)
        case int():
            return (max(0, value),)
        case _:
            return ()
