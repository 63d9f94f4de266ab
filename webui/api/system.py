"""`/api/health`: whether the app can answer, for monitors and start scripts."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from webui.api.errors import RETRY_SECONDS
from webui.cli import version
from webui.model_host import Phase
from webui.services import Services


class EngineHealth(BaseModel):
    """What the model is up to; `progress` of a load is a share from 0 to 1."""

    phase: Phase
    model: str
    progress: float
    error: str


class Slots(BaseModel):
    """How many replies can be made at once, are made, and wait."""

    total: int = 0
    busy: int = 0
    queued: int = 0


class Health(BaseModel):
    """`status` is 'ok' when a model is ready to answer, else 'unavailable'."""

    status: str
    version: str
    engine: EngineHealth
    slots: Slots


class SystemApi:
    """What the app says about itself."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._version = version()

    def router(self) -> APIRouter:
        """Return the paths."""
        router = APIRouter(prefix='/api', tags=['System'])
        router.get('/health', responses={503: {'model': Health, 'description': 'No model is ready'}})(self.health)
        return router

    async def health(self, response: Response) -> Health:
        """Say whether a model is ready: 200 if so, else 503 with the same body."""
        state, engine = self._services.host.state, self._services.host.engine
        status = engine.status if engine else None
        if not engine:
            response.status_code = 503
            if state.is_busy:
                response.headers['Retry-After'] = RETRY_SECONDS
        return Health(
            status='ok' if engine else 'unavailable',
            version=self._version,
            engine=EngineHealth(phase=state.phase, model=state.model_id, progress=state.progress, error=state.error),
            slots=Slots(total=status.slots, busy=status.busy, queued=status.queued) if status else Slots(),
        )
