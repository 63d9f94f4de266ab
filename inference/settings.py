"""Every load and sampling parameter, declared once; form, command line, API and docs are drawn from here."""

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import annotated_types as bounds
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Kind = Literal['bool', 'int', 'float', 'choice', 'texts']
KVType = Literal['f16', 'bf16', 'f32', 'q8_0', 'q5_1', 'q5_0', 'q4_1', 'q4_0', 'iq4_nl']


def _setting(
    default: Any, title: str, help: str, *, group: str, reload: bool, unit: str = '', step: float = 1, **limits: Any
) -> Any:
    extra: dict[str, Any] = {'group': group, 'unit': unit, 'step': step, 'needs_reload': reload}
    return Field(default, title=title, description=help, json_schema_extra=extra, **limits)


_load = partial(_setting, reload=True)
_sampling = partial(_setting, reload=False)


class LoadSettings(BaseModel):
    """How a model is put into memory; a change needs a reload."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    n_ctx: int = _load(
        8192,
        'Context length',
        'Tokens that prompt and reply share; 0 takes the length the model was trained with, '
        'which is also the most that is used. A longer context costs memory for its KV cache.',
        group='Basic',
        unit='tokens',
        step=256,
        ge=0,
        le=1_048_576,
    )
    n_gpu_layers: int = _load(
        -1,
        'GPU layers',
        'Layers kept on the GPU; -1 keeps all of them there, 0 none. Without a GPU it has no effect.',
        group='Basic',
        unit='layers',
        ge=-1,
        le=999,
    )
    n_threads: int = _load(
        0,
        'CPU threads',
        'Threads that compute; 0 takes all physical cores but one. More than the free cores is very slow.',
        group='Basic',
        unit='threads',
        ge=0,
        le=512,
    )
    n_batch: int = _load(
        512,
        'Evaluation batch',
        'Prompt tokens computed in one go. Larger reads prompts faster and costs memory.',
        group='Basic',
        unit='tokens',
        step=32,
        ge=32,
        le=8192,
    )
    flash_attn: Literal['auto', 'on', 'off'] = _load(
        'auto',
        'Flash attention',
        'Auto is on for a GPU and off for a CPU, where it slows long chats down.',
        group='Memory',
    )
    offload_kqv: bool = _load(
        True,
        'KV cache on the GPU',
        'Off keeps the KV cache in RAM: frees GPU memory, slower replies.',
        group='Memory',
    )
    type_k: KVType = _load(
        'f16',
        'K cache type',
        'Numbers of the key cache; q8_0 halves its memory at a small loss.',
        group='Memory',
    )
    type_v: KVType = _load(
        'f16',
        'V cache type',
        'Numbers of the value cache; a quantized type needs flash attention on.',
        group='Memory',
    )
    use_mmap: bool = _load(
        True,
        'Map the file',
        'Maps the file into memory instead of reading it: loads faster, shares the disk cache.',
        group='Memory',
    )
    use_mlock: bool = _load(
        False,
        'Keep in memory',
        'Locks the model in RAM, so that the system never swaps it out.',
        group='Memory',
    )
    use_extra_bufts: bool = _load(
        True,
        'Repack weights for this CPU',
        'Faster on the CPU (AMX, AVX); costs RAM and load time. '
        'Switched off by itself where the trial load finds that it crashes.',
        group='Memory',
    )


class SamplingSettings(BaseModel):
    """How the next token is chosen and when a reply ends; applies to the next reply."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    temperature: float = _sampling(
        0.7,
        'Temperature',
        'How much chance is allowed; 0 always takes the most likely token.',
        group='Sampling',
        step=0.05,
        ge=0,
        le=5,
    )
    top_k: int = _sampling(
        40,
        'Top-k',
        'Only the k most likely tokens stay; 0 keeps all.',
        group='Sampling',
        ge=0,
        le=1000,
    )
    top_p: float = _sampling(
        0.95,
        'Top-p',
        'The most likely tokens that together have this probability stay; 1 keeps all.',
        group='Sampling',
        step=0.01,
        ge=0,
        le=1,
    )
    min_p: float = _sampling(
        0.05,
        'Min-p',
        'Drops tokens less likely than this share of the most likely one; 0 drops none.',
        group='Sampling',
        step=0.01,
        ge=0,
        le=1,
    )
    repeat_penalty: float = _sampling(
        1.1,
        'Repeat penalty',
        'Makes tokens of the last part of the chat less likely; 1 changes nothing.',
        group='Repetition',
        step=0.01,
        ge=0.5,
        le=2,
    )
    repeat_last_n: int = _sampling(
        64,
        'Repeat window',
        'How many of the last tokens the penalties look at; 0 switches them off.',
        group='Repetition',
        unit='tokens',
        ge=0,
        le=8192,
    )
    presence_penalty: float = _sampling(
        0.0,
        'Presence penalty',
        'Taken off the score of every token that occurred in the window.',
        group='Repetition',
        step=0.05,
        ge=-2,
        le=2,
    )
    frequency_penalty: float = _sampling(
        0.0,
        'Frequency penalty',
        'Taken off the score of a token for each time it occurred in the window.',
        group='Repetition',
        step=0.05,
        ge=-2,
        le=2,
    )
    max_tokens: int = _sampling(
        0,
        'Max tokens',
        'The reply ends after this many tokens; 0 lets it fill the context.',
        group='Reply',
        unit='tokens',
        step=64,
        ge=0,
        le=1_048_576,
    )
    seed: int = _sampling(
        -1,
        'Seed',
        'The same seed and input give the same reply; -1 takes a new one each time.',
        group='Reply',
        ge=-1,
        le=4_294_967_294,
    )
    stop: tuple[str, ...] = _sampling(
        (),
        'Stop strings',
        'The reply ends before the first of these texts.',
        group='Reply',
        max_length=16,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One parameter as a form or a help text needs it; `minimum` and `maximum` are inclusive."""

    name: str
    title: str
    help: str
    group: str
    unit: str
    kind: Kind
    default: Any
    step: float
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    needs_reload: bool


def describe(model: type[BaseModel]) -> Iterator[Setting]:
    """Yield the parameters of `LoadSettings` or `SamplingSettings` in their order."""
    for name, info in model.model_fields.items():
        extra = typing.cast('dict[str, Any]', info.json_schema_extra)
        kind = _kind(info.annotation)
        yield Setting(
            name=name,
            title=info.title or name,
            help=info.description or '',
            kind=kind,
            default=info.default,
            group=extra['group'],
            unit=extra['unit'],
            step=extra['step'],
            needs_reload=extra['needs_reload'],
            minimum=_limit(info, bounds.Ge, 'ge'),
            maximum=_limit(info, bounds.Le, 'le'),
            choices=typing.get_args(info.annotation) if kind == 'choice' else (),
        )


def _kind(annotation: Any) -> Kind:
    kinds: dict[Any, Kind] = {bool: 'bool', int: 'int', float: 'float', tuple[str, ...]: 'texts'}
    return kinds.get(annotation, 'choice')


def _limit(info: FieldInfo, kind: type, attribute: str) -> float | None:
    return next((getattr(item, attribute) for item in info.metadata if isinstance(item, kind)), None)
