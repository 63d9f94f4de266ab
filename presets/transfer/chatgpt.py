"""ChatGPT's export: `conversations.json`, a list of trees in which a reply is often made of several nodes.

What the model thinks and what it does with tools are nodes of their own there. Here they become part of the reply that
follows; what only the model was to see stays out. The format has no description of its own maker's; this follows what
exports of 2023 to 2026 look like.
"""

from dataclasses import dataclass, field
from typing import Any

from presets.chat import Chat, StoredMessage
from presets.transfer.fields import Table, fenced, line, new_id, number, rows, table, text, title, when
from presets.transfer.planting import Reading, Seed, date, moment, plant

SOURCE = 'chatgpt'
PICTURES = {'image_asset_pointer': 'image', 'audio_asset_pointer': 'audio', 'video_container_asset_pointer': 'video'}
MOST_PIECES = 500
"""Nodes that become one message; a file where they go on for ever must not cost for ever."""
ENDINGS = {'stop': 'stop', 'max_tokens': 'length', 'interrupted': 'cancelled'}


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one node adds to a turn."""

    content: str = ''
    reasoning: str = ''
    seconds: float = 0.0
    left_out: int = 0


@dataclass(slots=True)
class _Node:
    key: str
    parent: str | None
    children: list[str]
    message: Table
    role: str = ''
    """'user' or 'assistant', which tools belong to; empty for what is not shown."""
    piece: _Piece = field(default_factory=_Piece)


def recognises(value: Table) -> bool:
    """Whether this is one of ChatGPT's conversations."""
    return isinstance(value.get('mapping'), dict)


def read(value: Table) -> Reading:
    """Return the conversation; ValueError if there is nothing in it."""
    source_id = text(value.get('conversation_id')) or text(value.get('id')) or line(value.get('title'))
    chat = Chat(id=new_id(SOURCE, source_id), title=title(value.get('title')), messages={})
    chat.pinned = value.get('is_starred') is True or when(value.get('pinned_time')) is not None
    chat.archived = value.get('is_archived') is True
    project = text(value.get('conversation_template_id'))
    chat.folder = f'ChatGPT {project[4:10]}' if project.startswith('g-p-') else ''  # an export does not name projects
    nodes = _nodes(table(value.get('mapping')))
    chat.system_prompt = _system_prompt(nodes)
    seeds = _turns(nodes, text(value.get('default_model_slug')))
    if not seeds:
        raise ValueError('there are no messages in it')
    plant(chat, seeds, _leaf(nodes, seeds, text(value.get('current_node'))))
    date(chat, when(value.get('create_time')), when(value.get('update_time')))
    return Reading(chat, sum(node.piece.left_out for node in nodes.values()))


# Nodes


def _nodes(mapping: Table) -> dict[str, _Node]:
    """Return every node with what it adds; `parent` and `children` agree."""
    nodes: dict[str, _Node] = {}
    for key, value in mapping.items():
        given = table(value)
        parent = given.get('parent')
        message = table(given.get('message'))
        node = nodes[key] = _Node(key, parent if parent in mapping else None, [], message)
        node.role = _role(message)
        node.piece = _piece(message) if node.role else _Piece()
        if not (node.piece.content or node.piece.reasoning or node.piece.seconds):
            node.role = ''
    for key, value in mapping.items():  # the order of siblings is that of their parent's list
        for child in rows(table(value).get('children')):
            if isinstance(child, str) and child in nodes and nodes[child].parent == key:
                nodes[key].children.append(child)
    for node in nodes.values():
        if node.parent is not None and node.key not in nodes[node.parent].children:
            nodes[node.parent].children.append(node.key)
    return nodes


def _role(message: Table) -> str:
    author = table(message.get('author')).get('role')
    if table(message.get('metadata')).get('is_visually_hidden_from_conversation') is True:
        return ''
    kind = table(message.get('content')).get('content_type')
    if author == 'user':
        return '' if kind == 'user_editable_context' else 'user'
    if author == 'assistant':
        return '' if kind == 'model_editable_context' else 'assistant'
    return 'assistant' if author == 'tool' and kind in {'execution_output', 'multimodal_text'} else ''


def _piece(message: Table) -> _Piece:
    content = table(message.get('content'))
    metadata = table(message.get('metadata'))
    match content.get('content_type'):
        case 'thoughts':
            thoughts = [table(thought) for thought in rows(content.get('thoughts'))]
            told = [_thought(thought) for thought in thoughts]
            return _Piece(reasoning='\n\n'.join(filter(None, told)))
        case 'reasoning_recap':
            return _Piece(seconds=number(metadata.get('finished_duration_sec')))
        case 'code':
            tool = line(message.get('recipient'), 20)
            language = 'python' if tool == 'python' else line(content.get('language'), 20).replace('unknown', '')
            code = text(content.get('text'))
            return _Piece(fenced(code, language) if code.strip() else '')
        case 'execution_output':
            output = text(content.get('text'))
            return _Piece(fenced(output) if output.strip() else '')
        case 'tether_quote' | 'tether_browsing_display' | 'sonic_webpage' | 'system_error':
            return _Piece()
        case _:
            return _parts(content)


