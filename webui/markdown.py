"""Model output, which nobody can trust, turned into safe HTML: block by block, so that a block is rendered once."""

import html
import re
import time
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import groupby

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token as Node
from markdown_it.utils import EnvType, OptionsDict
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES, Token, _TokenType

from webui.blocks import Block, BlockSplitter, fence_language

HIGHLIGHT_LIMIT, COLOURED_LINE = 200_000, 2000  # characters of code and of its lines; more is shown in one colour
CACHED_LIMIT, CACHED_COUNT = 16_384, 128  # stored messages kept rendered: a few MB at most


def render(source: str) -> str:
    """Return the HTML of a whole message, the same that its blocks give one by one."""
    return _render_short(source) if len(source) <= CACHED_LIMIT else _render(source)


def render_block(block: Block) -> str:
    """Return the HTML of a Markdown block."""
    env: EnvType = {}
    tokens = _PARSER.parse(_TASK.sub(_task_box, block.text), env)
    if block.number is not None and tokens and tokens[0].type == 'ordered_list_open':
        tokens[0].attrs['start'] = block.number
    content = _CLEANER.clean(_PARSER.renderer.render(tokens, _PARSER.options, env))
    return f'<div class="{block_classes(block)}">{content}</div>'


def block_classes(block: Block) -> str:
    """Return the classes that give a block its place on the page."""
    return f'md-block md-in-{min(block.depth, 4)}' if block.depth else 'md-block'


def code_head(language: str) -> str:
    """Return what stands above code: the language and the button that copies it."""
    return (
        f'<span class="code-language">{html.escape(language)}</span>'
        '<button type="button" class="copy-code" data-testid="copy-code" aria-label="Copy code">Copy</button>'
    )


def code_body(code: str, language: str) -> str:
    """Return code with its tokens in spans, without a character more or less."""
    lexer = _lexer(language.lower()) if language.lower() in _LANGUAGES and _is_worth_colour(code) else None
    return _CLEANER.clean(_highlight(code, lexer) if lexer else html.escape(code, quote=False))


_TASK = re.compile(r'^([ \t]*(?:[-+*]|\d{1,9}[.)])[ \t])\[([ xX])\](?=[ \t])', re.MULTILINE)


def _task_box(task: re.Match[str]) -> str:
    return task[1] + ('☐' if task[2] == ' ' else '☑')


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
            parts.append(f'<div class="{block_classes(block)}">{_code_block("".join(code), block.language)}</div>')
            code = []
    return ''.join(parts)


_render_short = lru_cache(CACHED_COUNT)(_render)


def _code_block(code: str, language: str) -> str:
    return (
        f'<div class="code-block"><div class="code-head">{code_head(language)}</div>'
        f'<pre class="code-body"><code>{code_body(code, language)}</code></pre></div>'
    )


# Named one by one: a lexer is code that meets hostile text, and an unknown name would search all installed packages.
_LANGUAGES = frozenset(
    """
    asm awk bash bat batch c c# c++ cfg clojure cmake console cpp cs csharp css cuda d dart diff docker
    dockerfile elixir elm erlang f# fortran fsharp glsl go golang graphql groovy haskell hcl hs html http ini
    java javascript jinja js json jsx julia kotlin latex lisp lua make makefile markdown matlab md nasm
    nginx nim nix objective-c ocaml octave pascal perl php pl postgresql powershell properties protobuf ps1
    py pycon python python3 r racket rb rs ruby rust sass scala scheme scss sh shell solidity sql svelte
    swift tcl terraform tex toml ts tsx typescript udiff vb.net verilog vhdl vim vue wgsl xml yaml yml zig
    zsh
    """.split()  # noqa: SIM905 - a hundred quoted words are harder to read
)
_UNCOLOURED = frozenset({'', 'err', 'esc', 'l', 'n', 'p', 'pm', 'w', 'x'})


@cache
def _lexer(name: str) -> Lexer | None:
    try:
        return get_lexer_by_name(name, stripnl=False, ensurenl=False)
    except ValueError:  # a Pygments without this lexer
        return None


def _is_worth_colour(code: str) -> bool:
    return len(code) <= HIGHLIGHT_LIMIT and max(map(len, code.split('\n'))) <= COLOURED_LINE


