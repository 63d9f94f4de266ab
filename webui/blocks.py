"""Markdown that is still being written, cut into blocks that can be rendered alone."""

import io
import re
from dataclasses import dataclass, field
from typing import Literal

from webui.formula_lines import Formula, before_formula, start_formula

LIMIT = 8192  # characters of a line or a block before it is cut: bounds the open tail and what any parser can waste
PIECE_LINES, PIECE_SIZE = 20, 2048  # of code that is handed out while its fence is open


@dataclass(frozen=True, slots=True)
class Block:
    """A finished stretch of source: Markdown to render alone, or the start, a piece or the end of a code block.

    `depth` counts the list items it stands in; `number` is the true number of an ordered item, whatever its text says.
    `unfinished` tells that the text ends in the middle of something.
    """

    kind: Literal['markdown', 'code_open', 'code_more', 'code_close']
    text: str = ''
    language: str = ''
    depth: int = 0
    number: int | None = None
    unfinished: bool = False


class BlockSplitter:
    """Cuts growing Markdown into blocks that can be rendered alone; the cuts do not depend on how the text arrives.

    Code fences are handed out in pieces while they are open, also those in list items. Every top-level list item is a
    block, and so is a formula with lines of its own. Work per character is constant: a line is looked at once, when it
    is complete, and those of a formula that does not end a second time.
    """

    def __init__(self) -> None:
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._partial: list[str] = []
        self._partial_size = 0
        self._mid_line = False
        self._levels = [_Level()]
        self._open: _Open | None = None
        self._code: _Code | None = None
        self._formula: Formula | None = None
        self._without_formulas = False
        self._done: list[Block] = []

    def feed(self, delta: str) -> list[Block]:
        """Take more text and return the blocks it finished."""
        *lines, rest = self._newlines.decode(delta).split('\n')
        for line in lines:
            self._line(self._cut(self._take_partial() + line), ended=True)
        self._keep_partial(rest)
        if self._partial_size >= LIMIT:
            self._keep_partial(self._cut(self._take_partial()))
        return self._take_done()

    def finish(self) -> list[Block]:
        """Close what is open and return the last blocks."""
        blocks = self.feed(self._newlines.decode('', final=True))
        if rest := self._take_partial():
            self._line(rest, ended=self._formula is not None)
        if self._code:
            self._close_code(self._code)
        if self._formula:
            self._close_formula(self._formula, unfinished=True)
        self._close()
        return blocks + self._take_done()

    @property
    def tail(self) -> str:
        """The source that no finished block holds yet."""
        if self._code:
            return ''.join(self._code.pieces) + ''.join(self._partial)
        if self._formula:
            return '\n'.join([*self._formula.lines, ''.join(self._partial)])
        return '\n'.join([*(self._open.lines if self._open else ()), ''.join(self._partial)])

    def preview(self) -> Block:
        """Return the tail as it should be shown, without marks that would turn into something else a moment later."""
        partial = ''.join(self._partial)
        if code := self._code:
            closing = not self._mid_line and partial.strip().strip(code.mark) == ''
            shown = '' if closing else partial if self._mid_line else _dedent(partial, code.indent)
            return Block('code_more', ''.join(code.pieces) + shown, code.language, self._depth)
        if formula := self._formula:
            text = '\n'.join(_dedent(line, self._levels[-1].indent) for line in [*formula.lines, partial])
            return Block('markdown', text, depth=self._depth, unfinished=True)
        if self._open:
            lines = [*self._open.lines, _dedent(partial, self._levels[-1].indent)]
            text, number = _settled(lines, self._open), self._open.number
            return Block('markdown', text, depth=self._depth, number=number, unfinished=True)
        level = max(i for i, level in enumerate(self._levels) if level.indent <= _indent(partial) or i == 0)
        text = _settled([_dedent(partial, self._levels[level].indent)], None)
        return Block('markdown', text, depth=level, unfinished=True)

    @property
    def _depth(self) -> int:
        return len(self._levels) - 1

    def _take_done(self) -> list[Block]:
        done, self._done = self._done, []
        return done

    def _take_partial(self) -> str:
        line = ''.join(self._partial)
        self._partial, self._partial_size = [], 0
        return line

    def _keep_partial(self, text: str) -> None:
        self._partial.append(text)
        self._partial_size += len(text)

    def _cut(self, line: str) -> str:
        """Process the head of a line that is too long, in text at spaces, and return the rest."""
        start = 0
        while len(line) - start >= LIMIT:
            end = start + LIMIT
            space = -1 if self._code else line.rfind(' ', end - LIMIT // 2, end)
            end = end if space < 0 else space + 1
            self._line(line[start:end], ended=False)
            start = end
        return line[start:]

    def _line(self, line: str, *, ended: bool) -> None:
        """Process a line, or with `ended` false the first part of one that goes on."""
        if self._formula and not (ended and _may_contain(self._formula, line)):
            self._give_up(self._formula)
        mid_line, self._mid_line = self._mid_line, not ended
        if self._formula:
            self._formula_line(self._formula, line)
        elif self._code:
            self._code_line(self._code, line, mid_line=mid_line, ended=ended)
        elif not line.strip():
            self._blank_line()
        elif mid_line:
            self._start('paragraph', line)
        else:
            self._text_line(line)
        if not ended and not self._code:
            self._close(inside=True)

    def _blank_line(self) -> None:
        if self._open and self._open.kind in {'item', 'indented'}:
            self._add(self._open, '')
        else:
            self._close()

    def _text_line(self, line: str) -> None:
        width = _indent(line)
        while width < self._levels[-1].indent:
            self._close()
            self._levels.pop()
        indent = width - self._levels[-1].indent
        line = _dedent(line, self._levels[-1].indent)
        block = self._open
        inside = block is not None and block.kind == 'item' and indent >= block.inner
        fence, formula = _FENCE.match(line), self._formula_in(line)
        if fence and (inside or indent < 4):
            self._close(inside=inside)
            self._open_code(fence, width)
        elif formula and (inside or indent < 4):
            self._close(inside=inside)
            self._open_formula(formula, ' ' * width + line.lstrip(' \t'))
        elif indent < 4 and not (self._without_formulas or _QUOTE.match(line)) and (head := before_formula(line)):
            self._text_line(' ' * width + head.strip())
            self._text_line(' ' * self._text_column() + line.strip()[-2:])
        elif block and (inside or _goes_on(block, line, indent)):
            self._add(block, line)
        else:
            self._close()
            self._start_block(line, indent)

    def _start_block(self, line: str, indent: int) -> None:
        if indent >= 4:
            self._start('indented', line)
        elif _HEADING.match(line) or _RULE.match(line):
            self._start('paragraph', line)
            self._close()
        elif item := _ITEM.match(line):
            self._start_item(item, line)
        else:
            self._start('quote' if _QUOTE.match(line) else 'paragraph', line)

    def _start(self, kind: '_OpenKind', line: str) -> None:
        self._levels[-1].mark = ''
        self._open = _Open(kind)
        self._add(self._open, line)

    def _start_item(self, item: re.Match[str], line: str) -> None:
        level, digits, mark = self._levels[-1], item['digits'], item['mark']
        level.number = level.number + 1 if level.mark == mark else int(digits or 0)
        level.mark = mark
        self._open = block = _Open('item', inner=_inner(item), number=level.number if digits else None)
        markers = _MARKERS.match(line)
        end = markers.end() if markers else 0
        if fence := _FENCE.match(line, end):
            self._add(block, line[:end])
            self._close(inside=True)
            self._open_code(fence, self._levels[-1].indent)
        elif formula := self._formula_in(line, end):
            self._add(block, line[:end])
            self._close(inside=True)
            self._open_formula(formula, ' ' * self._levels[-1].indent + line[end:])
        else:
            self._add(block, line)

    def _add(self, block: '_Open', line: str) -> None:
        if block.kind == 'paragraph' and not block.header and block.lines and _is_table(block.lines[-1], line):
            block.header = (block.lines[-1], line)
        block.lines.append(line)
        block.size += len(line) + 1
        if block.size > LIMIT:
            self._close(inside=True)
            if sum(map(len, block.header)) < LIMIT // 8:
                self._open = _Open('paragraph', lines=[*block.header], header=block.header) if block.header else None

    def _close(self, *, inside: bool = False) -> None:
        """End the open block; with `inside`, what follows still belongs to the list item and goes one level deeper."""
        block, self._open = self._open, None
        if not block or not block.size:
            return
        text = '\n'.join(block.lines).rstrip()
        self._done.append(Block('markdown', text, depth=self._depth, number=block.number))
        if inside and block.kind == 'item':
            self._levels.append(_Level(self._levels[-1].indent + block.inner))

    def _formula_in(self, line: str, start: int = 0) -> Formula | None:
        return None if self._without_formulas else start_formula(line, start)

    def _text_column(self) -> int:
        """Return where a line has to start to go on in the open item, if there is one."""
        return self._levels[-1].indent + (self._open.inner if self._open and self._open.kind == 'item' else 0)

    def _open_formula(self, formula: Formula, line: str) -> None:
        self._levels[-1].mark = ''
        self._formula = formula
        self._formula_line(formula, line)

    def _formula_line(self, formula: Formula, line: str) -> None:
        end = formula.end_in(line)
        formula.add(line if end < 0 else line[:end])
        if end >= 0:
            self._close_formula(formula)
            if rest := line[end:].strip():
                self._text_line(' ' * _indent(line) + rest)

    def _close_formula(self, formula: Formula, *, unfinished: bool = False) -> None:
        text = '\n'.join(_dedent(line, self._levels[-1].indent) for line in formula.lines)
        self._formula = None
        self._done.append(Block('markdown', text, depth=self._depth, unfinished=unfinished))

    def _give_up(self, formula: Formula) -> None:
        """Take what looked like a formula for text."""
        self._formula, self._without_formulas = None, True
        for line in formula.lines:
            self._line(line, ended=True)
        self._without_formulas = False

    def _open_code(self, fence: re.Match[str], indent: int) -> None:
        if fence_language(fence['info']).lower() == 'math' and not self._without_formulas:
            self._open_formula(Formula(fence['fence'], fence['fence']), ' ' * indent + fence[0].lstrip())
            return
        self._levels[-1].mark = ''
        self._code = _Code(fence['fence'][0], len(fence['fence']), indent, fence_language(fence['info']))
        self._done.append(Block('code_open', language=self._code.language, depth=self._depth))

    def _code_line(self, code: '_Code', line: str, *, mid_line: bool, ended: bool) -> None:
        if not mid_line and code.is_closed_by(line):
            self._close_code(code)
            return
        code.add(line if mid_line else _dedent(line, code.indent), ended=ended)
        if code.lines >= PIECE_LINES or code.size >= PIECE_SIZE:
            self._flush_code(code)

    def _flush_code(self, code: '_Code') -> None:
        if text := code.take():
            self._done.append(Block('code_more', text, code.language, self._depth))

    def _close_code(self, code: '_Code') -> None:
        self._flush_code(code)
        self._done.append(Block('code_close', '', code.language, self._depth))
        self._code = None


def fence_language(info: str) -> str:
    """Return the language that the line of a fence names, if any."""
    name = _LANGUAGE.search(info)
    return name[0][:40] if name else ''


_OpenKind = Literal['paragraph', 'item', 'quote', 'indented']

_FENCE = re.compile(r'[ \t]*+(?P<fence>`{3,}+(?!.*`)|~{3,}+)(?P<info>.*)')
_LANGUAGE = re.compile(r'[\w+#.-]+')
_HEADING = re.compile(r' {0,3}#{1,6}(?:[ \t]|$)')
_RULE = re.compile(r' {0,3}([-*_])[ \t]*+(?:\1[ \t]*+){2,}$')
_QUOTE = re.compile(r' {0,3}>')
_ITEM = re.compile(r' {0,3}(?P<digits>\d{1,9}(?=[.)]))?(?P<mark>(?(digits)[.)]|[-+*]))(?P<space>[ \t]+|$)(?P<text>.?)')
_MARKERS = re.compile(r' {0,3}(?:(?:\d{1,9}[.)]|[-+*])[ \t]++)*+')
_DELIMITER_ROW = re.compile(r'[ \t]*\|?[ \t]*:?-[-:| \t]*$')
_UNDECIDED = re.compile(r'[\s=+*_#>|:`~$\\-]*|\s*\\\[|\s*\d{1,9}[.)]?\s*')
_OPEN_BOLD = re.compile(r'(?<![\w*])\*\*(?=[^\s*])[^*`]*$')
_OPEN_CODE = re.compile(r'(?<!`)`[^`]+$')


@dataclass(slots=True)
class _Level:
    """A list item that text goes on in; `mark` and `number` are of the last item in it, while its list lasts."""

    indent: int = 0
    mark: str = ''
    number: int = 0


@dataclass(slots=True)
class _Open:
    """The Markdown block that lines are added to; `inner` is where the text of an item starts."""

    kind: _OpenKind
    lines: list[str] = field(default_factory=list)
    size: int = 0
    inner: int = 0
    number: int | None = None
    header: tuple[str, ...] = ()


@dataclass(slots=True)
class _Code:
    """The open fence and the code that was not handed out yet."""

    mark: str
    length: int
    indent: int
    language: str
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    lines: int = 0

    def is_closed_by(self, line: str) -> bool:
        mark = line.strip()
        return len(mark) >= self.length and not mark.strip(self.mark) and _indent(line) < self.indent + 4

    def add(self, text: str, *, ended: bool) -> None:
        self.pieces.append(text + '\n' if ended else text)
        self.size += len(text) + 1
        self.lines += 1

    def take(self) -> str:
        text = ''.join(self.pieces)
        self.pieces, self.size, self.lines = [], 0, 0
        return text


def _may_contain(formula: Formula, line: str) -> bool:
    """Whether a line may belong to a formula; if not, that never was one."""
    return formula.has_room(line) and (formula.is_fenced or not (_FENCE.match(line) or _HEADING.match(line)))


def _goes_on(block: _Open, line: str, indent: int) -> bool:
    """Whether a line that is not indented into a list item still belongs to the block."""
    if block.kind == 'indented':
        return indent >= 4
    if not block.lines[-1]:
        return False
    if indent >= 4 or (block.kind == 'quote' and _QUOTE.match(line)):
        return True
    if _RULE.match(line):
        return block.kind == 'paragraph'  # there it may underline a heading
    return not (_HEADING.match(line) or _QUOTE.match(line) or _is_item_after(block, line))


def _is_item_after(block: _Open, line: str) -> bool:
    """Whether the line starts a list item; in the middle of a paragraph only one with text and the number 1 does."""
    item = _ITEM.match(line)
    return item is not None and (block.kind == 'item' or (bool(item['text']) and item['digits'] in {None, '1'}))


def _inner(item: re.Match[str]) -> int:
    """Return the column where the text of a list item starts."""
    marker = item.end('mark')
    width = len(item.string[: item.end('space')].expandtabs(4))
    return width if item['text'] and marker < width <= marker + 4 else marker + 1


def _is_table(header: str, delimiters: str) -> bool:
    return '|' in header and '|' in delimiters and _DELIMITER_ROW.match(delimiters) is not None


def _indent(line: str) -> int:
    return len(line[: len(line) - len(line.lstrip(' \t'))].expandtabs(4))


def _dedent(line: str, width: int) -> str:
    """Take up to `width` columns of white space off the start."""
    if not width:
        return line
    text = line.lstrip(' \t')
    return ' ' * max(0, _indent(line) - width) + text


def _settled(lines: list[str], block: _Open | None) -> str:
    """Join the lines of a tail so that it looks like what it will most likely become."""
    if _UNDECIDED.fullmatch(lines[-1]):
        lines = lines[:-1]
    if not (block and block.header):  # a table shows when its second row says that it is one
        while lines and lines[-1].lstrip().startswith('|'):
            lines = lines[:-1]
    if not lines:
        return ''
    last = lines[-1]
    if last.count('`') % 2 and _OPEN_CODE.search(last):
        lines = [*lines[:-1], last + '`']
    elif last.count('**') % 2 and _OPEN_BOLD.search(last):
        lines = [*lines[:-1], last.rstrip() + '**']
    return '\n'.join(lines)