def _parts(content: Table) -> _Piece:
    texts: list[str] = []
    left_out = 0
    for part in rows(content.get('parts')) or [content.get('text')]:
        kind = text(table(part).get('content_type'))
        if isinstance(part, str):
            texts.append(text(part))
        elif kind == 'audio_transcription':
            texts.append(text(table(part).get('text')))
        elif kind:
            texts.append(f'[{PICTURES.get(kind, kind)} not imported]')
            left_out += 1
    return _Piece('\n\n'.join(part for part in texts if part.strip()), left_out=left_out)


def _thought(thought: Table) -> str:
    summary, content = text(thought.get('summary')), text(thought.get('content'))
    return f'**{summary}**\n\n{content}'.strip() if summary else content


def _system_prompt(nodes: dict[str, _Node]) -> str:
    """Return the custom instructions, or what a custom GPT was told."""
    for node in nodes.values():
        content = table(node.message.get('content'))
        role = table(node.message.get('author')).get('role')
        if content.get('content_type') == 'user_editable_context':
            told = [text(content.get(name)).strip() for name in ('user_profile', 'user_instructions')]
            return '\n\n'.join(filter(None, told))
        if role == 'system' and (said := _parts(content).content.strip()):
            return said
    return ''


# Turns


def _turns(nodes: dict[str, _Node], model: str) -> list[Seed]:
    """Return the messages: a node of a reply that goes on in one way is folded into what follows it."""
    seeds: list[Seed] = []
    goes_on = _going_on(nodes)
    waiting: list[tuple[str, str | None, tuple[_Piece, ...]]] = [(key, None, ()) for key in _roots(nodes)]
    done: set[str] = set()
    while waiting:
        key, parent, pieces = waiting.pop()
        if key in done:
            continue
        done.add(key)
        node = nodes[key]
        if node.role:
            pieces = (*pieces, node.piece)
            if node.role == 'user' or key not in goes_on or len(pieces) == MOST_PIECES:
                if any(piece.content or piece.reasoning for piece in pieces):
                    seeds.append(Seed(key, parent, _message(node, pieces, model)))
                    parent = key
                pieces = ()
        waiting += [(child, parent, pieces) for child in reversed(node.children)]
    return seeds


def _roots(nodes: dict[str, _Node]) -> list[str]:
    """Return where to begin, last first: the roots, and behind them every node, for those that lie in a circle."""
    return [*reversed(nodes), *(key for key in reversed(nodes) if nodes[key].parent is None)]


def _going_on(nodes: dict[str, _Node]) -> set[str]:
    """Return the nodes of replies below which exactly one node is shown next, and that one is of the same reply."""
    order, waiting = dict[str, None](), _roots(nodes)
    while waiting:
        key = waiting.pop()
        if key not in order:
            order[key] = None
            waiting += nodes[key].children
    next_shown: dict[str, list[str]] = {}
    for key in reversed(order):  # children before their parents
        found = [[child] if nodes[child].role else next_shown.get(child, []) for child in nodes[key].children]
        next_shown[key] = [shown for few in found for shown in few][:2]
    return {key for key, shown in next_shown.items() if [nodes[below].role for below in shown] == ['assistant']}


def _message(node: _Node, pieces: tuple[_Piece, ...], model: str) -> StoredMessage:
    metadata = table(node.message.get('metadata'))
    message = StoredMessage(
        role='user' if node.role == 'user' else 'assistant',
        content='\n\n'.join(piece.content for piece in pieces if piece.content),
        reasoning='\n\n'.join(piece.reasoning for piece in pieces if piece.reasoning),
        reasoning_seconds=sum(piece.seconds for piece in pieces),
        created=moment(when(node.message.get('create_time'))),
    )
    if message.role == 'assistant':
        message.model = line(metadata.get('model_slug')) or line(model)
        message.finish_reason = _ending(node.message)
    return message


def _ending(message: Table) -> Any:
    if message.get('status') == 'in_progress':
        return 'interrupted'
    kind = table(table(message.get('metadata')).get('finish_details')).get('type')
    return ENDINGS.get(kind, 'stop') if isinstance(kind, str) else 'stop'


def _leaf(nodes: dict[str, _Node], seeds: list[Seed], current: str) -> str | None:
    """Return the message on screen last: the current node, or that with what it was folded into, or one above it."""
    shown = {seed.key for seed in seeds}
    at, steps = current, len(nodes)
    while at in nodes and at not in shown and nodes[at].role and nodes[at].children and steps:
        at, steps = nodes[at].children[-1], steps - 1
    if at in shown:
        return at
    above: str | None = current
    steps = len(nodes)
    while above in nodes and above not in shown and steps:
        above, steps = nodes[above].parent, steps - 1
    return above
