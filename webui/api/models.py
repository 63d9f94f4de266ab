"""`/api/models`: which models there are, loading and unloading them, and the settings they are loaded with."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, ValidationError

from inference.catalog import ModelFile
from inference.errors import InvalidRequest
from inference.gguf import ModelKind
from inference.settings import LoadSettings, describe
from webui.api.schema import LimitedRoute
from webui.model_host import ECHO, Phase
from webui.services import Services

LIVE = frozenset(setting.name for setting in describe(LoadSettings) if not setting.needs_reload)


class ModelEntry(BaseModel):
    """A model file; `settings` are those it is or would be loaded with, `size` is in bytes."""

    id: str
    name: str
    kind: ModelKind
    parameters: int
    quantization: str
    size: int
    n_ctx_train: int
    settings: dict[str, Any]


class LoadProgress(BaseModel):
    """What the load is up to; `can_insist` and `can_retry` say what `load` could be asked for after an error."""

    phase: Phase
    model: str
    progress: float
    error: str
    can_insist: bool
    can_retry: bool


class Models(BaseModel):
    """The catalogue; `problems` are reasons by file name."""

    state: LoadProgress
    models: list[ModelEntry]
    problems: dict[str, str]


class LoadRequest(BaseModel):
    """`settings` replace single ones of those that are kept for the model.

    `insist` loads what should not fit into memory, `retry` tries again what crashed in an earlier trial.
    """

    model_config = ConfigDict(extra='forbid')

    settings: dict[str, Any] = {}
    insist: bool = False
    retry: bool = False


class ModelsApi:
    """The same as the model menu and the settings of the page."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/api/models', tags=['Models'], route_class=LimitedRoute)
        router.get('')(self.list)
        router.post('/unload', status_code=202)(self.unload)
        router.post('/{model_id}/load', status_code=202)(self.load)
        router.patch('/{model_id}/settings')(self.change)
        return router

    async def list(self) -> Models:
        """Return every model with its settings, and what is loaded."""
        catalog = self._services.catalog
        return Models(
            state=self._progress(),
            models=[self._entry(model) for model in catalog.models],
            problems={path.name: reason for path, reason in catalog.problems.items()},
        )

    async def load(self, model_id: str, body: LoadRequest | None = None) -> LoadProgress:
        """Begin to load a model in place of the present one; `GET /api/models` tells how it goes."""
        body = body or LoadRequest()
        settings = self._changed(self._known(model_id), body.settings)
        self._services.host.load(model_id, settings, insist=body.insist, retry=body.retry)
        return self._progress()

    async def unload(self) -> LoadProgress:
        """Give the memory of the model back, or cancel the load under way."""
        self._services.host.unload()
        return self._progress()

    async def change(self, model_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change single settings and return all: of a loaded model at once, of any other for its next load.

        Of a loaded model, those that need a reload are refused; load it again with them.
        """
        host = self._services.host
        settings = self._changed(self._known(model_id), body)
        if host.engine and host.state.model_id == model_id:
            _require_live(body)
            await host.adjust(settings)
        else:
            await host.keep(model_id, settings)
        return settings.model_dump(mode='json')

    def _known(self, model_id: str) -> str:
        if not ECHO.fullmatch(model_id):
            self._services.catalog.find(model_id)
        return model_id

    def _changed(self, model_id: str, changes: dict[str, Any]) -> LoadSettings:
        kept = self._services.host.load_settings(model_id)
        try:
            return LoadSettings.model_validate({**kept.model_dump(), **changes})
        except ValidationError as error:
            problem = error.errors()[0]
            name = '.'.join(map(str, problem['loc']))
            raise InvalidRequest(f"The setting '{name}' cannot be used: {problem['msg']}.") from None

    def _entry(self, model: ModelFile) -> ModelEntry:
        header = model.header
        return ModelEntry(
            id=model.id,
            name=model.name,
            kind=model.kind,
            parameters=header.parameters,
            quantization=header.quantization,
            size=header.size,
            n_ctx_train=header.n_ctx_train,
            settings=self._services.host.load_settings(model.id).model_dump(mode='json'),
        )

    def _progress(self) -> LoadProgress:
        host, state = self._services.host, self._services.host.state
        return LoadProgress(
            phase=state.phase,
            model=state.model_id,
            progress=state.progress,
            error=state.error,
            can_insist=host.can_insist,
            can_retry=host.can_retry,
        )


def _require_live(changes: dict[str, Any]) -> None:
    waiting = [name for name in changes if name not in LIVE]
    if waiting:
        raise InvalidRequest(
            f'{", ".join(waiting)} cannot be changed while the model is loaded. '
            'Load it again with these settings, or unload it first.'
        )
