"""Code in a reply: its head, its colours."""

import html
import json
import time
from collections.abc import Iterator
from functools import cache
from itertools import groupby

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES, Token, _TokenType

from webui.cleaning import clean
from webui.words import say

HIGHLIGHT_LIMIT, COLOURED_LINE = 200_000, 2000  # characters of code and of its lines; more is shown in one colour
WORDS = ('copy', 'copied', 'not-copied', 'wrap', 'diagram', 'show-source', 'show-diagram', 'no-diagram')
DIAGRAM_LANGUAGE = 'mermaid'
DIAGRAM_LIMIT = 20_000  # characters; a larger diagram stays source


def code_block(code: str, language: str, *, finished: bool = True) -> str:
    """Return a whole block of code; one that describes a diagram shows it once it is `finished`."""
    drawing = diagram(code, language) if finished else ''
    return (
        f'<div class="code-block"><div class="code-head">{code_head(language)}</div>{drawing}'
        f'<pre class="code-body"><code>{code_body(code, language)}</code></pre></div>'
    )


def code_head(language: str) -> str:
    """Return what stands above code: the language, and the place where the page puts its buttons."""
    return f'<span class="code-language">{html.escape(language)}</span><code-tools></code-tools>'


def code_body(code: str, language: str) -> str:
    """Return code with its tokens in spans, without a character more or less."""
    lexer = _lexer(language.lower()) if language.lower() in _LANGUAGES and _is_worth_colour(code) else None
    return clean(_highlight(code, lexer) if lexer else html.escape(code, quote=False))


def words_for_page() -> str:
    """Return what the page says around code and diagrams, for its head; the code itself is the same for everybody."""
    words = json.dumps({key: say(f'markdown.{key}') for key in WORDS})
    return f'<meta name="code-words" content="{html.escape(words)}">'


def diagram(code: str, language: str) -> str:
    """Return the place where the page draws the diagram that this code describes; empty if it describes none."""
    if language.lower() != DIAGRAM_LANGUAGE or len(code) > DIAGRAM_LIMIT or not code.strip():
        return ''
    return '<chat-diagram></chat-diagram>'


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
