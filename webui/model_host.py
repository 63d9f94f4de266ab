"""The one model that is loaded, and how it gets there: checked in a child process, loaded, unloaded, replaced."""

import asyncio
import hashlib
import re
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from loguru import logger
from nicegui import Event

from inference.catalog import Catalog, ModelFile, require_chat
from inference.echo import EchoEngine
from inference.engine import Engine
from inference.errors import (
    InferenceError,
    InvalidModelFile,
    LoadFailed,
    ModelNotFound,
    NoModelLoaded,
    NotEnoughMemory,
    PreflightFailed,
)
from inference.fitting import Fitted, fit
from inference.gguf import check_usable
from inference.metrics import Metrics
from inference.preflight import preflight, verdict_scope
from inference.settings import LoadSettings
from inference.tuner import subject
from inference.tuning import apply
from presets.errors import StoreError
from presets.models import ModelRecord, ModelStore
from presets.tunings import TuningStore
from webui.activity import Activity
from webui.side_engine import SideEngine

Phase = Literal['empty', 'checking', 'loading', 'ready', 'failed']
VERDICT_OK = 'ok'
ECHO = re.compile(r'echo(?:@(\d+))?')
"""The model id of the echo engine, with the words it sends a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadState:
    """What the page shows of the model: `progress` is a share (0 to 1), `error` is for the person at the screen.

    A model that is ready has an error beside it when another one was refused for want of memory.
    """

    phase: Phase = 'empty'
    model_id: str = ''
    progress: float = 0.0
    error: str = ''

    @property
    def is_busy(self) -> bool:
        """Whether a load is under way."""
        return self.phase in ('checking', 'loading')


class ModelHost:
    """Holds the loaded engine. `changed` is emitted after every change of `state`, `adjusted` after live settings."""

    def __init__(
        self, catalog: Catalog, records: ModelStore, activity: Activity, tunings: TuningStore | None = None
    ) -> None:
        self._catalog, self._records, self._activity, self._tunings = catalog, records, activity, tunings
        self._engine: Engine | None = None
        self._loaded: tuple[str, dict[str, int]] = ('', {})
        self._failure: InferenceError | None = None
        self._wanted: tuple[str, LoadSettings | None, bool] = ('', None, False)
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._side = {kind: SideEngine(self._open_side) for kind in ('chat', 'embedding', 'reranker')}
        self.state = LoadState()
        self.metrics = Metrics()
        self.changed = Event[[]]()
        self.adjusted = Event[[]]()

    @property
    def engine(self) -> Engine | None:
        """The loaded engine, if it is ready to generate."""
        return self._engine if self.state.phase == 'ready' else None

    @property
    def failure(self) -> InferenceError | None:
        """What the latest load failed of."""
        return self._failure

    @property
    def can_insist(self) -> bool:
        """Whether the latest load was refused for want of memory, which the person may know better."""
        return isinstance(self._failure, NotEnoughMemory)

    @property
    def can_retry(self) -> bool:
        """Whether the latest load failed in a way that may pass."""
        return isinstance(self._failure, LoadFailed) and not self.can_insist

    @property
    def reclaimable(self) -> dict[str, int]:
        """Bytes of each device that are free again when the loaded model is unloaded."""
        return self._loaded[1] if self._engine else {}

    async def ready(self) -> Engine:
        """Return the engine, waiting for a load under way. Raises what that load failed of, or NoModelLoaded."""
        while self._task:
            await asyncio.wait([self._task])
        if self.engine:
            return self.engine
        raise self._failure or NoModelLoaded()

    async def embedder(self, model_id: str = '') -> Engine:
        """Return an engine for vectors or scores: the loaded one if it is meant or none is named, else one beside it.

        One for each kind of model stays there for a while. Raises ModelNotFound, or what the load failed of.
        """
        if not model_id or (model_id == self.state.model_id and self.state.phase != 'failed'):
            return await self.ready()
        kind = 'chat' if ECHO.fullmatch(model_id) else self._catalog.find(model_id).kind
        return await self._side[kind].get(model_id)

    def load(
        self, model_id: str, settings: LoadSettings | None = None, *, retry: bool = False, insist: bool = False
    ) -> None:
        """Begin to load a model in place of the present one; `settings` are kept for it. Progress is in `state`.

        What crashed in an earlier trial is tried again only with `retry`, what does not fit into memory only with
        `insist`; without, the present model stays.
        """
        self._wanted = model_id, settings, insist
        self._start(self._load(model_id, settings, retry=retry, insist=insist))
        self._set(LoadState(phase='checking', model_id=model_id))

    def load_again(self, *, retry: bool = False, insist: bool = False) -> None:
        """Begin the latest load once more, with the same settings."""
        model_id, settings, insisted = self._wanted
        self.load(model_id, settings, retry=retry, insist=insist or insisted)

    def unload(self) -> None:
        """Begin to give the model's memory back; also cancels a load under way."""
        self._start(self._unload())
        self._set(LoadState())

    async def adjust(self, settings: LoadSettings) -> None:
        """Apply the settings that need no reload to the loaded model, and remember them. Raises LoadFailed."""
        if engine := self.engine:
            await engine.adjust(await self._tuned(self.state.model_id, settings))
            await self._remember(self.state.model_id, load=settings)
            self.adjusted.emit()

    async def keep(self, model_id: str, settings: LoadSettings) -> None:
        """Remember settings for the next load of a model."""
        await self._remember(model_id, load=settings)

    async def close(self) -> None:
        """Cancel what is under way, end the engine, and note that this was on purpose."""
        self.unload()
        while self._task:
            await asyncio.wait([self._task])
        for side in self._side.values():
            await side.close()

    def load_settings(self, model_id: str) -> LoadSettings:
        """Return the settings that the model will be loaded with."""
        return self._records.get(model_id).load

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._task:
            self._task.cancel()
        self._failure = None
        self._task = task = asyncio.create_task(work, name='model')
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None

    async def _unload(self) -> None:
        async with self._turn:
            await self._close_engine()

    async def _load(self, model_id: str, settings: LoadSettings | None, *, retry: bool, insist: bool) -> None:
        async with self._turn:
            try:
                if ECHO.fullmatch(model_id):
                    await self._close_engine()
                    self._engine, self._loaded = _echo(model_id), (model_id, {})
                else:
                    chosen = settings or self.load_settings(model_id)
                    self._engine = await self._replace(model_id, chosen, retry=retry, insist=insist)
            except InferenceError as error:
                await self._fail(model_id, error)
            except Exception:  # the task's outermost loop: the page must not say «loading» for ever
                logger.exception('Loading {} failed', model_id)
                own = LoadFailed('The app met an error of its own; the log has the details. Try again.')
                await self._fail(model_id, own)
            else:
                self._engine.metrics = self.metrics
                self._set(LoadState(phase='ready', model_id=model_id, progress=1))
                await self._remember(model_id, last_used=datetime.now(UTC))

    async def _fail(self, model_id: str, error: InferenceError) -> None:
        """Tell why; the present model goes, unless the other one was refused before anything was done for it."""
        logger.warning('{} was not loaded: {}', model_id, error)
        self._failure = error
        if isinstance(error, NotEnoughMemory) and self._engine:
            self._set(LoadState(phase='ready', model_id=self._loaded[0], progress=1, error=str(error)))
            return
        await self._close_engine()
        self._set(LoadState(phase='failed', model_id=model_id, error=str(error)))

    async def _replace(self, model_id: str, chosen: LoadSettings, *, retry: bool, insist: bool) -> Engine:
        """Load a model that fits, in place of the present one."""
        model = self._catalog.find(model_id)
        require_chat(model)
        check_usable(model.header)
        wanted = await self._tuned(model_id, chosen)
        fitted = await fit(model.header, wanted, reclaimed=self.reclaimable, insist=insist)
        await self._close_engine()
        engine = await self._open(model, chosen, fitted, retry)
        self._loaded = model_id, fitted.plan.reclaimable
        return engine

    async def _open(self, model: ModelFile, chosen: LoadSettings, fitted: Fitted, retry: bool) -> Engine:
        settings = await self._preflight(model, fitted.settings, retry)
        if settings != fitted.settings:
            chosen = _without_repacking(chosen)
        await self._remember(model.id, load=chosen)
        self._set(replace(self.state, phase='loading', progress=0.0))
        self._activity.note(model.id, 'loading')
        from inference.llama import LlamaEngine  # noqa: PLC0415 (the library is needed for a model only)

        engine = await LlamaEngine.load(model, settings, self._progress)
        self._activity.note(model.id, 'loaded')
        logger.info('Loaded {} with {}', model.id, settings.model_dump(exclude_defaults=True) or 'default settings')
        return engine

    async def _tuned(self, model_id: str, settings: LoadSettings) -> LoadSettings:
        """Return the settings with what was measured to be best here, where the person left the choice to the app."""
        if not self._tunings or ECHO.fullmatch(model_id):
            return settings
        try:
            tuning = await self._tunings.get(await asyncio.to_thread(subject, self._catalog.find(model_id)))
        except (StoreError, ModelNotFound) as error:
            logger.warning('What was measured for {} could not be read: {}', model_id, error)
            return settings
        return apply(settings, tuning) if tuning else settings

    async def _open_side(self, model_id: str) -> Engine:
        """Load a model that will only read, beside the one that chats."""
        if ECHO.fullmatch(model_id):
            return EchoEngine(rate=0)
        model, settings = self._catalog.find(model_id), self.load_settings(model_id)
        check_usable(model.header)
        fitted = await fit(model.header, settings.for_reading(), reclaimed={})
        survives = await self._preflight(model, fitted.settings, retry=False)
        from inference.embedder import EmbeddingEngine  # noqa: PLC0415 (the library is needed for a model only)

        settings = settings.model_copy(update={'use_extra_bufts': survives.use_extra_bufts})
        await self._remember(model_id, load=settings)
        resolved = settings.model_copy(update={'n_gpu_layers': survives.n_gpu_layers})
        engine = await EmbeddingEngine.load(model, resolved)
        logger.info('Loaded {} beside the chat model', model_id)
        return engine

    async def _preflight(self, model: ModelFile, settings: LoadSettings, retry: bool) -> LoadSettings:
        """Return the settings that survive a trial in a child process, without repacked weights if it must be."""
        await asyncio.to_thread(_check, model, settings)
        try:
            await self._try(model, settings, retry)
        except PreflightFailed as failure:
            if not failure.may_be_repacking:
                raise
            settings = _without_repacking(settings)
            await self._try(model, settings, retry)
            logger.warning('{} crashes with repacked weights; loading it without', model.id)
        return settings

    async def _try(self, model: ModelFile, settings: LoadSettings, retry: bool) -> None:
        """Run a preflight, unless there was one with this file, these settings, this library and machine."""
        record = self._records.get(model.id)
        key = await asyncio.to_thread(_verdict_key, model, settings)
        verdict = record.verdicts.get(key)
        if verdict == VERDICT_OK:
            return
        if verdict and not retry:
            other = await asyncio.to_thread(_verdict_key, model, _without_repacking(settings))
            raise PreflightFailed(
                f'{verdict} This is from an earlier trial, which was not repeated; "Try again" repeats it.',
                may_be_repacking=record.verdicts.get(other) == VERDICT_OK,
            )
        try:
            await preflight(model.path, settings, self._progress)
        except PreflightFailed as failure:
            if failure.lasts:
                await self._remember(model.id, verdicts=record.with_verdict(key, str(failure)))
            raise
        await self._remember(model.id, verdicts=record.with_verdict(key, VERDICT_OK))

    async def _remember(self, model_id: str, **changes: object) -> None:
        """Note something about a model; it is not worth failing a load for."""
        if ECHO.fullmatch(model_id):
            return
        try:
            await self._records.put(ModelRecord.model_copy(self._records.get(model_id), update=changes))
        except StoreError as error:
            logger.warning('Nothing was noted about {}: {}', model_id, error)

    def _progress(self, share: float) -> None:
        if share - self.state.progress >= 0.01 and self.state.is_busy:
            self._set(replace(self.state, progress=share))

    async def _close_engine(self) -> None:
        """End the engine, if there is one; a cancel waits until its memory is given back."""
        engine, self._engine = self._engine, None
        if engine:
            closing = asyncio.create_task(engine.close())
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                await closing
                raise
        self._activity.clear()

    def _set(self, state: LoadState) -> None:
        self.state = state
        self.changed.emit()


def _without_repacking(settings: LoadSettings) -> LoadSettings:
    return settings.model_copy(update={'use_extra_bufts': False})


def _check(model: ModelFile, settings: LoadSettings) -> None:
    from inference.library import check_settings  # noqa: PLC0415 (loads the library)

    check_settings(settings, model.header)


def _echo(model_id: str) -> EchoEngine:
    found = ECHO.fullmatch(model_id)
    return EchoEngine(rate=float(found[1] if found and found[1] else 50))


def _verdict_key(model: ModelFile, settings: LoadSettings) -> str:
    """Name what a verdict holds for: this file, these settings, this library on this machine."""
    from inference.library import library_version, machine  # noqa: PLC0415 (loads the library)

    try:
        stats = [part.stat() for part in model.header.parts]
    except OSError as error:
        raise InvalidModelFile(f'{model.path.name} cannot be read: {error.strerror}. Is it still there?') from None
    parts = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
    what = f'{model.path} {parts} {verdict_scope(settings)} {library_version()} {machine()}'
    return hashlib.sha256(what.encode()).hexdigest()[:16]
