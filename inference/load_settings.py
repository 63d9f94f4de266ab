"""How a model is put into memory, and what its engine may use."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from inference.declare import live, needs_reload

KVType = Literal['f16', 'bf16', 'f32', 'q8_0', 'q5_1', 'q5_0', 'q4_1', 'q4_0', 'iq4_nl']
FITS, ALL_LAYERS, LAYERS_THAT_FIT = -1, -1, -2
"""Values of `n_ctx` and `n_gpu_layers` that are numbers only once there is a model and a machine."""
FREE_SEATS = 8


class LoadSettings(BaseModel):
    """A change needs a reload, but for those the engine can change while it runs."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    @property
    def stretches(self) -> bool:
        """Whether the context may be longer than the model was trained with."""
        scales = self.rope_scaling != 'none' and (self.rope_scaling != 'model' or 0 < self.rope_freq_scale < 1)
        return scales or self.rope_freq_base > 0

    n_ctx: int = needs_reload(
        8192,
        'Context length',
        'Tokens that prompt and reply share, all chats together; 0 takes the length the model was trained with, '
        '-1 as much as fits into memory. A longer context costs memory for its KV cache. Longer than trained needs '
        'a context extension.',
        group='Basic',
        unit='tokens',
        step=256,
        ge=-1,
        le=1_048_576,
    )
    n_gpu_layers: int = needs_reload(
        -1,
        'GPU layers',
        'Layers kept on the GPU; -1 keeps all of them there, 0 none, -2 as many as fit. Without a GPU no effect.',
        group='Basic',
        unit='layers',
        ge=-2,
        le=999,
    )
    n_threads: int = live(
        0,
        'CPU threads',
        'Threads that compute replies; 0 takes what was measured to be best, else all physical cores but one. '
        'More than the free cores is very slow.',
        group='Basic',
        unit='threads',
        ge=0,
        le=512,
    )
    n_slots: int = live(
        4,
        'Replies at once',
        'How many replies are written at the same time; more wait. They share the context. '
        'More than the model was loaded with needs a reload.',
        group='Basic',
        ge=1,
        le=64,
    )
    n_threads_batch: int = live(
        0,
        'CPU threads for prompts',
        'Threads that read prompts; 0 takes as many as for replies.',
        group='Sharing',
        unit='threads',
        ge=0,
        le=512,
    )
    slots_per_user: int = live(
        0,
        'Replies at once per user',
        'How many replies one user can have written at the same time; 0 sets no limit.',
        group='Sharing',
        ge=0,
        le=64,
    )
    cache_ram: int = live(
        -1,
        'Cache of idle chats',
        'RAM that keeps what was read of chats which are not answered now, so that they go on without being read '
        'again; -1 takes a quarter of what is free, 0 none.',
        group='Sharing',
        unit='MiB',
        step=256,
        ge=-1,
        le=1_048_576,
    )
    n_batch: int = needs_reload(
        512,
        'Evaluation batch',
        'Prompt tokens handed over in one go. Larger reads prompts faster and costs a little memory.',
        group='Memory',
        unit='tokens',
        step=32,
        ge=32,
        le=8192,
    )
    n_ubatch: int = needs_reload(
        512,
        'Physical batch',
        'Tokens computed at once, at most the evaluation batch. Larger reads prompts faster on a GPU '
        'and costs memory to compute in.',
        group='Memory',
        unit='tokens',
        step=32,
        ge=32,
        le=8192,
    )
    flash_attn: Literal['auto', 'on', 'off'] = needs_reload(
        'auto',
        'Flash attention',
        'Auto takes what was measured to be faster, else on for a GPU and off for a CPU, '
        'where it slows long chats down.',
        group='Memory',
    )
    offload_kqv: bool = needs_reload(
        True,
        'KV cache on the GPU',
        'Off keeps the KV cache in RAM: frees GPU memory, slower replies.',
        group='Memory',
    )
    op_offload: bool = needs_reload(
        True,
        'Compute prompts on the GPU',
        'Large batches go to the GPU even for layers that are kept in RAM; off saves the copying.',
        group='Memory',
    )
    type_k: KVType = needs_reload(
        'f16',
        'K cache type',
        'Numbers of the key cache; q8_0 halves its memory at a small loss.',
        group='Memory',
    )
    type_v: KVType = needs_reload(
        'f16',
        'V cache type',
        'Numbers of the value cache; a quantized type needs flash attention on.',
        group='Memory',
    )
    swa_full: bool = needs_reload(
        False,
        'Full cache for sliding windows',
        'Models with a sliding window keep everything, not just the window: chats can be cut anywhere without '
        'reading again, at the memory of a full cache.',
        group='Memory',
    )
    load_mode: Literal['auto', 'mmap', 'read', 'mmap+mlock', 'mlock', 'direct_io'] = needs_reload(
        'auto',
        'How the file is read',
        'mmap maps it into memory: loads faster and shares the disk cache. read copies it: loads slower, and is best '
        'for slow disks. mlock keeps it in RAM, so that it is never swapped out, at the cost of other programs. '
        'direct_io reads past the disk cache.',
        group='Memory',
    )
    use_extra_bufts: bool = needs_reload(
        True,
        'Repack weights for this CPU',
        'Faster on the CPU (AMX, AVX); costs RAM and load time. '
        'Switched off by itself where the trial load finds that it crashes.',
        group='Memory',
    )
    split_mode: Literal['layer', 'none', 'row', 'tensor'] = needs_reload(
        'layer',
        'Split over GPUs',
        'layer spreads layers over all GPUs, row splits matrices (slow over a slow bus), tensor computes on all at '
        'once (needs flash attention and a fast bus), none uses the main GPU alone.',
        group='GPU',
    )
    main_gpu: int = needs_reload(
        0,
        'Main GPU',
        'The GPU that is used alone, or for small tensors and results where matrices are split.',
        group='GPU',
        ge=0,
        le=15,
    )
    tensor_split: tuple[float, ...] = needs_reload(
        (),
        'Share per GPU',
        'How much of the model each GPU gets, such as 3, 1; empty divides by free memory.',
        group='GPU',
        max_length=16,
    )
    devices: tuple[str, ...] = needs_reload(
        (),
        'Devices',
        'The devices that are used, by name, such as ROCm0 or Vulkan1; empty uses all GPUs. Fewer devices have less '
        'memory.',
        group='GPU',
        max_length=16,
    )
    n_cpu_moe: int = needs_reload(
        0,
        'Expert layers on the CPU',
        'The experts of the first so many layers stay in RAM: makes large mixture-of-experts models fit, '
        'at some speed.',
        group='GPU',
        unit='layers',
        ge=0,
        le=999,
    )
    tensor_overrides: tuple[str, ...] = needs_reload(
        (),
        'Tensor placement',
        'Where tensors go, as PATTERN=DEVICE with a regular expression for their names, such as ffn_.*_exps=CPU; the '
        'first that matches counts. What is kept on the CPU frees GPU memory and is slower.',
        group='Expert',
        max_length=64,
    )
    kv_overrides: tuple[str, ...] = needs_reload(
        (),
        'Metadata overrides',
        'Values that replace those of the file, as KEY=TYPE:VALUE with int, float, bool or str, '
        'such as qwen3moe.expert_used_count=int:4. A wrong value costs sense, or the load.',
        group='Expert',
        max_length=64,
    )
    check_tensors: bool = needs_reload(
        False,
        'Check weights',
        'Looks for broken numbers while loading; loads slower.',
        group='Expert',
    )
    rope_scaling: Literal['model', 'none', 'linear', 'yarn', 'longrope'] = needs_reload(
        'model',
        'Context extension',
        'How the model is stretched past the length it was trained with, at some loss also for short chats; model '
        'takes what its file says.',
        group='Context extension',
    )
    rope_freq_base: float = needs_reload(
        0.0,
        'RoPE base frequency',
        "0 takes the model's own. Raised, it stretches the context at some loss.",
        group='Context extension',
        step=1000,
        ge=0,
        le=1e9,
    )
    rope_freq_scale: float = needs_reload(
        0.0,
        'RoPE frequency scale',
        "0 takes the model's own, with linear and yarn what the context length needs; 0.5 doubles the context at some "
        'loss.',
        group='Context extension',
        step=0.05,
        ge=0,
        le=16,
    )
    yarn_orig_ctx: int = needs_reload(
        0,
        'YaRN original context',
        "The length the model was trained with before it was stretched; 0 takes the file's.",
        group='Context extension',
        unit='tokens',
        step=256,
        ge=0,
        le=1_048_576,
    )
    yarn_ext_factor: float = needs_reload(
        -1.0,
        'YaRN extrapolation',
        "Mix of interpolation (0) and extrapolation (1); -1 takes the model's own.",
        group='Context extension',
        step=0.05,
        ge=-1,
        le=16,
    )
    yarn_attn_factor: float = needs_reload(
        -1.0,
        'YaRN attention factor',
        "Scales the attention; -1 takes the model's own.",
        group='Context extension',
        step=0.05,
        ge=-1,
        le=16,
    )
    yarn_beta_fast: float = needs_reload(
        -1.0,
        'YaRN beta fast',
        "Where extrapolation begins; -1 takes the model's own.",
        group='Context extension',
        ge=-1,
        le=1024,
    )
    yarn_beta_slow: float = needs_reload(
        -1.0,
        'YaRN beta slow',
        "Where interpolation begins; -1 takes the model's own.",
        group='Context extension',
        ge=-1,
        le=1024,
    )
    draft: Literal['auto', 'on', 'off'] = needs_reload(
        'auto',
        'Guess ahead',
        'Guesses the next tokens from what is already in the chat and checks them all at once: faster where text is '
        'repeated or edited, never different. Auto is on only where it was measured to help.',
        group='Expert',
    )
    loras: tuple[str, ...] = live(
        (),
        'LoRA adapters',
        'Files that change how the model writes, as FILE or FILE=SCALE with 1 for full strength; FILE may lie beside '
        'the model. They cost their size in memory and a little speed; after a change chats are read anew.',
        group='Expert',
        max_length=16,
    )
    pooling: Literal['model', 'mean', 'cls', 'last'] = live(
        'model',
        'Embedding pooling',
        'How the vectors of a text become one; model takes what its file says, or the mean.',
        group='Expert',
    )

    def seats(self, *, each_costs: bool) -> int:
        """Return how many sequences a context is made for: room to raise `n_slots` live, where a seat costs nothing."""
        return self.n_slots if each_costs else max(self.n_slots, FREE_SEATS)

    def for_reading(self) -> Self:
        """Return the settings for a model that will not write: its context for replies is as small as can be."""
        return self.model_copy(update={'n_ctx': 256, 'n_batch': 32, 'n_slots': 1, 'cache_ram': 0, 'draft': 'off'})
