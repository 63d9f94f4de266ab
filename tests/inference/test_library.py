"""Settings as they arrive at llama.cpp, what it says of itself, and what is refused before it could die of it."""

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from llama_cpp import llama_cpp as C  # noqa: N812
from loguru import logger

from inference.errors import LoadFailed, NotEnoughMemory
from inference.gguf import read_header
from inference.library import (
    ModelFacts,
    check_settings,
    context_params,
    devices,
    load_failure,
    machine,
    model_facts,
    model_params,
    set_threads,
)
from inference.library_log import CONTINUED, DEBUG, ERROR, INFO, LIBRARY_LOG, WARNING, LibraryLog
from inference.settings import LoadSettings, describe
from tests import tiny_models as tiny
from tests.inference.bare_model import QUICK, BareModel, bare

OTHER: dict[str, Any] = {
    'n_ctx': 512, 'n_gpu_layers': 3, 'n_batch': 64, 'n_ubatch': 32, 'flash_attn': 'on', 'offload_kqv': False,
    'op_offload': False, 'type_k': 'bf16', 'type_v': 'f32', 'swa_full': True, 'load_mode': 'mmap+mlock',
    'use_extra_bufts': True, 'split_mode': 'row', 'main_gpu': 1, 'tensor_split': (3.0, 1.0), 'n_cpu_moe': 2,
    'tensor_overrides': ('ffn=CPU',), 'kv_overrides': ('a.b=int:1',), 'check_tensors': True, 'rope_scaling': 'linear',
    'rope_freq_base': 1e6, 'rope_freq_scale': 0.5, 'yarn_orig_ctx': 128, 'yarn_ext_factor': 0.5,
    'yarn_attn_factor': 0.5, 'yarn_beta_fast': 16.0, 'yarn_beta_slow': 2.0, 'n_threads': 3, 'n_threads_batch': 2,
}  # fmt: skip
ELSEWHERE = {'n_slots', 'slots_per_user', 'cache_ram', 'draft', 'loras', 'pooling'}
"""What the engine reads instead of the library."""
NOT_HERE = {'devices'}
"""What needs a GPU."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny.write_tiny_model(tmp_path / 'model.gguf')


@pytest.fixture
def model(path: Path) -> Iterator[BareModel]:
    with bare(path) as model:
        yield model


def fields(*structs: Any) -> dict[str, Any]:
    """Return the values that are no pointers, and whether pointers are set."""
    found: dict[str, Any] = {}
    for struct in structs:
        for name, kind, *_ in struct._fields_:
            value = getattr(struct, name)
            found[name] = value if kind in (ctypes.c_bool, ctypes.c_float) or isinstance(value, int) else bool(value)
            if name in ('devices', 'tensor_buft_overrides'):
                found[name] = bool(value)
    return found


# Parameters


def test_every_setting_is_accounted_for() -> None:
    assert set(OTHER) | ELSEWHERE | NOT_HERE == {setting.name for setting in describe(LoadSettings)}


@pytest.mark.parametrize('name', OTHER)
def test_every_setting_arrives(model: BareModel, name: str) -> None:
    other = QUICK.model_copy(update={name: OTHER[name]})

    before = fields(model_params(QUICK), context_params(model.model, QUICK))
    after = fields(model_params(other), context_params(model.model, other))

    assert {key for key in before if before[key] != after[key]}


def test_batches_fit_into_one_another(model: BareModel) -> None:
    params = context_params(model.model, QUICK.model_copy(update={'n_batch': 64, 'n_ubatch': 512}))

    assert (params.n_batch, params.n_ubatch) == (64, 64)


def test_sequences_and_outputs_are_the_callers(model: BareModel) -> None:
    params = context_params(model.model, QUICK, 4, n_outputs_max=12, n_ctx=512)
    assert (params.n_seq_max, params.n_outputs_max, params.n_ctx) == (4, 12, 512)

    params = context_params(model.model, QUICK, 4)
    assert (params.n_seq_max, params.n_outputs_max, params.n_ctx) == (4, 4, 256)


@pytest.mark.parametrize(
    ('settings', 'n_ctx', 'scale'),
    [
        ({'n_ctx': 0}, 512, 0),
        ({'n_ctx': 2048}, 512, 0),
        ({'n_ctx': 2048, 'rope_freq_scale': 0.25}, 2048, 0.25),
        ({'n_ctx': 2048, 'rope_freq_base': 40_000}, 2048, 0),
        ({'n_ctx': 2048, 'rope_scaling': 'yarn'}, 2048, 0.25),
        ({'n_ctx': 2048, 'rope_scaling': 'yarn', 'yarn_orig_ctx': 1024}, 2048, 0.5),
        ({'n_ctx': 2048, 'rope_scaling': 'linear', 'rope_freq_scale': 0.125}, 2048, 0.125),
        ({'n_ctx': 256, 'rope_scaling': 'linear'}, 256, 0),
        ({'n_ctx': 2048, 'rope_scaling': 'none', 'rope_freq_scale': 0.25}, 512, 0.25),
        ({'n_ctx': 2048, 'kv_overrides': ('llama.context_length=int:1024',)}, 1024, 0),
    ],
)
def test_only_a_stretched_context_is_longer_than_the_model_was_trained_with(
    path: Path, settings: dict[str, Any], n_ctx: int, scale: float
) -> None:
    chosen = QUICK.model_copy(update=settings)

    with bare(path, chosen) as model:
        for _ in range(2):  # the first YaRN context changes what the library says of the model
            params = context_params(model.model, chosen)
            assert (params.n_ctx, params.rope_freq_scale) == (n_ctx, scale)
        assert C.llama_n_ctx(model.context) == n_ctx
        assert model.say(3)


def test_arrays_live_as_long_as_the_parameters() -> None:
    params = model_params(
        QUICK.model_copy(
            update={
                'tensor_split': (3.0, 1.0),
                'tensor_overrides': ('ffn_up=CPU',),
                'n_cpu_moe': 12,
                'kv_overrides': ('some.key=str:some text', 'other.key=float:0.5'),
            }
        )
    )
    gc.collect()

    entry = ctypes.POINTER(ctypes.c_char_p)
    patterns = ctypes.cast(params.tensor_buft_overrides, entry)  # each with its buffer type behind it
    assert params.tensor_split[:3] == [3, 1, 0]
    assert [patterns[0], patterns[2]] == [b'ffn_up', rb'blk\.([0-9]|1[0-1])\.ffn_(up|down|gate|gate_up)_(ch|)exps']
    assert patterns[4] is None
    assert [(o.tag, o.key) for o in params.kv_overrides[:3]] == [(3, b'some.key'), (1, b'other.key'), (0, b'')]
    assert params.kv_overrides[0].value.val_str == b'some text'
    assert params.kv_overrides[1].value.val_f64 == 0.5


def test_metadata_are_overridden(path: Path) -> None:
    overrides = ('llama.context_length=int:300', 'tokenizer.ggml.eos_token_id=int:7', 'general.x=bool:true')

    with bare(path, QUICK.model_copy(update={'kv_overrides': overrides})) as model:
        assert C.llama_model_n_ctx_train(model.model) == 300
        assert C.llama_vocab_eos(C.llama_model_get_vocab(model.model)) == 7


def test_tensors_are_placed(path: Path) -> None:
    lines: list[bytes] = []
    watch = C.llama_log_callback(lambda level, text, _: lines.append(text))
    C.llama_log_set(watch, None)
    try:
        with bare(path, QUICK.model_copy(update={'tensor_overrides': ('ffn_(up|gate)=CPU',), 'n_cpu_moe': 1})) as model:
            assert model.say(1)
    finally:
        LIBRARY_LOG.install()

    moved = {line.split()[1] for line in lines if b'buffer type overridden to CPU' in line}
    assert moved == {f'blk.{layer}.ffn_{kind}.weight'.encode() for layer in (0, 1) for kind in ('up', 'gate')}


def test_broken_weights_are_found_if_asked_for(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4:] = b'\xff\xff\xff\x7f'  # not a number
    path.write_bytes(data)

    with bare(path):
        pass
    with (
        pytest.raises(LoadFailed, match='has invalid data'),
        bare(path, QUICK.model_copy(update={'check_tensors': True})),
    ):
        pass


@pytest.mark.parametrize('load_mode', ['auto', 'mmap', 'read', 'mmap+mlock', 'mlock', 'direct_io'])
def test_every_way_to_read_the_file_gives_the_same_model(path: Path, load_mode: str) -> None:
    with bare(path, QUICK.model_copy(update={'load_mode': load_mode})) as model:
        assert model.say(3) == [tiny.FIRST_WORD + 1, tiny.FIRST_WORD + 2, tiny.FIRST_WORD + 3]


def test_threads_change_while_the_model_is_loaded(model: BareModel) -> None:
    assert (C.llama_n_threads(model.context), C.llama_n_threads_batch(model.context)) == (1, 1)

    set_threads(model.context, QUICK.model_copy(update={'n_threads': 2, 'n_threads_batch': 3}))
    assert (C.llama_n_threads(model.context), C.llama_n_threads_batch(model.context)) == (2, 3)
    assert model.say(2)

    set_threads(model.context, QUICK)
    assert (C.llama_n_threads(model.context), C.llama_n_threads_batch(model.context)) == (1, 1)


# What the library says


def test_a_model_tells_what_its_memory_can_do(model: BareModel) -> None:
    assert model_facts(model.model, model.context) == ModelFacts(
        is_recurrent=False, is_hybrid=False, n_swa=0, can_shift=True, has_encoder=False, n_cls_out=1
    )


def test_the_cpu_is_among_the_devices() -> None:
    (cpu,) = [device for device in devices() if device.kind == 'cpu']

    assert cpu.name == 'CPU'
    assert 0 < cpu.free <= cpu.total == psutil.virtual_memory().total
    assert machine().startswith(f'CPU {cpu.description}')
    assert machine() == machine()


# Refusals


@pytest.mark.parametrize(
    ('settings', 'reason'),
    [
        (
            {'type_v': 'q8_0', 'flash_attn': 'off'},
            'A V cache of type q8_0 needs flash attention. Set "Flash attention"',
        ),
        ({'devices': ('ROCm7',)}, '"Devices": there is no device ROCm7 here.'),
        ({'devices': ('CPU',)}, '"Devices": there is no device CPU here.'),
        ({'devices': ('ROCm0', 'ROCm0')}, '"Devices" names ROCm0 2 times.'),
        ({'tensor_overrides': ('ffn=ROCm7',)}, '"Tensor placement": no device ROCm7 is in use. These are there: CPU'),
        ({'tensor_overrides': ('ff(n=CPU',)}, 'is wrong: missing )'),
        ({'kv_overrides': ('a=b',)}, "'a=b' is not KEY=TYPE:VALUE"),
        ({'loras': ('=0.5',)}, "'=0.5' names no file"),
        ({'tensor_split': (1.0, -1.0)}, '"Share per GPU" has a number below 0.'),
        ({'n_ctx': -1}, '"As much as fits" was not worked out'),
        ({'n_gpu_layers': -2}, '"As much as fits" was not worked out'),
    ],
)
def test_what_the_library_would_refuse_or_die_of_is_refused_with_the_way_out(
    settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(LoadFailed) as caught:
        check_settings(QUICK.model_copy(update=settings))

    assert reason in str(caught.value)


@pytest.mark.skipif(any(device.is_gpu for device in devices()), reason='there is a GPU')
def test_tensors_are_not_split_over_gpus_that_are_not_there() -> None:
    with pytest.raises(LoadFailed, match='there is no GPU here'):
        check_settings(QUICK.model_copy(update={'split_mode': 'tensor'}))


@pytest.mark.parametrize('title', ['K cache type', 'V cache type'])
def test_heads_must_fill_the_blocks_of_a_quantized_cache(path: Path, title: str) -> None:
    """Without flash attention the library would not notice, and compute with the wrong numbers."""
    settings = QUICK.model_copy(update={'flash_attn': 'on', 'type_k' if title[0] == 'K' else 'type_v': 'q8_0'})

    with pytest.raises(LoadFailed, match=rf'blocks of 32, which the heads of this model \(16\).*Set "{title}" to f16'):
        check_settings(settings, read_header(path))
    with pytest.raises(LoadFailed, match=r'with block size 32 does not divide n_embd_head.*Take the load settings'):
        bare(path, settings).__enter__()


def test_heads_of_a_model_with_other_ones_in_its_windows_count_too(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(
        tmp_path / 'm.gguf', llama__attention__key_length=64, llama__attention__key_length_swa=40
    )

    with pytest.raises(LoadFailed, match=r'\(40\)'):
        check_settings(QUICK.model_copy(update={'type_k': 'q4_0'}), read_header(path))


def test_keys_and_values_that_are_one_need_one_type(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(
        tmp_path / 'm.gguf', llama__attention__key_length=64, llama__attention__value_length=64,
        llama__attention__key_length_mla=64,
    )  # fmt: skip

    with pytest.raises(LoadFailed, match='keeps keys and values in one'):
        check_settings(QUICK.model_copy(update={'type_k': 'q8_0'}), read_header(path))


# The log


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What we log, each line with its level."""
    found: list[str] = []
    number = logger.add(lambda message: found.append(message.rstrip('\n')), format='{level} {message}', level=0)
    yield found
    logger.remove(number)


