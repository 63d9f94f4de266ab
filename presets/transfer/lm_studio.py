"""LM Studio's `*.conversation.json`: one chat a file, each message with its versions, a reply in steps.

The app has no description of the format; this follows files of 0.3 and 0.4. The folder a chat lies in is its folder.
"""

import json
import re
from typing import Any

from inference.chat import Overflow, ToolCall
from inference.settings import SamplingSettings
from presets.chat import Chat, StoredMessage
from presets.migrations import salvage
from presets.transfer.fields import Table, count, fenced, line, new_id, number, rows, table, text, title, when
from presets.transfer.planting import Reading, Seed, date, moment, plant

SOURCE = 'lm-studio'
SAMPLING = {
    'temperature': ('temperature', 0.0),
    'topKSampling': ('top_k', 0),
    'topPSampling': ('top_p', 1.0),
    'minPSampling': ('min_p', 0.0),
    'repeatPenalty': ('repeat_penalty', 1.0),
    'llama.presencePenalty': ('presence_penalty', 0.0),
    'llama.frequencyPenalty': ('frequency_penalty', 0.0),
    'maxPredictedTokens': ('max_tokens', 0),
    'seed': ('seed', -1),
    'stopStrings': ('stop', []),
}
"""Their names, ours, and what a switch beside the value means when it is off."""
OVERFLOWS: dict[str, Overflow] = {'stopAtLimit': 'stop', 'truncateMiddle': 'middle', 'rollingWindow': 'roll'}
ENDINGS = {
    'userStopped': 'cancelled', 'maxPredictedTokensReached': 'length', 'contextLengthReached': 'length',
    'failed': 'error', 'modelUnloaded': 'interrupted',
}  # fmt: skip
_DURATION = re.compile(r'(\d{1,6}(?:\.\d{1,6})?) (second|minute)')


def recognises(value: Table) -> bool:
    """Whether this is one of LM Studio's conversations."""
    messages = value.get('messages')
    if not isinstance(messages, list):
        return False
    return any(isinstance(table(it).get('versions'), list) for it in messages) or (
        not messages and {'createdAt', 'name'} <= value.keys()
    )


def read(value: Table, folder: str = '') -> Reading:
    """Return the conversation; ValueError if there is nothing in it."""
    messages = [table(it) for it in rows(value.get('messages'))]
    chat = Chat(id=new_id(SOURCE, _identity(value)), title=title(value.get('name')), folder=folder, messages={})
    chat.pinned = value.get('pinned') is True
    fields = _fields(value)
    chat.system_prompt = text(fields.get('systemPrompt')) or text(value.get('systemPrompt'))
    chat.sampling = _sampling(fields)
    chat.overflow = OVERFLOWS.get(line(fields.get('contextOverflowPolicy')), 'stop')
    seeds, leaf, left_out = _seeds(messages, line(table(value.get('lastUsedModel')).get('identifier')))
    if not seeds:
        raise ValueError('there are no messages in it')
    plant(chat, seeds, leaf)
    last = [when(value.get(f'{who}LastMessagedAt')) for who in ('user', 'assistant')]
    date(chat, when(value.get('createdAt')), max(filter(None, last), default=None))
    return Reading(chat, left_out)


def _identity(value: Table) -> str:
    """There is no id: the moment it was begun tells a chat from others, or all that is in it."""
    created = value.get('createdAt')
    return str(created) if created else json.dumps(value, sort_keys=True)


def _seeds(messages: list[Table], model: str) -> tuple[list[Seed], str | None, int]:
    """Return every version of every message; what follows hangs on the version that is selected."""
    seeds: list[Seed] = []
    selected: str | None = None
    left_out = 0
    for place, given in enumerate(messages):
        versions = [table(version) for version in rows(given.get('versions'))]
        found: dict[int, str] = {}
        for number_of, version in enumerate(versions):
            message, missing = _message(version, model)
            left_out += missing
            if message:
                found[number_of] = f'{place}.{number_of}'
                seeds.append(Seed(found[number_of], selected, message))
        if found:
            chosen = given.get('currentlySelected')
            selected = found.get(chosen) if isinstance(chosen, int) else None
            selected = selected or found[max(found)]
    return seeds, selected, left_out


