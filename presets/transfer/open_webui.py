"""Open WebUI's export: a list of chats, each a tree of messages by `parentId`.

Reasoning and tool calls stand in the text there, as `<details>` blocks, and in newer versions in a list beside it, too.
Folders are known by an id alone.
"""

import html
import re
from collections.abc import Iterator
from typing import Any

from inference.chat import ToolCall
from inference.settings import SamplingSettings
from presets.chat import Attachment, Chat, StoredMessage
from presets.migrations import salvage
from presets.transfer.fields import Table, count, fenced, line, new_id, number, rows, table, text, title, when
from presets.transfer.planting import Reading, Seed, attachment, date, moment, plant

SOURCE = 'open-webui'
SAMPLING = (
    'temperature', 'top_k', 'top_p', 'min_p', 'seed', 'max_tokens', 'repeat_penalty', 'repeat_last_n',
    'presence_penalty', 'frequency_penalty', 'mirostat_tau', 'mirostat_eta',
)  # fmt: skip
MIROSTAT = {0: 'off', 1: 'v1', 2: 'v2'}
_DETAILS = re.compile(r'<details type="(reasoning|tool_calls|code_interpreter)"([^>]*)>')
_END = '</details>'
_SUMMARY = re.compile(r'\s*<summary>[^<]*</summary>\n?')
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


def recognises(value: Table) -> bool:
    """Whether this is one of Open WebUI's chats, with what is known of it around it or without."""
    inner = table(value.get('chat')) or value
    return isinstance(table(inner.get('history')).get('messages'), dict)


def read(value: Table) -> Reading:
    """Return the chat; ValueError if there is nothing in it."""
    inner = table(value.get('chat')) or value
    history = table(inner.get('history'))
    source_id = text(value.get('id')) or text(inner.get('id')) or line(value.get('title'))
    chat = Chat(id=new_id(SOURCE, source_id), title=title(value.get('title')) or title(inner.get('title')), messages={})
    chat.pinned, chat.archived = value.get('pinned') is True, value.get('archived') is True
    folder = line(value.get('folder_id'), 6)
    chat.folder = f'Open WebUI {folder}' if folder else ''
    params = table(inner.get('params'))
    chat.system_prompt = text(params.get('system')) or text(inner.get('system'))
    chat.sampling = _sampling(params)
    seeds, left_out = _seeds(table(history.get('messages')), [line(model) for model in rows(inner.get('models'))])
    if not seeds:
        raise ValueError('there are no messages in it')
    plant(chat, seeds, text(history.get('currentId')))
    created = when(value.get('created_at')) or when(inner.get('timestamp'))
    date(chat, created, when(value.get('updated_at')))
    return Reading(chat, left_out)


def _seeds(messages: Table, models: list[str]) -> tuple[list[Seed], int]:
    """Return the messages with siblings in the order their parent lists them, and what was left out of them."""
    places: dict[str, int] = {}
    for given in messages.values():
        places |= {
            child: place for place, child in enumerate(rows(table(given).get('childrenIds'))) if isinstance(child, str)
        }
    seeds, left_out = [], 0
    for key in sorted(messages, key=lambda key: places.get(key, 0)):
        given = table(messages[key])
        if given.get('role') in {'user', 'assistant', 'system'}:
            message, missing = _message(given, models)
            parent = given.get('parentId')
            seeds.append(Seed(key, parent if isinstance(parent, str) else None, message))
            left_out += missing
    return seeds, left_out


def _message(given: Table, models: list[str]) -> tuple[StoredMessage, int]:
    content, left_out = _content(given.get('content'))
    message = StoredMessage(role=given['role'], content=content, created=moment(when(given.get('timestamp'))))
    for file in rows(given.get('files')):
        found = _attachment(table(file))
        message.attachments += [found] if found else []
        if not found:
            message.content = f'{message.content}\n\n[{_name(table(file)) or "file"} not imported]'.strip()
            left_out += 1
    if message.role == 'assistant':
        _take_reply(message, given, models)
    return message, left_out


def _content(content: object) -> tuple[str, int]:
    if not isinstance(content, list):
        return text(content), 0
    parts = [table(part) for part in content]
    texts = [text(part.get('text')) if part.get('type') == 'text' else '[image not imported]' for part in parts]
    return '\n\n'.join(filter(None, texts)), texts.count('[image not imported]')


