"""A reply on the page while it is written: what stands there stays."""

import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType

import pytest
from nicegui import ui
from nicegui.storage import Storage
from nicegui.testing import User
from nicegui.testing.user_simulation import user_simulation

from webui.code_blocks import code_body
from webui.components.region import Region
from webui.components.streaming import GROUP_SIZE, TAIL_INTERVAL, TAIL_SHARE, StreamingMarkdown
from webui.markdown import render_block

REPLY = (
    '# Title\n\nSome **text**.\n\n1. one\n   ```python\n   x = 1\n   ```\n   more\n2. two\n\n'
    '| a | b |\n|---|---|\n| 1 | 2 |\n\n'
    '```python\n' + ''.join(f'value_{i} = "{i}"\n' for i in range(70)) + '```\n\nThe end'
)
SAME_SHAPE, OTHER = str.maketrans('abe', 'qqq'), str.maketrans('abe', 'zzz')
"""They make text of the same shape that nobody has rendered before."""


class Clock:
    """A time that stands still unless told; every look at it takes `step` seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
async def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[User]:
    monkeypatch.setattr(Storage, 'path', tmp_path)

    def page() -> None:
        ui.label('page')

    async with user_simulation(page) as user:
        await user.open('/')
        yield user


@pytest.fixture
def reply(user: User) -> Callable[[], StreamingMarkdown]:
    def create() -> StreamingMarkdown:
        with user:
            return StreamingMarkdown(clock=Clock())

    return create


def htmls(reply: StreamingMarkdown) -> list[ui.html]:
    return [element for element in reply.descendants() if isinstance(element, ui.html)]


def text(reply: StreamingMarkdown) -> str:
    """The words that are on the page, in their order."""
    return re.sub(r'<[^>]*>', '', ''.join(element.content for element in htmls(reply)))


def test_what_was_finished_is_never_touched_again(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed = reply()
    finished: dict[int, str] = {}
    for character in REPLY.partition('```python\nvalue')[0]:
        streamed.append(character)
        now = {html.id: html.content for html in htmls(streamed) if html.content and 'md-part' in html.classes}
        assert finished.items() <= now.items()
        finished = now
    assert len(finished) == 6


def test_streamed_and_stored_replies_show_the_same(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed, stored = reply(), reply()
    for start in range(0, len(REPLY), 7):
        streamed.append(REPLY[start : start + 7])
    streamed.finish()
    stored.set_content(REPLY)
    assert text(streamed) == text(stored)
    assert len(htmls(stored)) == 1


def test_code_grows_in_its_block_and_is_coloured_as_a_whole_in_the_end(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed = reply()
    streamed.append('```python\n')
    head, *_ = htmls(streamed)
    assert 'python' in head.content
    assert '<code-tools>' in head.content

    streamed.append('"""\n' + 'if\n' * 39)
    pieces = [html for html in htmls(streamed) if html.content and html is not head]
    assert len(pieces) == 2
    assert '<span class="k">' in pieces[1].content  # nothing told it that this is inside of a string

    streamed.append('"""\n```\n')
    first, whole = [html for html in htmls(streamed) if html.content]
    assert first is head
    assert '<span class="k">' not in whole.content
    assert text(streamed).endswith('if\n"""\n')


def test_the_tail_waits_for_its_turn(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed = reply()
    clock = streamed._clock
    assert isinstance(clock, Clock)
    streamed.append('some')
    assert 'some' in text(streamed)
    streamed.append(' words')
    assert 'words' not in text(streamed)
    clock.now += TAIL_INTERVAL
    streamed.flush()
    assert 'some words' in text(streamed)


def test_a_tail_that_is_slow_to_draw_is_drawn_rarely(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed = reply()
    clock = streamed._clock
    assert isinstance(clock, Clock)
    clock.step = 0.01
    streamed.append('some')
    clock.step = 0
    clock.now += TAIL_SHARE * 0.01 - 0.001
    streamed.append(' words')
    assert 'words' not in text(streamed)
    clock.now += 0.002
    streamed.append(' more')
    assert 'some words more' in text(streamed)


def test_the_end_comes_without_waiting(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed = reply()
    streamed.append('some')
    streamed.append(' words')
    streamed.finish()
    assert text(streamed).strip() == 'some words'


def test_a_finished_block_is_not_shown_twice(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed = reply()
    streamed.append('first paragraph')
    streamed.append('\n\nsec')
    assert text(streamed).split() == ['first', 'paragraph', 'sec']


def test_no_group_grows_with_the_reply(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed = reply()
    for _ in range(GROUP_SIZE**2):
        streamed.append('a\n\n')
    regions = [element for element in streamed.descendants() if isinstance(element, Region)]
    assert max(len(region.default_slot.children) for region in regions) == GROUP_SIZE
    assert len(htmls(streamed)) == GROUP_SIZE**2 + 1


def test_pages_that_show_one_reply_render_it_once(reply: Callable[[], StreamingMarkdown]) -> None:
    def stream(pages: list[StreamingMarkdown], reply: str) -> None:
        for start in range(0, len(reply), 40):
            for page in pages:
                page.append(reply[start : start + 40])
        for page in pages:
            page.finish()

    one, many = [reply()], [reply() for _ in range(5)]
    alone = renderings(lambda: stream(one, REPLY.translate(SAME_SHAPE)))
    together = renderings(lambda: stream(many, REPLY.translate(OTHER)))

    assert alone == together > 5
    assert {text(page) for page in many} == {text(one[0]).replace('q', 'z')}


def renderings(work: Callable[[], object]) -> int:
    """Count how often Markdown is parsed or code is coloured."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == 'call' and frame.f_code in {render_block.__code__, code_body.__code__}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted


def test_text_for_a_reply_that_left_the_page_is_ignored(reply: Callable[[], StreamingMarkdown]) -> None:
    streamed = reply()
    streamed.append('some')
    streamed.delete()
    streamed.append(' words\n\nand more')
    streamed.flush()
    streamed.finish()
    assert streamed.is_deleted
