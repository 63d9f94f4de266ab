from collections.abc import Iterator

import pytest

from presets.storage import Writer


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.close()


@pytest.fixture
def problems() -> list[str]:
    """What the person at the screen is told."""
    return []
