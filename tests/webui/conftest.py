"""The parts of the app behind its pages: real stores on disk, a real model host, the real services."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nicegui import background_tasks, core

from inference.catalog import Catalog
from presets.chats import ChatStore
from presets.models import ModelStore
from presets.storage import Writer
from webui.activity import Activity
from webui.config import AppConfig
from webui.conversations import Conversations
from webui.model_host import ModelHost
from webui.services import Services
from webui.supervisor import CrashReport


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.close()


@pytest.fixture
def problems() -> list[str]:
    """What the stores tell the person at the screen."""
    return []


@pytest.fixture
async def store(tmp_path: Path, writer: Writer, problems: list[str]) -> ChatStore:
    (tmp_path / 'chats').mkdir()
    return await ChatStore.open(tmp_path / 'chats', writer, problems.append)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """The models of `tmp_path/models`, as of the last `scan`."""
    (tmp_path / 'models').mkdir()
    return Catalog([tmp_path / 'models'])


@pytest.fixture
async def records(tmp_path: Path, writer: Writer, problems: list[str]) -> ModelStore:
    return await ModelStore.open(tmp_path / 'models.json', writer, problems.append)


@pytest.fixture
async def host(tmp_path: Path, catalog: Catalog, records: ModelStore) -> AsyncIterator[ModelHost]:
    """A model host with nothing loaded."""
    host = ModelHost(catalog, records, Activity(tmp_path / 'activity.json'))
    yield host
    await host.close()


@pytest.fixture
async def conversations(store: ChatStore, host: ModelHost) -> AsyncIterator[Conversations]:
    """All conversations, with an engine that repeats the last message at once."""
    conversations = Conversations(store, host)
    host.load('echo@0')
    await host.ready()
    yield conversations
    await conversations.close()


def app_config(folder: Path, model: str | None = None) -> AppConfig:
    """Return how to run with everything below `folder`."""
    return AppConfig(data_dir=folder, model=model, browser=False)


@asynccontextmanager
async def started(config: AppConfig, crash: CrashReport | None = None) -> AsyncIterator[Services]:
    """The whole app but its pages and doors, from its start to its end."""
    core.loop = asyncio.get_running_loop()
    services = Services(config, crash)
    await services.start()
    yield services
    await services.close()
    await background_tasks.teardown()
    core.loop = None
