"""What models write beyond CommonMark: formulas, line breaks in tables, bare addresses, footnotes and tasks."""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline

from webui.formula_lines import start_formula

UNFINISHED = 'unfinished'
"""Set in the environment of a parse whose text ends in the middle of something."""


def add_rules(parser: MarkdownIt) -> None:
    """Teach a parser all of them; they make tokens `formula`, `formula_block` and `footnote` that need a renderer."""
    parser.block.ruler.before('fence', 'formula_block', _formula_block, {'alt': ['paragraph', 'blockquote', 'list']})
    parser.inline.ruler.before('escape', 'formula', _formula)
    parser.inline.ruler.before('autolink', 'line_break', _line_break)
    parser.inline.ruler.before('link', 'footnote', _footnote)
    parser.inline.ruler.after('text', 'bare_link', _bare_link)
    parser.core.ruler.after('block', 'tasks', _tasks)


# Nothing in a formula may look like the start of another one, so that no text is searched twice. What stands next to a
# single dollar tells formulas from prices and variables.
_FORMULAS = re.compile(
    r'(?<!\$)\$\$(?P<double>(?:\\.|[^\\$])++)\$\$(?!\$)'
    r'|(?<![A-Za-z0-9$])\$(?![\s$])(?P<single>(?:\\.|[^\\$])++)(?<!\s)\$(?![A-Za-z0-9$])'
    r'|\\\((?P<round>(?:\\[^()]|[^\\])++)\\\)'
    r'|\\\[(?P<square>(?:\\[^\[\]]|[^\\])++)\\\]',
    re.DOTALL,
)
_STARTED = re.compile(
    r'(?:\$\$(?!\$)|\$(?![\s\d$])|\\[(\[])(?:\\.|[^\\$])*?\\?(?=(?:\*\*|`)?\Z)',
    re.DOTALL,
)
_PRICE = re.compile(r'\d[\d.,]*+\s*+[^\W\d_]{2,}[^\\^_=]*')


def _formula(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in '$\\':
        return False
    found = _FORMULAS.match(state.src, state.pos)
    if not found or (found.lastgroup == 'single' and _PRICE.fullmatch(found['single'])):
        return _started_formula(state, silent)
    if not silent:
        assert found.lastgroup
        token = state.push('formula', '', 0)
        token.content, token.markup = found[found.lastgroup].strip(), found[0]
        token.meta = {'display': found.lastgroup in {'double', 'square'}}
    state.pos = found.end()
    return True


def _started_formula(state: StateInline, silent: bool) -> bool:
    """Show what may become a formula as it is written, so that nothing in it turns bold for a moment."""
    start = _STARTED.match(state.src, state.pos) if state.env.get(UNFINISHED) else None
    if not start or (state.pos and state.src[state.pos - 1].isalnum()):
        return False
    if not silent:
        state.pending += start[0]
    state.pos = start.end()
    return True


def _formula_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    if state.is_code_block(start_line):
        return False
    formula = start_formula(_line(state, start_line))
    if not formula:
        return False
    line, ended = start_line, False
    while line < end_line and not ended and (line == start_line or _belongs(state, line)):
        text = _line(state, line)
        end = formula.end_in(text)
        if (line > start_line and end < 0 and formula.opening in text) or (end >= 0 and text[end:].strip()):
            return False
        formula.add(text)
        ended, line = end >= 0, line + 1
    if not ended and not state.env.get(UNFINISHED):
        return False
    if not silent:
        token = state.push('formula_block', '', 0)
        token.markup = '\n'.join(formula.lines)
        token.content = formula.latex() if ended else ''
        token.map = [start_line, line]
    state.line = line
    return True


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _belongs(state: StateBlock, line: int) -> bool:
    is_blank = state.bMarks[line] + state.tShift[line] >= state.eMarks[line]
    return is_blank or state.sCount[line] >= state.blkIndent


_BREAK = re.compile(r'<br ?/?>', re.IGNORECASE)


def _line_break(state: StateInline, silent: bool) -> bool:
    """`<br>` is the one tag that models need: a table cell has no other way to break a line."""
    tag = _BREAK.match(state.src, state.pos)
    if not tag:
        return False
    if not silent:
        state.push('hardbreak', 'br', 0)
    state.pos = tag.end()
    return True


_FOOTNOTE = re.compile(r'\[\^(?P<label>[^\[\]\s^]{1,40})\](?P<colon>:?)')


def _footnote(state: StateInline, silent: bool) -> bool:
    """A mark, and at the start of a line the mark of the note itself; both stay where they are."""
    note = _FOOTNOTE.match(state.src, state.pos)
    if not note:
        return False
    starts_line = state.pos == 0 or state.src[state.pos - 1] == '\n'
    if not silent:
        token = state.push('footnote', '', 0)
        token.content, token.meta = note['label'], {'note': bool(note['colon'] and starts_line)}
    state.pos = note.end() if starts_line else note.end('label') + 1
    return True


_SCHEME = re.compile(r'(?<![A-Za-z0-9])https?$', re.IGNORECASE)
_ADDRESS = re.compile(r'://[^\s<>"`|\\]{2,2000}')


def _bare_link(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != ':' or state.linkLevel:
        return False
    address, scheme = _ADDRESS.match(state.src, state.pos), _SCHEME.search(state.pending[-6:])
    if not address or not scheme:
        return False
    rest = _without_end(address[0])
    url = state.md.normalizeLink(scheme[0] + rest)
    if len(rest) < 5 or not state.md.validateLink(url):
        return False
    if not silent:
        state.pending = state.pending[: -len(scheme[0])]
        state.push('link_open', 'a', 1).attrs = {'href': url}
        state.push('text', '', 0).content = scheme[0] + rest
        state.push('link_close', 'a', -1)
    state.pos += len(rest)
    return True


def _without_end(address: str) -> str:
    """Take off the punctuation that belongs to the sentence."""
    address = address.rstrip('?!.,:;*_~\'"]')
    while address.endswith(')') and address.count(')') > address.count('('):
        address = address[:-1].rstrip('?!.,:;*_~\'"]')
    return address


_TASK = re.compile(r'\[([ xX])\](?=\s)')


def _tasks(state: StateCore) -> None:
    for item, paragraph, text in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if item.type == 'list_item_open' and paragraph.type == 'paragraph_open' and (box := _TASK.match(text.content)):
            text.content = ('☐' if box[1] == ' ' else '☑') + text.content[box.end() :]
            item.attrs['class'] = 'task'
