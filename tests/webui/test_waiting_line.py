"""The line under a question that has no answer yet: what is waited for, and for how long."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nicegui import ui
from nicegui.storage import Storage
from nicegui.testing import User
from nicegui.testing.user_simulation import user_simulation

from inference.chat import PromptProgress
from webui.components.progress import Progress, describe_seconds


@pytest.fixture
async def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[User]:
    monkeypatch.setattr(Storage, 'path', tmp_path)

    def page() -> None:
        ui.label('page')

    async with user_simulation(page) as user:
        await user.open('/')
        yield user


class Line:
    """A line with a clock that stands still unless told."""

    def __init__(self, user: User) -> None:
        self.now = 100.0
        with user:
            self._line = Progress(clock=lambda: self.now)

    def after(self, seconds: float, **told: Any) -> str:
        """Say what the conversation tells after so many seconds, and return what is read then."""
        self.now += seconds
        told = {'state': 'prefill', 'place': 0, 'progress': None, **told}
        self._line.show(SimpleNamespace(**told), told.pop('model', ''), 0)  # type: ignore[arg-type]
        return ' '.join(part.text for part in self._line.descendants() if isinstance(part, ui.label))


def read(done: int, *, total: int = 10_000, cached: int = 0) -> PromptProgress:
    return PromptProgress(done=done, total=total, cached=cached)


def test_the_place_in_the_queue_is_said(user: User) -> None:
    line = Line(user)
    assert line.after(0, state='waiting', place=3) == 'Waiting, place 3 in the queue'
    assert line.after(1, state='waiting') == 'Waiting for the model'
    assert line.after(1, state='streaming') == ''


def test_what_is_left_of_a_prompt_follows_from_the_pace_so_far(user: User) -> None:
    line = Line(user)
    assert line.after(0, progress=read(0)) == 'Reading the conversation, 0% of 10,000 tokens'
    assert line.after(2, progress=read(1_000)) == 'Reading the conversation, 10% of 10,000 tokens, 18 s left'
    assert line.after(8, progress=read(5_000)) == 'Reading the conversation, 50% of 10,000 tokens, 10 s left'
    assert line.after(9, progress=read(10_000)) == 'Thinking of the first word'


def test_what_was_cached_is_not_counted_as_read(user: User) -> None:
    line = Line(user)
    assert 'Reading the conversation, 0% of 2,000 tokens' in line.after(0, progress=read(8_000, cached=8_000))
    assert '25% of 2,000 tokens, 6 s left' in line.after(2, progress=read(8_500, cached=8_000))


@pytest.mark.parametrize(('seconds', 'said'), [(0.4, '0 s'), (59.4, '59 s'), (60, '1 min 0 s'), (200, '3 min 20 s')])
def test_a_stretch_of_time_is_said_as_a_person_does(user: User, seconds: float, said: str) -> None:
    with user:
        assert describe_seconds(seconds) == said
