"""The figures of `bench page` and what each of them has to be."""

from collections.abc import Sequence
from dataclasses import dataclass

from webui.bench.report import Cell, Report, Target

NOTES = (
    'Server CPU is that of the app process, without what it takes while nothing happens; the echo engine is in it.',
    'Memory counts pages of the system that processes share by their part, where the system tells it.',
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number; `value` is None where it could not be measured, and `most` what it should not exceed."""

    key: str
    text: str
    value: float | None
    most: float | None = None

    @property
    def target(self) -> Target | None:
        """Whether the number is small enough; one that is not there is not."""
        if self.most is None:
            return None
        return Target(
            text=f'{self.text}: at most {self.most:g}', met=self.value is not None and self.value <= self.most
        )


def report(title: str, figures: Sequence[Figure]) -> Report:
    """Return the table of all figures."""
    return Report(
        name='page',
        title=title,
        columns=('', 'measured', 'target'),
        rows=[_row(figure) for figure in figures],
        facts={figure.key: figure.value if figure.value is None else round(figure.value, 4) for figure in figures},
        notes=NOTES,
        targets=[figure.target for figure in figures if figure.target],
    )


def _row(figure: Figure) -> list[Cell]:
    measured: Cell = 'not measured' if figure.value is None else float(figure.value)
    return [figure.text, measured, '' if figure.most is None else f'≤ {figure.most:g}']
