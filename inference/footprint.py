"""What a model will take, by device: a formula over its header and settings, for the answer that is wanted at once.

It follows llama.cpp; `inference.dry_run` asks the library itself, which takes a process and part of a second.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from inference.computation import Batch, Part, Widths, compute_buffer
from inference.free_memory import RAM, DeviceMemory
from inference.gguf import Header
from inference.gguf_reader import TENSOR_TYPES
from inference.layers import Layer, layers, number, window
from inference.placement import Placement, gpu_layers, place, used_gpus
from inference.settings import LoadSettings

STEP = 256
"""llama.cpp rounds the cells of a KV cache up to a multiple of this."""
LONGEST = 1 << 20
GUESSES = 8
"""Tokens that are guessed ahead and checked in one batch."""
UNQUANTIZED = ('f16', 'bf16', 'f32')
_BLOCKS = {name.lower(): (block, n_bytes) for name, block, n_bytes in TENSOR_TYPES.values()}
_F32 = 4
_PIPELINED = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceNeed:
    """Bytes on one device: weights, of which `mapped` are file cache to the system, KV cache, and to compute."""

    device: str
    weights: int = 0
    kv_cache: int = 0
    compute: int = 0
    mapped: int = 0

    @property
    def total(self) -> int:
        """All three together."""
        return self.weights + self.kv_cache + self.compute


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """What each device has to give, the RAM first; `is_exact` if the library said so and no formula."""

    devices: tuple[DeviceNeed, ...]
    n_ctx: int
    is_exact: bool = False

    @property
    def weights(self) -> int:
        """Bytes of the model itself."""
        return sum(need.weights for need in self.devices)

    @property
    def kv_cache(self) -> int:
        """Bytes of what is remembered of the chats."""
        return sum(need.kv_cache for need in self.devices)

    @property
    def compute(self) -> int:
        """Bytes to compute in, with the scores that come out."""
        return sum(need.compute for need in self.devices)

    @property
    def total(self) -> int:
        """All bytes on all devices."""
        return sum(need.total for need in self.devices)

    def on(self, device: str) -> DeviceNeed:
        """Return what one device has to give."""
        return next((need for need in self.devices if need.device == device), DeviceNeed(device=device))

    @property
    def reclaimable(self) -> dict[str, int]:
        """What unloading adds to the free memory; the system counts a mapped file as free all the time."""
        return {need.device: need.total - need.mapped for need in self.devices}


def estimate(
    header: Header,
    settings: LoadSettings,
    *,
    n_slots: int = 1,
    n_outputs: int = 0,
    devices: Sequence[DeviceMemory] = (),
) -> MemoryPlan:
    """Tell what loading takes with `n_slots` sequences and `n_outputs` rows of scores at once, as many unless said.

    `devices` are those of the machine, for their GPUs; without, everything goes to RAM. "As much as fits" counts as
    all of it. Weights count in full even where the file is mapped: they must stay in memory to be fast.
    """
    placed = place(header, settings, devices)
    n_ctx = effective_n_ctx(header, settings)
    counts = n_slots, n_outputs or rows_of_scores(settings, n_slots)
    batch = _batch(header, settings, n_ctx, counts, on_gpu=bool(used_gpus(settings, devices)))
    kv_cache = kv_caches(header, settings, placed, batch)
    compute = _compute(header, settings, placed, batch)
    names = [RAM, *sorted({*placed.weights, *kv_cache, *compute} - {RAM})]
    return MemoryPlan(
        devices=tuple(
            DeviceNeed(
                device=name,
                weights=placed.weights.get(name, 0),
                kv_cache=kv_cache.get(name, 0),
                compute=compute.get(name, 0),
                mapped=placed.mapped if name == RAM else 0,
            )
            for name in names
        ),
        n_ctx=n_ctx,
    )


def effective_n_ctx(header: Header, settings: LoadSettings) -> int:
    """Return the cells a context really gets: what the model was trained with unless stretched, in steps of 256."""
    trained = header.n_ctx_train or LONGEST
    asked = settings.n_ctx if settings.n_ctx > 0 else header.n_ctx_train or STEP
    return rounded_up(asked if settings.stretches else min(asked, trained))


def rows_of_scores(settings: LoadSettings, n_slots: int) -> int:
    """Return the tokens whose scores are asked for at once: one of each sequence, and guesses to be checked."""
    return n_slots * (1 + GUESSES if settings.draft == 'on' else 1)


def rounded_up(n_ctx: int) -> int:
    """Return the next multiple of 256."""
    return -(-n_ctx // STEP) * STEP


def uses_flash_attention(settings: LoadSettings, *, on_gpu: bool) -> bool:
    """Whether `auto` means on; a quantized V cache does not work without."""
    if settings.flash_attn != 'auto':
        return settings.flash_attn == 'on'
    return on_gpu or settings.type_v not in UNQUANTIZED


def _batch(header: Header, settings: LoadSettings, n_ctx: int, counts: tuple[int, int], *, on_gpu: bool) -> Batch:
    n_slots, n_outputs = counts
    n_tokens = min(settings.n_ubatch, settings.n_batch, n_ctx)
    width = window(header)
    in_window = min(n_ctx, rounded_up(min(n_ctx, width * n_slots + n_tokens)))
    flash_attn = uses_flash_attention(settings, on_gpu=on_gpu)
    return Batch(
        n_tokens=n_tokens,
        n_kv=n_ctx,
        n_kv_window=n_ctx if settings.swa_full or not width else in_window,
        n_outputs=min(n_outputs, n_tokens),
        n_sequences=n_slots,
        flash_attn=flash_attn,
        casts_kv=flash_attn and settings.type_k == 'f32',
        rotation_k=0 if settings.type_k in UNQUANTIZED else _largest_rotation(header.key_length),
        rotation_v=0 if settings.type_v in UNQUANTIZED else 64 * (header.value_length % 64 == 0),
    )


def _largest_rotation(length: int) -> int:
    """Return the largest power of two from 64 on that divides a head: llama.cpp turns what it quantizes."""
    return max((64 << shift for shift in range(8) if length % (64 << shift) == 0), default=0) if length else 0


def kv_caches(header: Header, settings: LoadSettings, placed: Placement, batch: Batch) -> dict[str, int]:
    """Return the bytes of cells and states by device. Without flash attention all V have the width of the widest."""
    found: Counter[str] = Counter()
    every = layers(header)
    widest = 0 if batch.flash_attn else max((layer.v for layer in every), default=0)
    for layer, device in zip(every, placed.layers, strict=True):
        n_kv = batch.n_kv_window if layer.window else batch.n_kv
        v = max(layer.v, widest * (layer.k > 0 and layer.v > 0))
        cell = row_size(settings.type_k, layer.k) + row_size(settings.type_v, v)
        state = batch.n_sequences * layer.state * _F32
        found[device if settings.offload_kqv else RAM] += n_kv * cell + state
    return dict(found)


def row_size(kind: str, n_elements: int) -> int:
    """Return the bytes of some numbers of a type."""
    block, n_bytes = _BLOCKS[kind]
    return -(-n_elements // block) * n_bytes


def _compute(header: Header, settings: LoadSettings, placed: Placement, batch: Batch) -> dict[str, int]:
    """Return the scratch memory by device, and the scores, which come out in RAM."""
    widths, every = _widths(header), layers(header)
    gpus = {placed.output, *placed.layers} - {RAM}
    kv_stays = bool(gpus) and not settings.offload_kqv
    copies = _PIPELINED if _is_pipelined(header, settings, gpus, placed) else 1
    found = {}
    for device in (RAM, *gpus):
        own = [layer for layer, where in zip(every, placed.layers, strict=True) if where == device]
        part = Part(layers=own, embeds=device == RAM, scores=placed.output == device, copies=copies)
        if device == RAM:
            if kv_stays and not batch.flash_attn:  # then it is the RAM's processor that attends
                part = replace(part, layers=[replace(layer, n_ff=0, has_experts=False) for layer in every])
            scores = batch.n_outputs * header.n_vocab * _F32
            found[device] = scores + compute_buffer(every, widths, batch, part)
        else:
            there = replace(batch, flash_attn=True) if kv_stays else batch
            borrowed = placed.largest_in_ram * settings.op_offload + kv_stays * _one_cache(settings, own, batch)
            found[device] = borrowed + compute_buffer(every, widths, there, part)
    return found


def _is_pipelined(header: Header, settings: LoadSettings, gpus: Collection[str], placed: Placement) -> bool:
    """Whether several GPUs work on different batches at once, for which llama.cpp keeps copies of all inputs."""
    everything = gpu_layers(header, settings) > header.n_layer and not placed.overridden
    return len(gpus) > 1 and everything and settings.split_mode == 'layer' and settings.offload_kqv


def _one_cache(settings: LoadSettings, own: Sequence[Layer], batch: Batch) -> int:
    """Return the bytes of the largest cache of a layer, of which a GPU makes a copy if it is kept in RAM."""
    cells = (row_size(settings.type_k, layer.k) + row_size(settings.type_v, layer.v) for layer in own)
    return batch.n_kv * max(cells, default=0) if batch.flash_attn else 0


def _widths(header: Header) -> Widths:
    tensors = {tensor.name.split('.', 2)[-1]: tensor for tensor in header.tensors if tensor.name.startswith('blk.')}
    inner = number(header, 'ssm.inner_size')
    up = tensors.get('ffn_up.weight')
    return Widths(
        n_embd=header.n_embd,
        n_vocab=header.n_vocab,
        n_expert=header.n_expert,
        n_expert_used=number(header, 'expert_used_count'),
        n_ff_expert=number(header, 'expert_feed_forward_length') or number(header, 'feed_forward_length'),
        n_ff_shared=number(header, 'expert_shared_feed_forward_length'),
        gated='ffn_gate.weight' in tensors or 'ffn_gate_shexp.weight' in tensors,
        up=up.n_elements // header.n_embd if up and header.n_embd else 0,
        fused='attn_qkv.weight' in tensors,
        ssm_inner=inner or header.n_embd,
        ssm_projection=2 * inner or 3 * header.n_embd,
        scans=inner > 0,
    )
