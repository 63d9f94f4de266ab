"""Model output, which nobody can trust, turned into safe HTML: block by block, so that a block is rendered once."""

import html
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token as Node
from markdown_it.utils import EnvType, OptionsDict

from webui import formulas
from webui.blocks import Block, BlockSplitter, fence_language
from webui.cleaning import clean
from webui.code_blocks import code_block
from webui.markdown_rules import UNFINISHED, add_rules

CACHED_LIMIT, CACHED_COUNT = 16_384, 128  # stored messages kept rendered: a few MB at most


def render(source: str) -> str:
    """Return the HTML of a whole message, the same that its blocks give one by one."""
    return _render_short(source) if len(source) <= CACHED_LIMIT else _render(source)


def render_block(block: Block) -> str:
    """Return the HTML of a Markdown block."""
    env: EnvType = {UNFINISHED: block.unfinished}
    tokens = PARSER.parse(block.text, env)
    if block.number is not None and tokens and tokens[0].type == 'ordered_list_open':
        tokens[0].attrs['start'] = block.number
    content = clean(PARSER.renderer.render(tokens, PARSER.options, env))
    return f'<div class="{block_classes(block)}">{content}</div>'


def block_classes(block: Block) -> str:
    """Return the classes that give a block its place on the page."""
    return f'md-block md-in-{min(block.depth, 4)}' if block.depth else 'md-block'


def _render(source: str) -> str:
    splitter = BlockSplitter()
    parts: list[str] = []
    code: list[str] = []
    for block in [*splitter.feed(source), *splitter.finish()]:
        if block.kind == 'markdown':
            parts.append(render_block(block))
        elif block.kind == 'code_more':
            code.append(block.text)
        elif block.kind == 'code_close':
            content = clean(code_block(''.join(code), block.language))
            parts.append(f'<div class="{block_classes(block)}">{content}</div>')
            code = []
    return ''.join(parts)


_render_short = lru_cache(CACHED_COUNT)(_render)


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the name is the library's
        return re.match(r'https?://|mailto:', url, re.IGNORECASE) is not None and bool(_host(url))


def _link(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    """Say where a link goes, whatever its text or title claims."""
    href = str(tokens[index].attrs['href'])
    return f'<a href="{html.escape(href)}" title="{html.escape(_host(href))}">'


def _image_as_link(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    """Loading a picture would tell its server what was said here, so it only is a link."""
    image = tokens[index]
    href = str(image.attrs['src'])
    host = html.escape(_host(href))
    text = html.escape(image.content.strip()) or host or html.escape(href)
    return f'<a class="image-link" href="{html.escape(href)}" title="{host}">{text}</a>'


def _host(url: str) -> str:
    """Return where an address leads, for a letter to whom; empty if that is no address."""
    if url[:7].lower() == 'mailto:':
        return url[7:]
    try:
        host = urlsplit(url).hostname or ''
    except ValueError:
        return ''
    return host if _HOST.fullmatch(host) else ''


_HOST = re.compile(r'[\w.-]+|[0-9a-f:.]+')


def _fence(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    language = fence_language(token.info)
    if language.lower() == 'math':
        return _formula_block_html(token.content.strip(), token.content, unfinished=bool(env.get(UNFINISHED)))
    return code_block(token.content, language, finished=not env.get(UNFINISHED))


def _formula_block(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    return _formula_block_html(tokens[index].content, tokens[index].markup)


def _formula_block_html(latex: str, source: str, *, unfinished: bool = False) -> str:
    if latex and not unfinished and (content := formulas.mathml(latex, display=True)):
        return f'<div class="formula"{_focus(latex)}>{content}</div>\n'
    return f'<pre class="formula-source"><code>{html.escape(source.strip())}</code></pre>\n'


def _focus(latex: str) -> str:
    """What may be too wide for its column has to scroll by keyboard, too."""
    return ' tabindex="0"' if len(latex) > 60 else ''


def _formula(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    content = formulas.mathml(token.content, display=token.meta['display'])
    if not content:
        return f'<code class="formula-source">{html.escape(token.markup)}</code>'
    return f'<span class="formula"{_focus(token.content)}>{content}</span>' if token.meta['display'] else content


def _footnote(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    name = 'footnote-note' if tokens[index].meta['note'] else 'footnote'
    return f'<sup class="{name}">{html.escape(tokens[index].content)}</sup>'


def _cell(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    side = str(tokens[index].attrs.get('style', '')).removeprefix('text-align:')
    return f'<{tokens[index].tag} class="align-{side}">' if side else f'<{tokens[index].tag}>'


def _table_open(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    return '<div class="table-scroll" tabindex="0"><table>\n'


def _table_close(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    return '</table></div>\n'


def _build_parser() -> MarkdownIt:
    # Reference definitions are off: they would vanish from the page, and other blocks could not use them anyway.
    parser = _Parser('commonmark', {'html': False, 'breaks': True})
    parser.enable(['table', 'strikethrough']).disable(['reference', 'html_block', 'html_inline'])
    add_rules(parser)
    rules = {
        'fence': _fence, 'code_block': _fence, 'formula': _formula, 'formula_block': _formula_block, 'link_open': _link,
        'image': _image_as_link, 'footnote': _footnote, 'th_open': _cell, 'td_open': _cell,
        'table_open': _table_open, 'table_close': _table_close,
    }  # fmt: skip
    for name, rule in rules.items():
        parser.add_render_rule(name, rule)
    return parser


PARSER = _build_parser()
