"""The text of a reply on the page: what is finished stays as it is, only the open tail is drawn again."""

import time
from collections.abc import Callable
from functools import lru_cache

from nicegui import ui

from webui.blocks import Block, BlockSplitter
from webui.code_blocks import HIGHLIGHT_LIMIT, code_body, code_head, diagram
from webui.components.region import Region
from webui.markdown import block_classes, render, render_block

TAIL_INTERVAL = 0.03  # seconds; a little under the 1/25 s of the callers, so that none of their calls comes too early
TAIL_SHARE = 20  # the tail is rendered again after this many times what it took last time: at most 5 % of a core
GROUP_SIZE = 16
SHARED_LIMIT, SHARED_COUNT = 16_384, 32  # what was rendered last is kept for the other pages that show the reply


class StreamingMarkdown(Region):
    """A reply: either `set_content` once, or any number of `append` and `flush` and then `finish`.

    The tail may lag behind what was appended; `flush` shows it as soon as that is affordable, `finish` in any case.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self.classes('markdown')
        self._clock = clock
        self._due = 0.0
        self._stale = False
        self._is_streaming = False

    def set_content(self, text: str, html: str = '') -> None:
        """Show a stored message; `html` is what `render` made of it, if that was done before."""
        self._is_streaming = False
        self.clear()
        with self:
            _html(html or render(text)).classes('md-part')

    def append(self, text: str) -> None:
        """Take streamed text, show the blocks it finished and, if it is due, the tail."""
        if self.is_deleted:
            return
        if not self._is_streaming:
            self._begin()
        blocks = self._splitter.feed(text)
        self._stale = self._stale or bool(text)
        if blocks:
            self._show(blocks)
            self._show_tail()  # at once, because it still holds what has just been finished
        else:
            self.flush()

    def flush(self) -> None:
        """Show what the tail holds back, unless that was done a moment ago."""
        if self._is_streaming and self._stale and not self.is_deleted and self._clock() >= self._due:
            self._show_tail()

    def finish(self) -> None:
        """Close what is open; the text is complete."""
        if self.is_deleted or not self._is_streaming:
            return
        self._show(self._splitter.finish())
        self._tail.set_content('')
        self._stale = False

    def _begin(self) -> None:
        """Make room for streamed text; a stored message needs none of it."""
        self._is_streaming = True
        self._splitter = BlockSplitter()
        self._code: _CodeBlock | None = None
        self.clear()
        with self:
            self._finished = _Growing()
            with Region():
                self._tail = _html('')

    def _show(self, blocks: list[Block]) -> None:
        parts: list[str] = []
        for block in blocks:
            if block.kind == 'markdown':
                parts.append(_block(block))
            else:
                self._add_part(parts)
                parts = []
                self._show_code(block)
        self._add_part(parts)

    def _add_part(self, parts: list[str]) -> None:
        if parts:
            with self._finished.room():
                _html(''.join(parts)).classes('md-part')

    def _show_code(self, block: Block) -> None:
        if block.kind == 'code_open':
            with self._finished.room(), ui.element('div').classes(block_classes(block)):
                self._code = _CodeBlock(block.language)
        elif self._code and block.kind == 'code_more':
            self._code.add(block.text)
        elif self._code:
            self._code.close()
            self._code = None

    def _show_tail(self) -> None:
        started = self._clock()
        tail = self._splitter.preview()
        if self._code:
            self._code.show_tail(tail.text)
        self._tail.set_content(_block(tail) if tail.text and not self._code else '')
        ended = self._clock()
        self._due = ended + max(TAIL_INTERVAL, TAIL_SHARE * (ended - started))
        self._stale = False


class _CodeBlock(Region):
    """Code with its head, growing piece by piece; the pieces flow as one text."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self.classes('code-block')
        self._language = language
        self._texts: list[str] = []
        with self:
            _html(code_head(language)).classes('code-head')
            self._drawing = Region().classes('md-flow')
            with ui.element('pre').classes('code-body').props('tabindex=0'):
                self._pieces = _Growing()
                with Region().classes('md-flow'):
                    self._tail = _html('', tag='code')

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._add_piece(text)

    def show_tail(self, text: str) -> None:
        self._tail.set_content(_code(text, self._language))

    def close(self) -> None:
        """Colour the code as a whole: a piece could not know that it began in the middle of a comment."""
        self._tail.set_content('')
        if drawing := diagram(''.join(self._texts), self._language):
            with self._drawing:
                _html(drawing)
        if len(self._texts) > 1 and sum(map(len, self._texts)) <= HIGHLIGHT_LIMIT:
            self._pieces.restart()
            self._add_piece(''.join(self._texts))
        self._texts.clear()

    def _add_piece(self, text: str) -> None:
        with self._pieces.room():
            _html(_code(text, self._language), tag='code')


class _Growing(Region):
    """Elements that are only ever added, in groups of groups.

    A new child draws all that the region around its parent holds again, so that in one long list it would cost more and
    more. Therefore each group has a region around it that holds nothing else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.classes('md-flow')
        self._path: list[Region] = [self]

    def room(self) -> Region:
        """Return the group that the next element belongs into."""
        while len(self._path) > 1 and len(self._path[-1].default_slot.children) >= GROUP_SIZE:
            self._path.pop()
        while len(self._path) < 3:
            with self._path[-1], Region().classes('md-flow'):
                self._path.append(Region().classes('md-flow'))
        return self._path[-1]

    def restart(self) -> None:
        self.clear()
        self._path = [self]


@lru_cache(SHARED_COUNT)
def _block(block: Block) -> str:
    return render_block(block)


def _code(text: str, language: str) -> str:
    return _short_code(text, language) if len(text) <= SHARED_LIMIT else code_body(text, language)


@lru_cache(SHARED_COUNT)
def _short_code(text: str, language: str) -> str:
    return code_body(text, language)


def _html(content: str, *, tag: str = 'div') -> ui.html:
    return ui.html(content, sanitize=False, tag=tag)  # cleaned by webui.markdown, which made it