def say(log: LibraryLog, *said: tuple[int, str]) -> None:
    for level, text in said:
        log._callback(level, text.encode(), None)


def test_levels_are_translated_and_lines_joined(lines: list[str]) -> None:
    say(
        LibraryLog(),
        (DEBUG, 'create_tensor: loading\n'),
        (INFO, 'using override = '),
        (INFO, 'true\n'),
        (INFO, 'load_tensors: loading'),
        (CONTINUED, '.'),
        (CONTINUED, '.. done\n'),
        (WARNING, 'llama_mlock: failed to mlock\n'),
        (WARNING, "load: control-looking token:      2 '</s>' was not control-type\n"),
        (DEBUG, 'secret'),
        (CONTINUED, ' part\n'),
        (INFO, '................\n'),
        (ERROR, 'one\ntwo\n'),
    )

    assert lines == [
        'DEBUG llama.cpp: using override =',
        'DEBUG llama.cpp: true',
        'DEBUG llama.cpp: load_tensors: loading... done',
        'WARNING llama.cpp: llama_mlock: failed to mlock',
        "DEBUG llama.cpp: load: control-looking token:      2 '</s>' was not control-type",
        'ERROR llama.cpp: one',
        'ERROR llama.cpp: two',
    ]


def test_a_sound_model_loads_without_a_warning(path: Path, lines: list[str]) -> None:
    with bare(path) as model:
        model.say(1)

    assert len(lines) > 50
    assert all(line.startswith('DEBUG llama.cpp: ') for line in lines)