def _take_reply(message: StoredMessage, given: Table, models: list[str]) -> None:
    if not message.content.strip():
        _take_output(message, rows(given.get('output')))
    message.content = ''.join(_without_blocks(message, message.content)).strip()
    message.model = line(given.get('model')) or line(given.get('modelName')) or next(iter(models), '')
    message.finish_reason = 'interrupted' if given.get('done') is False else 'stop'
    if error := given.get('error'):
        message.error = line(table(error).get('content')) or line(error) or 'The reply failed.'
        message.finish_reason = 'error'
    usage = table(given.get('usage')) or table(given.get('info'))
    message.prompt_tokens = count(usage.get('prompt_tokens')) or count(usage.get('prompt_eval_count'))
    message.completion_tokens = count(usage.get('completion_tokens')) or count(usage.get('eval_count'))
    message.prefill = number(usage.get('prompt_eval_duration')) / 1e9
    message.decode = number(usage.get('eval_duration')) / 1e9


def _without_blocks(message: StoredMessage, content: str) -> Iterator[str]:
    """Yield the text with every block moved to where it belongs."""
    at = 0
    while opening := _DETAILS.search(content, at):
        end = content.find(_END, opening.end())
        if end < 0:
            break
        yield content[at : opening.start()]
        attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(opening[2])}
        body = html.unescape(_SUMMARY.sub('', content[opening.end() : end], count=1)).strip()
        yield _take_block(message, opening[1], attributes, body)
        at = end + len(_END)
        at += len(content[at : at + 2]) - len(content[at : at + 2].lstrip('\n'))
    yield content[at:]


def _take_block(message: StoredMessage, kind: str, attributes: dict[str, str], body: str) -> str:
    """Move a block to where it belongs; returns what stays in the text."""
    match kind:
        case 'reasoning':
            lines = [re.sub('^> ?', '', line) for line in body.split('\n')]
            message.reasoning = '\n\n'.join(filter(None, [message.reasoning, '\n'.join(lines).strip()]))
            duration = attributes.get('duration', '')
            message.reasoning_seconds += float(duration) if re.fullmatch(r'\d{1,6}(\.\d{1,6})?', duration) else 0
            return ''
        case 'tool_calls':
            _add_call(message, attributes.get('id', ''), attributes.get('name', ''), attributes.get('arguments', ''))
            result = body or attributes.get('result', '')
            return f'{fenced(result)}\n\n' if result else ''
        case _:
            return f'{body}\n\n'


def _take_output(message: StoredMessage, output: list[Any]) -> None:
    """Read the newer list of what the model gave, where the text is empty."""
    texts: list[str] = []
    for given in output:
        item = table(given)
        said = [text(table(part).get('text')) for part in rows(item.get('content')) or rows(item.get('summary'))]
        match item.get('type'):
            case 'message':
                texts += said
            case 'reasoning':
                message.reasoning = '\n\n'.join(filter(None, [message.reasoning, ''.join(said).strip()]))
                message.reasoning_seconds += number(item.get('duration'))
            case 'function_call':
                _add_call(message, text(item.get('call_id')), text(item.get('name')), text(item.get('arguments')))
    message.content = '\n\n'.join(filter(None, texts))


def _add_call(message: StoredMessage, call_id: str, name: str, arguments: str) -> None:
    message.tool_calls = [*message.tool_calls, ToolCall(id=call_id, name=line(name), arguments=arguments)]


def _attachment(file: Table) -> Attachment | None:
    """Return a file whose text is in the export."""
    stored = table(file.get('file'))
    content = text(table(stored.get('data')).get('content'))
    meta = table(stored.get('meta'))
    if not content.strip():
        return None
    kind, size = line(meta.get('content_type'), 100) or 'text/plain', count(meta.get('size'))
    return attachment(_name(file) or 'file', content, media_type=kind, size=size)


def _name(file: Table) -> str:
    return line(file.get('name')) or line(table(file.get('file')).get('filename')) or line(file.get('type'), 20)


def _sampling(params: Table) -> SamplingSettings:
    """Return the settings of the chat that mean the same here; what is not allowed takes its default."""
    given = {name: params[name] for name in SAMPLING if params.get(name) is not None}
    stop = params.get('stop')
    if stop:
        given['stop'] = [text(it) for it in rows(stop)] or [text(stop)]
    mirostat = params.get('mirostat')
    if isinstance(mirostat, int) and mirostat in MIROSTAT:
        given['mirostat'] = MIROSTAT[mirostat]
    return salvage(SamplingSettings, given, '', lambda problem: None)
