"""What was measured to be fastest, for each model file, library and machine."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from inference.tuner import Subject
from inference.tuning import Tuning
from presets.errors import DamagedFile
from presets.storage import Database, Report, Writer, on_loop


class TuningRecord(BaseModel):
    """A tuning and what it holds for."""

    model_config = ConfigDict(extra='forbid')

    subject: Subject
    tuning: Tuning


class TuningStore:
    """One small file, read anew each time: `run.py bench tune` writes to it while the app runs."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    @classmethod
    def open(cls, path: Path, writer: Writer, on_problem: Report) -> Self:
        """Use the file at `path`, which need not be there."""
        return cls(Database(path, on_loop(on_problem)), writer)

    async def get(self, subject: Subject) -> Tuning | None:
        """Return what was measured for exactly this; a record that makes no sense (any more) is none."""
        records = await self._writer.run(self._read_on_writer)
        return next((record.tuning for record in _valid(records) if record.subject == subject), None)

    async def put(self, subject: Subject, tuning: Tuning) -> None:
        """Remember a tuning in place of an earlier one; the others stay as they are."""
        await self._writer.run(self._put_on_writer, TuningRecord(subject=subject, tuning=tuning))

    def _put_on_writer(self, new: TuningRecord) -> None:
        document = new.model_dump(mode='json')
        kept = [one for one in self._read_on_writer() if one.get('subject') != document['subject']]
        records = {str(number): one for number, one in enumerate([*kept, document], 1)}
        self._database.file.write({'tunings': records})

    def _read_on_writer(self) -> list[dict[str, Any]]:
        try:
            tables = self._database.file.read() or {}
        except DamagedFile:
            return []  # reported when it was set aside
        return list(tables.get('tunings', {}).values())


def _valid(documents: list[dict[str, Any]]) -> list[TuningRecord]:
    found = []
    for document in documents:
        try:
            found.append(TuningRecord.model_validate(document))
        except ValidationError:
            continue
    return found