def _message(version: Table, model: str) -> tuple[StoredMessage | None, int]:
    """Return a version and what cannot be taken over of it; None if it is empty."""
    role = version.get('role')
    if role not in {'user', 'assistant', 'system'}:
        return None, 0
    message = StoredMessage(role=role, content='', created=moment(None))
    steps = [table(step) for step in rows(version.get('steps'))]
    texts: list[str] = []
    left_out = _take_parts(message, texts, version.get('content'))
    for step in steps:
        if step.get('type') != 'contentBlock':
            continue
        if table(step.get('style')).get('type') == 'thinking':
            _take_thinking(message, step)
        else:
            left_out += _take_parts(message, texts, step.get('content'))
    message.content = '\n\n'.join(texts)
    moments = [when(_digits(text(step.get('stepIdentifier')))) for step in steps]
    message.created = moment(next(filter(None, moments), None))
    if role == 'assistant':
        _note_numbers(message, version, steps, model)
    return (message if message.content or message.reasoning or message.tool_calls else None), left_out


def _take_parts(message: StoredMessage, texts: list[str], content: object) -> int:
    """Add the parts of a content to the message; returns how many are left out."""
    left_out = 0
    for part in [table(it) for it in rows(content)] or [{'type': 'text', 'text': content}]:
        match part.get('type'):
            case 'text':
                texts += [text(part.get('text'))] if text(part.get('text')).strip() else []
            case 'file':
                names = (line(part.get(name)) for name in ('name', 'fileIdentifier', 'fileType'))
                texts.append(f'[{next(filter(None, names), "file")} not imported]')
                left_out += 1
            case 'toolCallRequest':
                call = ToolCall(
                    id=line(part.get('toolCallRequestId')) or str(part.get('callId') or ''),
                    name=line(part.get('name')),
                    arguments=json.dumps(part.get('parameters') or {}, ensure_ascii=False),
                )
                message.tool_calls = [*message.tool_calls, call]
            case 'toolCallResult':
                texts.append(fenced(text(part.get('content'))))
    return left_out


def _take_thinking(message: StoredMessage, step: Table) -> None:
    shown = [table(part) for part in rows(step.get('content')) if table(part).get('isStructural') is not True]
    thought = ''.join(text(part.get('text')) for part in shown).strip()
    message.reasoning = '\n\n'.join(filter(None, [message.reasoning, thought]))
    for amount, unit in _DURATION.findall(text(table(step.get('style')).get('title'))):
        message.reasoning_seconds += float(amount) * (60 if unit == 'minute' else 1)


def _note_numbers(message: StoredMessage, version: Table, steps: list[Table], model: str) -> None:
    made = [info for step in steps if (info := table(step.get('genInfo')))]
    info = made[-1] if made else {}
    stats = table(info.get('stats'))
    sender = line(table(version.get('senderInfo')).get('senderName'))
    message.model = line(info.get('identifier')) or line(info.get('indexedModelIdentifier')) or sender or model
    reason = stats.get('stopReason')
    message.finish_reason = _ending(reason)
    message.edited = version.get('edited') is True
    message.prompt_tokens, message.completion_tokens = (
        count(stats.get('promptTokensCount')),
        count(stats.get('predictedTokensCount')),
    )
    message.prefill = number(stats.get('timeToFirstTokenSec'))
    message.decode = max(0.0, number(stats.get('totalTimeSec')) - message.prefill)


def _ending(reason: object) -> Any:
    return ENDINGS.get(reason, 'stop') if isinstance(reason, str) else 'stop'


def _digits(identifier: str) -> int:
    """Return the milliseconds a step's name begins with."""
    found = re.match(r'\d{12,14}(?=-)', identifier)
    return int(found[0]) if found else 0


def _fields(value: Table) -> Table:
    """Return the settings of the chat by their last names."""
    if value.get('usePerChatPredictionConfig') is False:
        return {}
    found = [table(field) for field in rows(table(value.get('perChatPredictionConfig')).get('fields'))]
    return {text(field.get('key')).removeprefix('llm.prediction.'): field.get('value') for field in found}


def _sampling(fields: Table) -> SamplingSettings:
    """Return what means the same here; what is not allowed takes its default."""
    given: Table = {}
    for theirs, (ours, when_off) in SAMPLING.items():
        value = fields.get(theirs)
        if isinstance(value, dict):
            value = value.get('value') if value.get('checked') is True else when_off
        if value is not None:
            given[ours] = value
    return salvage(SamplingSettings, given, '', lambda problem: None)
