"""What is remembered about each model: how it is loaded, when it was used, and which trial loads it passed."""

from pathlib import Path
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from inference.settings import LoadSettings
from presets.errors import DamagedFile
from presets.migrations import salvage
from presets.storage import Database, Report, Writer, on_loop

MOST_VERDICTS = 64


class ModelRecord(BaseModel):
    """One model; `verdicts` maps what was tried in a preflight to 'ok' or the reason why it failed, the latest last."""

    model_config = ConfigDict(extra='forbid')

    id: str
    load: LoadSettings = LoadSettings()
    last_used: AwareDatetime | None = None
    verdicts: dict[str, str] = {}

    def with_verdict(self, key: str, verdict: str) -> dict[str, str]:
        """Return the verdicts with one more or a new one; the oldest of very many are forgotten."""
        others = [(tried, said) for tried, said in self.verdicts.items() if tried != key]
        return dict([*others[1 - MOST_VERDICTS :], (key, verdict)])


class ModelStore:
    """The records of all models, in memory and in one file."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._documents: dict[str, dict[str, Any]] = {}
        self._records: dict[str, ModelRecord] = {}

    @classmethod
    async def open(cls, path: Path, writer: Writer, on_problem: Report) -> Self:
        """Read the file; a setting that is not allowed (any more) is reported and takes its default."""
        store = cls(Database(path, on_loop(on_problem)), writer)
        store._documents = await writer.run(store._read_on_writer)
        for model_id, document in store._documents.items():
            store._records[model_id] = salvage(ModelRecord, document, f'The model {model_id}', on_problem)
        return store

    def get(self, model_id: str) -> ModelRecord:
        """A copy of what is known about a model; the defaults if that is nothing."""
        record = self._records.get(model_id)
        return record.model_copy(deep=True) if record else ModelRecord(id=model_id)

    async def put(self, record: ModelRecord) -> None:
        """Remember the record; the others go to disk as they came from there."""
        self._records[record.id] = record.model_copy(deep=True)
        self._documents[record.id] = record.model_dump(mode='json')
        models = {str(number): document for number, document in enumerate(self._documents.values(), 1)}
        await self._writer.run(self._database.file.write, {'models': models})

    def last_used(self) -> str | None:
        """The id of the model that was used most recently."""
        used = {record.last_used: record.id for record in self._records.values() if record.last_used}
        return used[max(used)] if used else None

    def _read_on_writer(self) -> dict[str, dict[str, Any]]:
        try:
            documents = self._database.table('models').all()
        except DamagedFile:
            return {}  # reported when it was set aside
        return {document['id']: dict(document) for document in documents if isinstance(document.get('id'), str)}
