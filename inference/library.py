"""How llama.cpp is spoken to: its parameters from our settings, and what it says of a model and this machine."""

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any

import psutil
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.errors import LoadFailed, NotEnoughMemory
from inference.ggml import Device, devices
from inference.gguf import Header
from inference.gguf_reader import TENSOR_TYPES
from inference.library_arrays import device_array, metadata_array, placement_array
from inference.library_log import LIBRARY_LOG
from inference.overrides import adapter_specs, metadata_overrides
from inference.settings import LoadSettings

__all__ = ['LIBRARY_LOG', 'Device', 'devices']  # handed on

# Otherwise a fatal error in the library starts a debugger for its trace, which is slow and can hang.
os.environ.setdefault('GGML_NO_BACKTRACE', '1')

FLASH_ATTN_AUTO, FLASH_ATTN_OFF, FLASH_ATTN_ON = -1, 0, 1
GGML_TYPE_BF16 = 30  # the binding leaves it out
LOAD_MODES = {'auto': -1, 'read': 0, 'mmap': 1, 'mlock': 2, 'mmap+mlock': 3, 'direct_io': 4}
SPLIT_MODES = {'none': 0, 'layer': 1, 'row': 2, 'tensor': 3}
ROPE_SCALINGS = {'model': -1, 'none': 0, 'linear': 1, 'yarn': 2, 'longrope': 3}
UNQUANTIZED = ('f16', 'bf16', 'f32')
BLOCKS = {name.lower(): block for name, block, _ in TENSOR_TYPES.values()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What a model's memory can and cannot do; `n_swa` is its sliding window, `n_cls_out` the scores of a reranker."""

    is_recurrent: bool
    is_hybrid: bool
    n_swa: int
    can_shift: bool
    has_encoder: bool
    n_cls_out: int


def model_facts(model: Any, context: Any) -> ModelFacts:
    """Read them once; `can_shift` depends on the settings of the context, too."""
    return ModelFacts(
        is_recurrent=C.llama_model_is_recurrent(model),
        is_hybrid=C.llama_model_is_hybrid(model),
        n_swa=C.llama_model_n_swa(model),
        can_shift=C.llama_memory_can_shift(C.llama_get_memory(context)),
        has_encoder=C.llama_model_has_encoder(model),
        n_cls_out=C.llama_model_n_cls_out(model),
    )


def usable_cores() -> int:
    """Return the physical cores that this process may use."""
    cores = psutil.cpu_count(logical=False) or 1
    if sys.platform == 'linux':
        cores = min(cores, len(os.sched_getaffinity(0)))
    return cores


def default_threads() -> int:
    """Return the usable cores, less one for the page, the browser and the rest.

    llama.cpp's threads wait for each other by spinning: one that has to share its core stalls them all.
    """
    return max(1, usable_cores() - 1)


def threads(settings: LoadSettings) -> tuple[int, int]:
    """Return how many threads compute replies, and how many read prompts."""
    n_threads = settings.n_threads or default_threads()
    return n_threads, settings.n_threads_batch or n_threads


def set_threads(context: Any, settings: LoadSettings) -> None:
    """Change the threads of a context from its next batch on; only on the thread that decodes."""
    C.llama_set_n_threads(context, *threads(settings))


def library_version() -> str:
    """Return what a preflight verdict depends on besides the file: the library and what it found of the CPU."""
    import llama_cpp  # noqa: PLC0415 (only its version)

    return f'{llama_cpp.__version__} {C.llama_print_system_info().decode()}'


def machine() -> str:
    """Name the devices and the RAM: what is measured or tried here holds for others like it."""
    return '; '.join(
        [f'{device.name} {device.description}' for device in devices()] + [f'RAM {psutil.virtual_memory().total}']
    )


def supports_gpu() -> bool:
    """Return whether this build of the library can use a GPU, and one is there."""
    return bool(C.llama_supports_gpu_offload())


def model_params(settings: LoadSettings) -> Any:
    """Return the library's parameters for loading a model; keep them until it is loaded, they own what they point to.

    Raises LoadFailed.
    """
    params = C.llama_model_default_params()
    params.n_gpu_layers = settings.n_gpu_layers
    params.split_mode, params.main_gpu = SPLIT_MODES[settings.split_mode], settings.main_gpu
    params.load_mode, params.check_tensors = LOAD_MODES[settings.load_mode], settings.check_tensors
    params.use_extra_bufts = settings.use_extra_bufts
    if settings.tensor_split:
        params.tensor_split = (ctypes.c_float * C.llama_max_devices())(*settings.tensor_split)
    if settings.kv_overrides:
        params.kv_overrides = metadata_array(metadata_overrides(settings.kv_overrides))
    chosen, placement = device_array(settings), placement_array(settings)
    if chosen:
        params.devices = ctypes.addressof(chosen)
    if placement:
        params.tensor_buft_overrides = ctypes.addressof(placement)
    params.owned = (chosen, placement)  # the other two arrays belong to their fields
    return params


def context_params(
    model: Any, settings: LoadSettings, n_seq_max: int = 1, *, n_outputs_max: int = 0, n_ctx: int | None = None
) -> Any:
    """Return the library's parameters for a context of `n_seq_max` sequences that share one KV cache.

    `n_outputs_max` is how many tokens of a batch may be sampled from, `n_seq_max` unless said; `n_ctx` is that of
    the settings unless said.
    """
    params = C.llama_context_default_params()
    params.n_batch, params.n_ubatch = settings.n_batch, min(settings.n_batch, settings.n_ubatch)
    params.n_seq_max, params.n_outputs_max = n_seq_max, n_outputs_max or n_seq_max
    params.kv_unified, params.swa_full, params.no_perf = True, settings.swa_full, True
    params.n_threads, params.n_threads_batch = threads(settings)
    params.flash_attn_type = _flash_attn(settings)
    params.type_k, params.type_v = _ggml_type(settings.type_k), _ggml_type(settings.type_v)
    params.offload_kqv, params.op_offload = settings.offload_kqv, settings.op_offload
    _set_positions(params, settings, settings.n_ctx if n_ctx is None else n_ctx, _trained_length(model, settings))
    if not params.rope_freq_scale and settings.rope_scaling in ('linear', 'yarn'):
        params.rope_freq_scale = _needed_scale(model, params.n_ctx, settings)
    return params


def check_settings(settings: LoadSettings, header: Header | None = None) -> None:
    """Refuse what the library refuses without a word or dies of, with the way out; more so with the model's header.

    Raises LoadFailed.
    """
    if settings.n_ctx < 0 or settings.n_gpu_layers < -1:
        raise LoadFailed('"As much as fits" was not worked out for this model. Set a number of tokens and layers.')
    if settings.flash_attn == 'off' and settings.type_v not in UNQUANTIZED:
        raise LoadFailed(
            f'A V cache of type {settings.type_v} needs flash attention. '
            'Set "Flash attention" to auto or on, or "V cache type" to f16.'
        )
    _check_gpus(settings)
    device_array(settings)
    placement_array(settings)
    metadata_overrides(settings.kv_overrides, header)
    adapter_specs(settings.loras)
    if header:
        _check_cache_types(settings, header)


def load_failure(name: str) -> LoadFailed:
    """Return the error for a model that the library did not load, by what it said."""
    reason = LIBRARY_LOG.reason()
    if _is_about_memory(reason):
        return NotEnoughMemory(f'{name} does not fit into memory: {reason} Choose a smaller model or fewer GPU layers.')
    return LoadFailed(
        f'llama.cpp could not load {name}: {reason} '
        'Pick another file, or update the app if this model is newer than it.'
    )


def context_failure(name: str, n_ctx: int) -> LoadFailed:
    """Return the error for a context that the library did not make, by what it said."""
    reason = LIBRARY_LOG.reason()
    what = f'llama.cpp could not make a context of {n_ctx:,} tokens for {name}: {reason}'
    if _is_about_memory(reason):
        return NotEnoughMemory(f'{what} A shorter context length or a K and V cache of type q8_0 needs less memory.')
    return LoadFailed(f'{what} Take the load settings back that were changed last.')


def _is_about_memory(reason: str) -> bool:
    return any(word in reason.lower() for word in ('alloc', 'out of memory', 'out of device memory'))


def _check_gpus(settings: LoadSettings) -> None:
    gpus = [device.name for device in devices() if device.is_gpu]
    if any(share < 0 for share in settings.tensor_split):
        raise LoadFailed('"Share per GPU" has a number below 0. Give each GPU a share of 0 or more, such as 3, 1.')
    if settings.split_mode == 'tensor' and not gpus:
        raise LoadFailed('"Split over GPUs" is tensor, but there is no GPU here. Set it to layer.')
    if settings.split_mode == 'tensor' and settings.flash_attn == 'off':
        raise LoadFailed('Splitting tensors over GPUs needs flash attention. Set "Flash attention" to auto or on.')
    count = len(settings.devices) or len(gpus)
    if settings.split_mode == 'none' and gpus and settings.main_gpu >= count:
        raise LoadFailed(f'"Main GPU" is {settings.main_gpu}, but there are {count}, counted from 0.')


def _check_cache_types(settings: LoadSettings, header: Header) -> None:
    """A head must fill the blocks of a quantized type; without flash attention the library would not even notice."""
    prefix = f'{header.architecture}.attention.'
    for title, kind, key, length in (
        ('K cache type', settings.type_k, 'key_length', header.key_length),
        ('V cache type', settings.type_v, 'value_length', header.value_length),
    ):
        lengths = [length, header.metadata.get(f'{prefix}{key}_swa')]
        odd = next((size for size in lengths if isinstance(size, int) and size % BLOCKS[kind]), None)
        if odd:
            raise LoadFailed(
                f'A cache of type {kind} stores numbers in blocks of {BLOCKS[kind]}, which the heads of this model '
                f'({odd}) do not fill. Set "{title}" to f16.'
            )
    if f'{prefix}key_length_mla' in header.metadata and settings.type_k != settings.type_v:
        raise LoadFailed('This model keeps keys and values in one. Set "K cache type" and "V cache type" to the same.')


def _set_positions(params: Any, settings: LoadSettings, n_ctx: int, trained: int) -> None:
    """Set how long the context is and how positions are turned; only a stretched one is longer than the model knows."""
    params.n_ctx = n_ctx or trained if settings.stretches else min(n_ctx or trained, trained)
    params.rope_scaling_type = ROPE_SCALINGS[settings.rope_scaling]
    params.rope_freq_base, params.rope_freq_scale = settings.rope_freq_base, settings.rope_freq_scale
    params.yarn_orig_ctx = settings.yarn_orig_ctx
    params.yarn_ext_factor, params.yarn_attn_factor = settings.yarn_ext_factor, settings.yarn_attn_factor
    params.yarn_beta_fast, params.yarn_beta_slow = settings.yarn_beta_fast, settings.yarn_beta_slow


def _trained_length(model: Any, settings: LoadSettings) -> int:
    """Return the length of the file or its override; the library's own number changes with the first YaRN context."""
    key = f'{_text(model, "general.architecture")}.context_length'
    replaced = [override.value for override in metadata_overrides(settings.kv_overrides) if override.key == key]
    return int(replaced[0] if replaced else _text(model, key) or C.llama_model_n_ctx_train(model))


def _needed_scale(model: Any, n_ctx: int, settings: LoadSettings) -> float:
    """Return the scale that stretches the trained length to the context, 0 (the model's own) where none is needed."""
    known = settings.yarn_orig_ctx or _trained_length(model, settings)
    has_own = C.llama_model_rope_freq_scale_train(model) != 1
    return 0.0 if has_own or n_ctx <= known else known / n_ctx


def _text(model: Any, key: str) -> str:
    """Return a value of the model's header as text, empty if there is none."""
    buffer = ctypes.create_string_buffer(256)
    C.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode('utf-8', 'replace')


def _flash_attn(settings: LoadSettings) -> int:
    if settings.flash_attn != 'auto':
        return FLASH_ATTN_ON if settings.flash_attn == 'on' else FLASH_ATTN_OFF
    if supports_gpu() and settings.n_gpu_layers != 0:
        return FLASH_ATTN_AUTO
    # On a CPU it makes long chats slow, but a quantized V cache does not work without it.
    return FLASH_ATTN_ON if settings.type_v not in UNQUANTIZED else FLASH_ATTN_OFF


def _ggml_type(name: str) -> int:
    number: int = GGML_TYPE_BF16 if name == 'bf16' else getattr(C, f'GGML_TYPE_{name.upper()}')
    return number
