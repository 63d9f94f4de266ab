"""A reply as text without marks, for places where nobody reads Markdown."""

from collections.abc import Iterable, Sequence

from markdown_it.tree import SyntaxTreeNode

from webui.blocks import Block, BlockSplitter
from webui.markdown import PARSER
from webui.markdown_rules import UNFINISHED


def plain(source: str) -> str:
    """Return the text; lists and tables keep their shape, links their targets, formulas and code their source."""
    splitter = BlockSplitter()
    parts: list[tuple[bool, str]] = []
    code: list[str] = []
    for block in [*splitter.feed(source), *splitter.finish()]:
        match block.kind:
            case 'markdown':
                parts.append(_block_text(block))
            case 'code_more':
                code.append(block.text)
            case 'code_close':
                parts.append((False, _indented(''.join(code).rstrip('\n'), block.depth)))
                code = []
    return _joined(parts)


def _block_text(block: Block) -> tuple[bool, str]:
    """Return whether a block is an item of a list, and its text."""
    tokens = PARSER.parse(block.text, {UNFINISHED: block.unfinished})
    is_item = bool(tokens) and tokens[0].type in _LISTS
    if block.number is not None and is_item:
        tokens[0].attrs['start'] = block.number
    return is_item, _indented(_blocks(SyntaxTreeNode(tokens).children), block.depth)


_LISTS = {'bullet_list_open', 'ordered_list_open'}


def _joined(parts: Iterable[tuple[bool, str]]) -> str:
    """Put a line between blocks, but not between the items of a list."""
    text, after_item = '', False
    for is_item, part in parts:
        if part.strip():
            text += ('\n' if is_item and after_item else '\n\n') + part
            after_item = is_item
    return text.lstrip('\n')


def _indented(text: str, depth: int) -> str:
    return _beside('  ' * depth, text, '  ' * depth)


def _beside(first: str, text: str, others: str) -> str:
    """Put something before the first line, and before the others."""
    lines = text.split('\n')
    return '\n'.join([(first + lines[0]).rstrip(' '), *(f'{others}{line}'.rstrip(' ') for line in lines[1:])])


def _blocks(nodes: Sequence[SyntaxTreeNode]) -> str:
    return '\n\n'.join(_block(node) for node in nodes)


def _block(node: SyntaxTreeNode) -> str:
    match node.type:
        case 'paragraph' | 'heading':
            text = _inline(node.children)
        case 'bullet_list':
            text = '\n'.join(_beside('- ', _item(item), '  ') for item in node.children)
        case 'ordered_list':
            start = int(node.attrs.get('start', 1))
            text = '\n'.join(_numbered(number, item) for number, item in enumerate(node.children, start))
        case 'blockquote':
            text = _beside('> ', _blocks(node.children), '> ')
        case 'table':
            text = '\n'.join(_row(row) for part in node.children for row in part.children)
        case 'hr':
            text = '---'
        case _:  # code and formulas
            text = node.content.strip('\n') or node.markup
    return text


def _numbered(number: int, item: SyntaxTreeNode) -> str:
    mark = f'{number}. '
    return _beside(mark, _item(item), ' ' * len(mark))


def _item(item: SyntaxTreeNode) -> str:
    return '\n'.join(_block(child) for child in item.children)


def _row(row: SyntaxTreeNode) -> str:
    """Cells with tabs between them, as spreadsheets take them."""
    return '\t'.join(_inline(cell.children).replace('\n', ' ') for cell in row.children)


def _inline(nodes: Sequence[SyntaxTreeNode]) -> str:
    return ''.join(_inline_one(node) for node in nodes)


def _inline_one(node: SyntaxTreeNode) -> str:
    match node.type:
        case 'softbreak' | 'hardbreak':
            return '\n'
        case 'link':
            text, target = _inline(node.children), str(node.attrs['href'])
            return text if text in target else f'{text} ({target})'
        case 'image':
            return f'{node.content} ({node.attrs["src"]})' if node.content else str(node.attrs['src'])
        case 'footnote':
            return f'[{node.content}]'
        case _ if node.children:
            return _inline(node.children)
        case _:
            return node.content
