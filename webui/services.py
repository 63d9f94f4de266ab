"""The composition root: everything the app is made of, built once and handed down."""

import asyncio

from loguru import logger
from nicegui import Event, background_tasks

from inference.catalog import Catalog, starter_model, watch
from inference.settings import LoadSettings
from presets.chats import ChatStore
from presets.models import ModelStore
from presets.search import ChatSearch
from presets.storage import Writer
from presets.tunings import TuningStore
from presets.uploads import UploadStore
from webui.activity import Activity
from webui.cabinet import Cabinet
from webui.config import AppConfig
from webui.conversations import Conversations
from webui.documents.reader import DocumentReader
from webui.imports import Imports
from webui.model_host import ModelHost
from webui.supervisor import CrashReport

NO_MODEL = 'none'


class Notices:
    """What the app has to tell the person whatever page is open, such as a damaged file that was set aside."""

    def __init__(self) -> None:
        self.added = Event[str]()
        self._kept: list[str] = []

    def add(self, text: str) -> None:
        """Tell every open page, or the next one that opens; safe only on the event loop."""
        logger.warning(text)
        if self.added.callbacks:
            self.added.emit(text)
        else:
            self._kept.append(text)

    def take(self) -> list[str]:
        """Return what nobody has seen yet, once."""
        kept, self._kept = self._kept, []
        return kept


class Services:
    """Started before the first page, closed after the last."""

    def __init__(self, config: AppConfig, crash: CrashReport | None) -> None:
        self.config, self.crash = config, crash
        self.notices = Notices()
        extra = [path for path in [starter_model()] if path]
        self.catalog = Catalog(config.models_folders, extra)
        self.catalog_changed = Event[[]]()
        self._writer = Writer()
        self.started = asyncio.Event()
        """Set when `start` has ended, however that was."""

    async def start(self) -> None:
        """Open the stores, look for models and begin to load the one to start with."""
        try:
            await self._start()
        finally:
            self.started.set()

    async def _start(self) -> None:
        for folder in (*self.config.models_folders, self.config.chats_dir):
            folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self.catalog.scan)
        self.chats = await ChatStore.open(self.config.chats_dir, self._writer, self.notices.add)
        self.models = await ModelStore.open(self.config.models_file, self._writer, self.notices.add)
        self.imports = Imports(self.config.imports_dir, self.chats)
        self.tunings = TuningStore.open(self.config.tunings_file, self._writer, self.notices.add)
        self.uploads = await UploadStore.open(self.config.uploads_dir)
        self.documents = DocumentReader()
        activity = Activity(self.config.activity_file)
        died_with = activity.take()
        self.host = ModelHost(self.catalog, self.models, activity, self.tunings)
        self.conversations = Conversations(self.chats, self.host)
        self.cabinet = Cabinet(self.chats, self.conversations)
        self.search = await ChatSearch.open(self.config.chats_dir / 'search.db', self.chats)
        background_tasks.create(self._watch_models(), name='watch models')
        if notice := self._crash_notice(died_with):
            self.notices.add(notice)
        model_id = self.first_model()
        if model_id and not (died_with and died_with[0] == model_id):
            self.host.load(model_id, self._first_settings(model_id))

    async def close(self) -> None:
        """Stop what runs and save what is open, in the reverse order."""
        await self.conversations.close()
        await self.host.close()
        self.imports.close()
        await self.search.close()
        await self.chats.close()
        self._writer.close()

    def first_model(self) -> str:
        """Return what is loaded without being asked for: as configured, else the one used last, else any there is."""
        if self.config.model:
            return '' if self.config.model == NO_MODEL else self.config.model
        known = [model.id for model in self.catalog.chat_models]
        last = self.models.last_used()
        return last if last in known else next(iter(known), '')

    def _first_settings(self, model_id: str) -> LoadSettings:
        """Return what is kept for the model, changed as the command line says."""
        kept = self.host.load_settings(model_id).model_dump()
        return LoadSettings.model_validate({**kept, **self.config.load_settings})

    def _crash_notice(self, died_with: tuple[str, str] | None) -> str:
        if not self.crash and not died_with:
            return ''
        what = f'The app {self.crash.reason}.' if self.crash else 'The app ended without warning.'
        if not died_with:
            return f'{what} It was started again; your chats are as they were.'
        model_id, phase = died_with
        doing = f'while it loaded {model_id}' if phase == 'loading' else f'with {model_id} loaded'
        return (
            f'{what} That was {doing}. The app was started again and your chats are kept, but the model was not '
            'loaded again. Load it from the model menu if you want to try once more.'
        )

    async def _watch_models(self) -> None:
        async for _ in watch(self.config.models_folders):
            await asyncio.to_thread(self.catalog.scan)
            self.catalog_changed.emit()
