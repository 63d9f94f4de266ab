"""A chat as a Markdown document: the messages on screen, each of which ends where it ends."""

import json
import re
from dataclasses import dataclass

from markdown_it import MarkdownIt

from presets.chat import Chat, StoredMessage
from presets.transfer.fields import fenced

CLOSERS = ('-->', '?>', ']]>', '</pre>', '</script>', '</style>', '</textarea>')
"""What ends the kinds of HTML that go on past an empty line."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The words around the messages, in the language of the reader."""

    user: str = 'You'
    assistant: str = 'Assistant'
    system: str = 'System'
    tool: str = 'Tool'
    system_prompt: str = 'System prompt'
    reasoning: str = 'Reasoning'
    attached: str = 'Attached'
    edited: str = 'edited'
    failed: str = 'Failed'

    def role(self, message: StoredMessage) -> str:
        """Return who wrote the message."""
        named = {'user': self.user, 'system': self.system, 'tool': self.tool}
        return named.get(message.role) or message.model or self.assistant


def write(chat: Chat, labels: Labels = Labels()) -> str:
    """Return the document."""
    parts = [_front_matter(chat), f'# {_one_line(chat.display_title)}']
    if chat.system_prompt.strip():
        parts += [_quoted(f'**{labels.system_prompt}**\n\n{contained(chat.system_prompt)}')]
    parts += [_message(message, labels) for message in chat.path()]
    return '\n\n'.join(parts) + '\n'


def contained(text: str) -> str:
    """Return the text, with what it leaves open closed, so that nothing that follows is swallowed by it."""
    text = text.strip('\n')
    if _ends(text):
        return text
    fences = [fence[::-1] for fence in re.findall(r'(?:`{3,}|~{3,})', text[::-1])]
    for closer in (*dict.fromkeys(fences[:5]), *CLOSERS):
        if _ends(f'{text}\n{closer}'):
            return f'{text}\n{closer}'
    return fenced(text)


def _ends(text: str) -> bool:
    """Whether a heading after the text is a heading."""
    if not any(opener in text for opener in ('```', '~~~', '<')):
        return True
    last = _PARSER.parse(f'{text}\n\n## {_MARK}')[-3:]
    return [token.type for token in last] == ['heading_open', 'inline', 'heading_close'] and last[0].level == 0


_PARSER = MarkdownIt('commonmark').disable(['reference'])
_MARK = 'end-of-message'


def _front_matter(chat: Chat) -> str:
    """Strings as JSON writes them are strings in YAML, too."""
    models = dict.fromkeys(message.model for message in chat.path() if message.model)
    facts = {
        'title': chat.display_title,
        'created': chat.created.isoformat(timespec='seconds'),
        'updated': chat.updated.isoformat(timespec='seconds'),
        'models': list(models),
        'folder': chat.folder,
    }
    lines = [f'{name}: {json.dumps(value, ensure_ascii=True)}' for name, value in facts.items() if value]
    return '\n'.join(['---', *lines, '---'])


def _message(message: StoredMessage, labels: Labels) -> str:
    edited = f' ({labels.edited})' if message.edited else ''
    parts = [f'## {_one_line(labels.role(message))}{edited}']
    if message.reasoning.strip():
        seconds = f' ({message.reasoning_seconds:.0f} s)' if message.reasoning_seconds else ''
        parts.append(_quoted(f'**{labels.reasoning}{seconds}**\n\n{contained(message.reasoning)}'))
    if message.content.strip():
        parts.append(contained(message.content))
    parts += [fenced(f'{call.name}({call.arguments})') for call in message.tool_calls]
    parts += [f'*{labels.attached}: {_one_line(file.name)}*' for file in message.attachments]
    if message.error:
        parts.append(f'*{labels.failed}: {_one_line(message.error)}*')
    return '\n\n'.join(parts)


def _quoted(text: str) -> str:
    return '\n'.join(f'> {line}'.rstrip() for line in text.split('\n'))


def _one_line(text: str) -> str:
    """Return plain text that Markdown shows as it is, on one line."""
    return re.sub(r'([\\`*_\[\]<>#|~$])', r'\\\1', ' '.join(text.split()))
