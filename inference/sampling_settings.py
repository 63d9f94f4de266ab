"""How the next token is chosen, what a reply may look like, and when it ends."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from inference.declare import live

SamplerName = Literal['dry', 'top_n_sigma', 'top_k', 'typical_p', 'min_p', 'top_p', 'xtc', 'temperature']
DEFAULT_SAMPLERS: tuple[SamplerName, ...] = (
    'dry', 'top_n_sigma', 'top_k', 'typical_p', 'min_p', 'top_p', 'xtc', 'temperature',
)  # fmt: skip
MOST_BIAS = 1000.0


class SamplingSettings(BaseModel):
    """Applies to the next reply."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    temperature: float = live(
        0.7,
        'Temperature',
        'How much chance is allowed; 0 always takes the most likely token.',
        group='Sampling',
        step=0.05,
        ge=0,
        le=5,
    )
    top_k: int = live(
        40,
        'Top-k',
        'Only the k most likely tokens stay; 0 keeps all.',
        group='Sampling',
        ge=0,
        le=1000,
    )
    top_p: float = live(
        0.95,
        'Top-p',
        'The most likely tokens that together have this probability stay; 1 keeps all.',
        group='Sampling',
        step=0.01,
        ge=0,
        le=1,
    )
    min_p: float = live(
        0.05,
        'Min-p',
        'Drops tokens less likely than this share of the most likely one; 0 drops none.',
        group='Sampling',
        step=0.01,
        ge=0,
        le=1,
    )
    typical_p: float = live(
        1.0,
        'Typical-p',
        'Keeps the tokens that surprise as much as the model expects, up to this probability; 1 keeps all.',
        group='More sampling',
        step=0.01,
        ge=0,
        le=1,
    )
    top_n_sigma: float = live(
        -1.0,
        'Top-n-sigma',
        'Keeps tokens whose score is within so many standard deviations of the best; -1 keeps all.',
        group='More sampling',
        step=0.1,
        ge=-1,
        le=10,
    )
    xtc_probability: float = live(
        0.0,
        'XTC probability',
        'How often the most likely tokens are left out, for less predictable prose; 0 never.',
        group='More sampling',
        step=0.05,
        ge=0,
        le=1,
    )
    xtc_threshold: float = live(
        0.1,
        'XTC threshold',
        'XTC leaves out tokens at least this likely, all but the last of them; above 0.5 it does nothing.',
        group='More sampling',
        step=0.01,
        ge=0,
        le=1,
    )
    dynatemp_range: float = live(
        0.0,
        'Dynamic temperature range',
        'The temperature moves by this much around its value, low where the model is sure; 0 switches it off.',
        group='More sampling',
        step=0.05,
        ge=0,
        le=5,
    )
    dynatemp_exponent: float = live(
        1.0,
        'Dynamic temperature exponent',
        "How strongly the dynamic temperature follows the model's doubt.",
        group='More sampling',
        step=0.1,
        ge=0.01,
        le=10,
    )
    mirostat: Literal['off', 'v1', 'v2'] = live(
        'off',
        'Mirostat',
        'Steers towards a steady amount of surprise; takes the place of the other samplers but temperature.',
        group='More sampling',
    )
    mirostat_tau: float = live(
        5.0,
        'Mirostat tau',
        'The surprise that Mirostat aims at; lower is more predictable.',
        group='More sampling',
        step=0.1,
        ge=0,
        le=20,
    )
    mirostat_eta: float = live(
        0.1,
        'Mirostat eta',
        'How fast Mirostat corrects itself.',
        group='More sampling',
        step=0.01,
        ge=0,
        le=1,
    )
    adaptive_target: float = live(
        -1.0,
        'Adaptive-p target',
        'Prefers tokens near this probability and corrects itself as it goes; -1 switches it off.',
        group='More sampling',
        step=0.01,
        ge=-1,
        le=1,
    )
    adaptive_decay: float = live(
        0.9,
        'Adaptive-p decay',
        'How slowly adaptive-p forgets; higher is steadier.',
        group='More sampling',
        step=0.01,
        ge=0,
        le=0.99,
    )
    samplers: tuple[SamplerName, ...] = live(
        DEFAULT_SAMPLERS,
        'Sampler order',
        'The order in which the samplers work; one that is left out does not. Penalties come before all of them.',
        group='More sampling',
        max_length=len(DEFAULT_SAMPLERS),
    )
    repeat_penalty: float = live(
        1.1,
        'Repeat penalty',
        'Makes tokens of the last part of the chat less likely; 1 changes nothing.',
        group='Repetition',
        step=0.01,
        ge=0.5,
        le=2,
    )
    repeat_last_n: int = live(
        64,
        'Repeat window',
        'How many of the last tokens the penalties look at; 0 switches them off.',
        group='Repetition',
        unit='tokens',
        ge=0,
        le=8192,
    )
    presence_penalty: float = live(
        0.0,
        'Presence penalty',
        'Taken off the score of every token that occurred in the window.',
        group='Repetition',
        step=0.05,
        ge=-2,
        le=2,
    )
    frequency_penalty: float = live(
        0.0,
        'Frequency penalty',
        'Taken off the score of a token for each time it occurred in the window.',
        group='Repetition',
        step=0.05,
        ge=-2,
        le=2,
    )
    dry_multiplier: float = live(
        0.0,
        'DRY multiplier',
        'Punishes tokens that would go on with a sequence that was there before; 0 switches it off, 0.8 is usual.',
        group='Repetition',
        step=0.05,
        ge=0,
        le=10,
    )
    dry_base: float = live(
        1.75,
        'DRY base',
        'How fast the punishment grows with the length of the repeated sequence.',
        group='Repetition',
        step=0.05,
        ge=1,
        le=8,
    )
    dry_allowed_length: int = live(
        2,
        'DRY allowed length',
        'Repeats up to this length are not punished.',
        group='Repetition',
        unit='tokens',
        ge=1,
        le=256,
    )
    dry_penalty_last_n: int = live(
        -1,
        'DRY window',
        'How many of the last tokens DRY looks at; -1 all of the context, 0 none.',
        group='Repetition',
        unit='tokens',
        ge=-1,
        le=1_048_576,
    )
    dry_sequence_breakers: tuple[str, ...] = live(
        ('\n', ':', '"', '*'),
        'DRY sequence breakers',
        'Texts at which a repeated sequence ends.',
        group='Repetition',
        max_length=32,
    )
    max_tokens: int = live(
        0,
        'Max tokens',
        'The reply ends after this many tokens; 0 lets it fill the context.',
        group='Reply',
        unit='tokens',
        step=64,
        ge=0,
        le=1_048_576,
    )
    seed: int = live(
        -1,
        'Seed',
        'The same seed and input give the same reply; -1 takes a new one each time.',
        group='Reply',
        ge=-1,
        le=4_294_967_294,
    )
    stop: tuple[str, ...] = live(
        (),
        'Stop strings',
        'The reply ends before the first of these texts.',
        group='Reply',
        max_length=16,
    )
    ignore_eos: bool = live(
        False,
        'Ignore the end',
        'The model cannot end its reply: it goes on until a limit or a stop string.',
        group='Reply',
    )
    logit_bias: dict[int, float] = live(
        {},
        'Token bias',
        'Added to the score of a token, by its id; -100 and less forbids it, 100 forces it.',
        group='Reply',
        max_length=1024,
    )
    n_probs: int = live(
        0,
        'Token probabilities',
        'How many of the likeliest tokens are told with each token, for programs; 0 none.',
        group='Reply',
        ge=0,
        le=20,
    )
    reasoning: Literal['auto', 'on', 'off'] = live(
        'auto',
        'Reasoning',
        'Whether the model thinks before it answers, where its template knows how; auto leaves it to the model.',
        group='Reasoning',
    )
    reasoning_budget: int = live(
        -1,
        'Reasoning budget',
        'Thinking ends after this many tokens and the answer begins; -1 sets no limit, 0 skips it.',
        group='Reasoning',
        unit='tokens',
        step=64,
        ge=-1,
        le=1_048_576,
    )
    json_schema: str = live(
        '',
        'JSON schema',
        'The reply is JSON of this schema; {} allows any JSON.',
        group='Structure',
        max_length=262_144,
    )
    grammar: str = live(
        '',
        'Grammar',
        'The reply follows this grammar, written in GBNF with a rule named root. Not together with a JSON schema.',
        group='Structure',
        max_length=262_144,
    )
    grammar_triggers: tuple[str, ...] = live(
        (),
        'Grammar triggers',
        'The grammar or schema begins after the first of these texts in the reply; without any, with its first token.',
        group='Structure',
        max_length=16,
    )

    @field_validator('samplers')
    @classmethod
    def _once_each(cls, value: tuple[SamplerName, ...]) -> tuple[SamplerName, ...]:
        if len(set(value)) < len(value):
            raise ValueError('each sampler can be there once')
        return value

    @field_validator('logit_bias')
    @classmethod
    def _small(cls, value: dict[int, float]) -> dict[int, float]:
        if any(token < 0 or math.fabs(bias) > MOST_BIAS for token, bias in value.items()):
            raise ValueError(f'token ids are 0 or more, and a bias is between -{MOST_BIAS:g} and {MOST_BIAS:g}')
        return value