def _highlight(code: str, lexer: Lexer) -> str:
    parts: list[str] = []
    for name, tokens in groupby(_tokens(code, lexer), key=lambda token: _token_class(token[0])):
        text = html.escape(''.join(text for _, text in tokens), quote=False)
        parts.append(f'<span class="{name}">{text}</span>' if name else text)
    return ''.join(parts)


def _tokens(code: str, lexer: Lexer) -> Iterator[tuple[_TokenType, str]]:
    """Yield the tokens; what is left when the time is up is plain text.

    Most lexers have a pattern that takes quadratic time on some text, often on text that is not of their language.
    """
    deadline = time.thread_time() + min(0.1, 0.01 + len(code) * 10e-6)
    end = 0
    for start, kind, text in lexer.get_tokens_unprocessed(code):
        yield kind, text
        end = start + len(text)
        if time.thread_time() > deadline:
            break
    yield Token.Text, code[end:]


@cache
def _token_class(kind: _TokenType) -> str:
    """Return the short name that Pygments gives this kind of token, or that of a wider kind; empty for plain text."""
    while kind not in STANDARD_TYPES and kind.parent:
        kind = kind.parent
    name = STANDARD_TYPES.get(kind, '')
    return '' if name in _UNCOLOURED else name


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the name is the library's
        return re.match(r'https?://|mailto:', url, re.IGNORECASE) is not None


def _line_break(state: StateInline, silent: bool) -> bool:
    """`<br>` is the one tag that models need: a table cell has no other way to break a line."""
    tag = re.compile(r'<br ?/?>', re.IGNORECASE).match(state.src, state.pos)
    if not tag:
        return False
    if not silent:
        state.push('hardbreak', 'br', 0)
    state.pos = tag.end()
    return True


def _image_as_link(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    """Loading a picture would tell its server what was said here, so it only is a link."""
    image = tokens[index]
    href, alt = html.escape(str(image.attrs['src'])), html.escape(image.content or 'image')
    return f'<a class="image-link" href="{href}">{alt}</a>'


def _fence(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    return _code_block(tokens[index].content, fence_language(tokens[index].info))


def _cell(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    side = str(tokens[index].attrs.get('style', '')).removeprefix('text-align:')
    return f'<{tokens[index].tag} class="align-{side}">' if side else f'<{tokens[index].tag}>'


def _table_open(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    return '<div class="table-scroll"><table>\n'


def _table_close(self: RendererHTML, tokens: Sequence[Node], index: int, options: OptionsDict, env: EnvType) -> str:
    return '</table></div>\n'


def _build_parser() -> MarkdownIt:
    # Reference definitions are off: they would vanish from the page, and other blocks could not use them anyway.
    parser = _Parser('commonmark', {'html': False, 'breaks': True})
    parser.enable(['table', 'strikethrough']).disable(['reference', 'html_block', 'html_inline'])
    parser.inline.ruler.before('autolink', 'line_break', _line_break)
    for name in ('fence', 'code_block'):
        parser.add_render_rule(name, _fence)
    for name in ('th_open', 'td_open'):
        parser.add_render_rule(name, _cell)
    parser.add_render_rule('image', _image_as_link)
    parser.add_render_rule('table_open', _table_open)
    parser.add_render_rule('table_close', _table_close)
    return parser


_PARSER = _build_parser()
_TAGS = (
    'p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote em strong s code pre a table thead tbody tr th td div span button'
)
_CLEANER = nh3.Cleaner(
    tags=set(_TAGS.split()),
    attributes={'*': set(), 'a': {'href'}, 'ol': {'start'}, 'button': {'aria-label', 'data-testid'}},
    allowed_classes={
        'a': {'image-link'},
        'button': {'copy-code'},
        'div': {'code-block', 'code-head', 'table-scroll'},
        'pre': {'code-body'},
        'span': {'code-language', *STANDARD_TYPES.values()} - {''},
        'td': {'align-left', 'align-center', 'align-right'},
        'th': {'align-left', 'align-center', 'align-right'},
    },
    set_tag_attribute_values={'a': {'target': '_blank'}, 'button': {'type': 'button'}},
    url_schemes={'http', 'https', 'mailto'},
    url_relative='deny',
    link_rel='noopener noreferrer',
)
