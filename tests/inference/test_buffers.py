"""Reading the sizes that llama.cpp writes into its log."""

from inference.buffers import is_about_buffers, read_buffers

MIB = 1 << 20
LOG = """\
load_tensors:   CPU_Mapped model buffer size =    24.90 MiB
load_tensors:        ROCm0 model buffer size =    60.00 MiB
load_tensors:       ROCm10 model buffer size =     4.00 MiB
llama_context:  ROCm_Host  output buffer size =     0.50 MiB
llama_kv_cache:      ROCm0 KV buffer size =    10.00 MiB
llama_kv_cache:        CPU KV buffer size =     6.00 MiB
llama_kv_cache: size =   16.00 MiB (  4096 cells,   8 layers,  4/1 seqs), K (f16):    8.00 MiB, V (f16):    8.00 MiB
llama_memory_recurrent:        CPU RS buffer size =     2.00 MiB
llama_memory_recurrent: size =    2.00 MiB (     4 cells,   8 layers,  4 seqs  0 rs_seq), R (f32):    1.00 MiB
sched_reserve:      ROCm0 compute buffer size =    20.00 MiB
sched_reserve:  ROCm_Host compute buffer size =     7.00 MiB
sched_reserve: graph nodes  = 566
llama_context: n_ctx         = 4096
"""


def test_sizes_are_added_up_by_device_and_host_memory_of_a_gpu_is_ram() -> None:
    said = read_buffers(LOG.splitlines(), ['ROCm0', 'ROCm10'])

    assert {name: round(size / MIB, 2) for name, size in said.weights.items()} == {
        'CPU': 24.9,
        'ROCm0': 60,
        'ROCm10': 4,
    }
    assert said.kv_cache == {'ROCm0': 10 * MIB, 'CPU': 8 * MIB}
    assert said.compute == {'ROCm0': 20 * MIB, 'CPU': 7.5 * MIB}
    assert said.cache == 18 * MIB


def test_names_of_mapped_and_remote_buffers_begin_with_their_device() -> None:
    lines = ['x: MTL0_Mapped model buffer size = 3.00 MiB', 'x: RPC0[10.0.0.1:50052] model buffer size = 2.00 MiB']

    assert read_buffers(lines, ['MTL0', 'RPC0']).weights == {'MTL0': 3 * MIB, 'RPC0': 2 * MIB}


def test_other_lines_do_not_count() -> None:
    assert [is_about_buffers(line) for line in LOG.splitlines()] == [True] * 11 + [False] * 2