def test_a_failure_is_told_cause_first_and_without_repeats() -> None:
    log = LibraryLog()
    assert log.reason() == 'it gave no reason.'

    say(
        log,
        (ERROR, 'alloc_buffer: failed to allocate a buffer of 5 bytes\n'),
        (ERROR, 'alloc_tensor_range: failed to allocate CPU buffer\n'),
        (ERROR, 'alloc_tensor_range: failed to allocate CPU buffer\n'),
        (ERROR, 'cleanup: nothing to free\n'),
        (ERROR, 'llama_init_from_model: failed to initialize the context: no KV cache.\n'),
        (ERROR, 'llama_model_load_from_file_impl: failed to load model\n'),
    )

    assert log.reason() == (
        'failed to allocate a buffer of 5 bytes; failed to allocate CPU buffer; '
        'failed to initialize the context: no KV cache.'
    )


def test_what_failed_for_lack_of_memory_is_told_so() -> None:
    LIBRARY_LOG.errors.clear()
    say(LIBRARY_LOG, (ERROR, 'llama_model_load: error loading model: unable to allocate CPU buffer\n'))
    assert isinstance(load_failure('m.gguf'), NotEnoughMemory)

    LIBRARY_LOG.errors.clear()
    say(LIBRARY_LOG, (ERROR, 'llama_model_load: error loading model: done_getting_tensors: wrong number\n'))
    assert type(load_failure('m.gguf')) is LoadFailed
