"""A chat as one HTML file that reads and prints well: without a script, and nothing in it is loaded from anywhere."""

import html
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from presets.chat import Chat, StoredMessage
from presets.transfer.markdown import Labels
from webui.markdown import render

STATIC = Path(__file__).parent / 'static'
STYLES = ('theme.css', 'markdown.css', 'print.css')
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write(chat: Chat, labels: Labels, language: str) -> Iterator[str]:
    """Yield the document, a message at a time."""
    path = chat.path()
    yield _head(chat, language)
    if chat.system_prompt.strip():
        yield _section('system', labels.system_prompt, f'<div class="said">{_plain(chat.system_prompt)}</div>')
    for message in path:
        yield _message(message, labels)
    yield '</main>\n</body>\n</html>\n'


def _head(chat: Chat, language: str) -> str:
    title = _plain(chat.display_title)
    models = ', '.join(dict.fromkeys(message.model for message in chat.path() if message.model))
    facts = ' · '.join(filter(None, [f'{chat.created:%Y-%m-%d}', _plain(chat.folder), _plain(models)]))
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<style>\n{_styles()}</style>\n</head>\n<body class="body--light">\n<main>\n'
        f'<header>\n<h1>{title}</h1>\n<p>{facts}</p>\n</header>\n'
    )


def _message(message: StoredMessage, labels: Labels) -> str:
    parts: list[str] = []
    if message.reasoning.strip():
        seconds = f' ({message.reasoning_seconds:.0f} s)' if message.reasoning_seconds else ''
        thought = f'<summary>{_plain(labels.reasoning)}{seconds}</summary>{_rendered(message.reasoning)}'
        parts.append(f'<details class="thought">{thought}</details>')
    if message.content.strip():
        formatted = message.role == 'assistant'
        parts.append(_rendered(message.content) if formatted else f'<div class="said">{_plain(message.content)}</div>')
    parts += [f'<pre class="call">{_plain(call.name)}({_plain(call.arguments)})</pre>' for call in message.tool_calls]
    parts += [f'<p class="aside">{_plain(f"{labels.attached}: {file.name}")}</p>' for file in message.attachments]
    if message.error:
        parts.append(f'<p class="aside">{_plain(f"{labels.failed}: {message.error}")}</p>')
    edited = f' ({labels.edited})' if message.edited else ''
    return _section(message.role, f'{labels.role(message)}{edited}', '\n'.join(parts))


def _section(role: str, who: str, content: str) -> str:
    return f'<section class="{role}">\n<h2>{_plain(who)}</h2>\n{content}\n</section>\n'


def _rendered(text: str) -> str:
    return f'<div class="markdown">{render(text)}</div>'


def _plain(text: str) -> str:
    return html.escape(text)


@cache
def _styles() -> str:
    return '\n'.join((STATIC / name).read_text('utf-8') for name in STYLES)
