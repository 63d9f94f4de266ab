"""Formulas that have lines for themselves: where they start and end."""

import re
from dataclasses import dataclass, field

LIMIT = 4096  # characters; what is longer and does not end counts as text


@dataclass(slots=True)
class Formula:
    """A formula and its lines as they came; `opening` and `closing` are what LaTeX has around it, or a fence."""

    opening: str
    closing: str
    lines: list[str] = field(default_factory=list)
    size: int = 0

    @property
    def is_fenced(self) -> bool:
        return self.opening[0] in '`~'

    def has_room(self, line: str) -> bool:
        return self.size + len(line) <= LIMIT

    def add(self, line: str) -> None:
        self.lines.append(line)
        self.size += len(line) + 1

    def end_in(self, line: str) -> int:
        """Return where in the next line the formula ends, with the punctuation after it; -1 if it goes on."""
        if self.is_fenced:
            mark = line.strip()
            return len(line) if self.lines and len(mark) >= len(self.closing) and not mark.strip(mark[0]) else -1
        start = 0 if self.lines else line.index(self.opening) + len(self.opening)
        end = line.find(self.closing, start)
        if end < 0:
            return -1
        punctuation = _PUNCTUATION.match(line, end + len(self.closing))
        return punctuation.end() if punctuation else end

    def latex(self) -> str:
        """Return what stands between the marks, and the punctuation behind them."""
        text = '\n'.join(self.lines).strip()
        if self.opening not in _CLOSING:
            return text
        inside, _, punctuation = text.removeprefix(self.opening).rpartition(self.closing)
        return inside + punctuation


def start_formula(line: str, start: int = 0) -> Formula | None:
    """Return the formula that starts here, if it does not share the line with text that follows it."""
    found = _OPENING.match(line, start)
    if not found or len(line) > LIMIT:
        return None
    mark = found['mark']
    formula = Formula(mark, _CLOSING.get(mark) or mark.replace('begin', 'end'))
    end = formula.end_in(line[start:])
    return formula if end < 0 or not line[start + end :].strip() else None


def before_formula(line: str) -> str:
    """Return the text before a formula that starts at the end of this line and goes on in the next; else nothing."""
    if len(line) > LIMIT or not line.rstrip().endswith(tuple(_CLOSING)):
        return ''
    head = _BEFORE.fullmatch(line)
    return head['text'] if head and head['text'].count('$$') % 2 == 0 else ''


_OPENING = re.compile(
    r'[ \t]*+(?P<mark>\$\$(?!\$)|\\\['
    r'|\\begin\{(?:align|alignat|equation|flalign|gather|multline|eqnarray|[bpvBV]?matrix)\*?\})'
)
_CLOSING = {'$$': '$$', '\\[': '\\]'}
_PUNCTUATION = re.compile(r'[ \t]*[.,;:]?')
_BEFORE = re.compile(r'(?P<text>(?:(?!`|~~~|\\\[).)*[^\s$\\])[ \t]*+(?:\$\$|\\\[)[ \t]*')
