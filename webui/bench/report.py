"""What a benchmark found: a table for people, one line of JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a number has to be; `met` says whether it is."""

    text: str
    met: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """`facts` are the numbers under the names that stay the same; `notes` tell what to keep in mind with them."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    facts: dict[str, Any]
    targets: Sequence[Target] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)

    def text(self) -> str:
        """Return the table, the notes and the targets."""
        cells = [list(self.columns), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[at]) for line in cells) for at in range(len(self.columns))]
        table = [_line(line, widths) for line in cells]
        targets = [f'{"met   " if target.met else "MISSED"}  {target.text}' for target in self.targets]
        return '\n'.join([self.title, '', table[0], '-' * len(table[0]), *table[1:], '', *self.notes, *targets, ''])

    def json(self) -> str:
        """Return everything a program needs, in one line."""
        targets = {target.text: target.met for target in self.targets}
        return json.dumps({'benchmark': self.name, **self.facts, 'targets': targets})


def _shown(cell: Cell) -> str:
    match cell:
        case str():
            return cell
        case int():
            return f'{cell:,}'
        case float():
            return f'{cell:,.1f}' if abs(cell) >= 100 else f'{cell:.3f}'


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """What a row is about stands left, its numbers right."""
    numbers = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return '  '.join([cells[0].ljust(widths[0]), *numbers])
