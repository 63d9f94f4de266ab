"""What the replies of a model look like: where it thinks, where it answers, how it calls tools."""

import re
from dataclasses import dataclass, replace

from inference.call_formats import FORMATS, HARMONY, HERMES, CallFormat

_CHANNEL_MARKERS = ('<|channel|>', '<|message|>', '<|constrain|>', '<|start|>', '<|end|>', '<|return|>', '<|call|>')


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyStyle:
    """Learned once from a model's chat template.

    Reasoning stands between `opens` and `closes` at the beginning of a reply. `reasons` is whether the template knows
    of it; a reply that begins with `opens` is understood in any case, as many files have a template not their own.
    """

    opens: str = '<think>'
    closes: str = '</think>'
    reasons: bool = False
    calls: CallFormat = HERMES
    unseen: tuple[str, ...] = ()
    """Texts around the answer that mean nothing by themselves."""

    @property
    def in_channels(self) -> bool:
        """Whether a reply is a sequence of messages in channels, as gpt-oss writes them ("harmony")."""
        return self.calls is HARMONY

    @property
    def markers(self) -> tuple[str, ...]:
        """What the parser has to see, even where a control token stands for it, whose piece is empty otherwise."""
        if self.in_channels:
            return _CHANNEL_MARKERS
        return (self.opens, self.closes, *self.unseen, *self.calls.markers)

    @property
    def closing(self) -> str:
        """What is written in the model's place to end its reasoning."""
        if self.in_channels:
            return '<|end|><|start|>assistant<|channel|>final<|message|>'
        return f'\n{self.closes}\n\n'


CHANNELS = ReplyStyle(opens='<|channel|>analysis<|message|>', closes='<|end|>', reasons=True, calls=HARMONY)

_TAGS = (
    ('<think>', '</think>'),
    ('Here are my reasoning steps:', '[BEGIN FINAL RESPONSE]'),
    ('<seed:think>', '</seed:think>'),
    ('<mm:think>', '</mm:think>'),
    ('[THINK]', '[/THINK]'),
    ('<|START_THINKING|>', '<|END_THINKING|>'),
    ('<|channel>thought', '<channel|>'),
    ('<thinking>', '</thinking>'),
    ('<reasoning>', '</reasoning>'),
    ('<thought>', '</thought>'),
    ('<|inner_prefix|>', '<|inner_suffix|>'),
)
_UNSEEN = {
    '<response></response>': ('<response>', '</response>'),
    '<|START_RESPONSE|>': ('<|START_RESPONSE|>', '<|END_RESPONSE|>'),
    '<|START_TEXT|>': ('<|START_TEXT|>', '<|END_TEXT|>'),
    '[END FINAL RESPONSE]': ('[END FINAL RESPONSE]',),
}
"""Texts around an answer, by what tells of them in a template."""
_TAG = r'<[^<>\s]+>|\[/?[A-Z_]+\]'
_TAG_BEFORE, _TAG_AFTER = re.compile(rf'({_TAG})\s*$'), re.compile(rf'\s*({_TAG})')


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """What a template makes of replies: of `answer` alone, of `thought` and `answer`, of a call of `tool`."""

    answer: str
    thought: str
    tool: str
    answered: str = ''
    reasoned: str = ''
    called: str = ''


def learn_style(source: str, samples: Samples) -> ReplyStyle:
    """Return the style of replies that a template and what it makes of samples tell of."""
    if CHANNELS.opens in source:
        return CHANNELS
    unseen = (text for sign, texts in _UNSEEN.items() if sign in source for text in texts)
    style = ReplyStyle(calls=_calls(source, samples), unseen=tuple(unseen))
    tags = _shown_tags(samples) or next((tags for tags in _TAGS if tags[1] in source), None)
    return replace(style, opens=tags[0], closes=tags[1], reasons=True) if tags else style


def _shown_tags(samples: Samples) -> tuple[str, str] | None:
    """Return what stands around the reasoning, unless that is only the beginning of the message."""
    before, shown, after = samples.reasoned.partition(samples.thought)
    opens, closes = _TAG_BEFORE.search(before), _TAG_AFTER.match(after)
    if not shown or not opens or not closes:
        return None
    beginning = _TAG_BEFORE.search(samples.answered.partition(samples.answer)[0])
    return None if beginning and beginning[1] == opens[1] else (opens[1], closes[1])


def _calls(source: str, samples: Samples) -> CallFormat:
    called = ''.join(samples.called.split())
    if called:
        for calls in FORMATS:
            if ''.join(calls.around(samples.tool)[0].split()) in called:
                return calls
    return next((calls for calls in FORMATS if any(sign in source for sign in calls.signs)), HERMES)
