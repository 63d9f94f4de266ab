"""What llama.cpp asserts of a header, and ends the process without: said here, in words, before it reads the file.

Only what holds for every architecture; see `llama_model_base::load_hparams` in llama.cpp's `llama-model.cpp`.
"""

from collections.abc import Iterable, Mapping

from inference.gguf_reader import Damaged, TensorInfo, Value, count_of

MOST_LAYERS, MOST_EXPERTS = 512, 1024
ROTATED = ('rope.dimension_count', 'rope.dimension_count_swa')
ROPE_SCALING = ('none', 'linear', 'yarn', 'longrope')
EPSILONS = ('attention.layer_norm_epsilon', 'attention.layer_norm_rms_epsilon', 'attention.group_norm_epsilon')
MAY_HAVE_ONE_EXPERT = ('hunyuan_vl', 'hunyuan-dense')
"""Their files say one expert where they mean none."""
NO_WEIGHTS = ('I8', 'I16', 'I64', 'F64', 'Q8_1', 'Q8_K')
"""Types that llama.cpp has, but cannot multiply with."""


def check_numbers(architecture: str, metadata: Mapping[str, Value]) -> None:
    """Refuse numbers that no model of any architecture has. Raises Damaged."""
    values = {key.removeprefix(f'{architecture}.'): value for key, value in metadata.items()}
    _check_layers(values)
    _check_experts(architecture, values)
    _check_rope(values)
    for key in EPSILONS:
        epsilon = values.get(key, 0)
        if isinstance(epsilon, float) and not epsilon >= 0:
            raise Damaged(f'"{key}" is {epsilon}, and must not be below 0')


def check_types(tensors: Iterable[TensorInfo]) -> None:
    """Refuse weights of a type that nothing can be computed with. Raises Damaged."""
    for tensor in tensors:
        if tensor.type in NO_WEIGHTS:
            raise Damaged(f'tensor "{tensor.name}" has the type {tensor.type}, with which no model computes')


def _check_layers(values: Mapping[str, Value]) -> None:
    n_layer = count_of(values, 'block_count', most=MOST_LAYERS)
    if not n_layer:
        raise Damaged('it announces no layers')
    count_of(values, 'nextn_predict_layers', most=n_layer)


def _check_experts(architecture: str, values: Mapping[str, Value]) -> None:
    n_expert, used = count_of(values, 'expert_count', most=MOST_EXPERTS), _most_used(values)
    groups, used_groups = count_of(values, 'expert_group_count'), count_of(values, 'expert_group_used_count')
    if n_expert <= 1 and architecture in MAY_HAVE_ONE_EXPERT:
        n_expert = used = 0
    if used > n_expert or (n_expert and not used):
        raise Damaged(f'it uses {used:,} of {n_expert:,} experts')
    if groups and (groups >= n_expert or n_expert % groups):
        raise Damaged(f'it has {n_expert:,} experts in {groups:,} groups')
    if groups > 1 and not 0 < used_groups < groups:
        raise Damaged(f'it uses {used_groups:,} of {groups:,} groups of experts')


def _check_rope(values: Mapping[str, Value]) -> None:
    for key in ROTATED:
        if count_of(values, key) % 2:
            raise Damaged(f'"{key}" is {values[key]}, and must be even, since numbers are rotated in pairs')
    scaling = values.get('rope.scaling.type')
    if isinstance(scaling, str) and scaling not in ROPE_SCALING:
        raise Damaged(f'it stretches its context in a way called {scaling!r:.40}, which llama.cpp does not know')


def _most_used(values: Mapping[str, Value]) -> int:
    used = values.get('expert_used_count', 0)
    if not isinstance(used, tuple):
        return count_of(values, 'expert_used_count')
    return max((count_of({'expert_used_count': one}, 'expert_used_count') for one in used), default=0)
