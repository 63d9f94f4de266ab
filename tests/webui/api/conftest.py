"""Servers for the tests, one at a time: NiceGUI keeps one event loop for the whole process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webui.api.serving import Running, config, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """Serve an engine that repeats the last message at once."""
    with serving(config(tmp_path)) as running:
        yield running


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[Running]:
    """Serve an engine that repeats the last message, 20 words a second."""
    with serving(config(tmp_path, 'echo@20')) as running:
        yield running


@pytest.fixture
def idle_server(tmp_path: Path) -> Iterator[Running]:
    """Serve without a model."""
    with serving(config(tmp_path, 'none')) as running:
        yield running
