"""The list of chats as lines of the same height, of which a page draws only those in sight."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Literal

from presets.chat import ChatSummary
from presets.chat_order import ARCHIVED, PINNED, UNFILED, Section
from presets.chats import ChatStore
from presets.folders import folder_path, is_within, parent
from webui.words import formats, say

View = Literal['chats', 'archive']
Line = dict[str, Any]
"""What chat_list.js draws: a heading, a folder or a chat."""
FOLDER_KEY = 'folder '
"""With the path behind it, the key of a folder's line; that of a chat's is the chat's id."""


@dataclass(frozen=True)
class Block:
    """A heading, if there is one, and the chats below it."""

    heading: Line | None
    chats: Sequence[ChatSummary] = ()
    start: int = 0
    stop: int = 0
    depth: int = 0

    @property
    def height(self) -> int:
        """How many lines it takes."""
        return bool(self.heading) + self.stop - self.start

    def lines(self, first: int, last: int) -> Iterator[Line]:
        """Yield its lines with these numbers, counted in the block."""
        if self.heading:
            if first == 0:
                yield self.heading
            first, last = max(0, first - 1), last - 1
        for chat in self.chats[self.start + first : min(self.stop, self.start + last)]:
            yield _chat_line(chat, self.depth)


class ChatLines:
    """All lines of the list as it is now; cheap to make, however many chats there are."""

    def __init__(self, store: ChatStore, view: View, open_folders: Collection[str]) -> None:
        self._blocks = list(_archive(store) if view == 'archive' else _chats(store, open_folders))
        self._ends = list(accumulate(block.height for block in self._blocks))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def window(self, first: int, last: int) -> list[Line]:
        """Return the lines from number `first` to before `last`."""
        lines: list[Line] = []
        at = 0
        for block, end in zip(self._blocks, self._ends, strict=True):
            if end > first and at < last:
                lines += block.lines(max(0, first - at), min(block.height, last - at))
            at = end
        return lines


def _chats(store: ChatStore, open_folders: Collection[str]) -> Iterator[Block]:
    if pinned := store.section(PINNED):
        heading = {'kind': 'heading', 'key': 'pinned', 'text': say('chats.pinned'), 'drop': 'pinned'}
        yield Block(heading, pinned, 0, len(pinned))
    yield from _folders(store, open_folders)
    yield from _by_day(store.section(UNFILED), 'unfiled')


def _archive(store: ChatStore) -> Iterator[Block]:
    yield from _by_day(store.section(ARCHIVED), '')


def _folders(store: ChatStore, open_folders: Collection[str]) -> Iterator[Block]:
    paths = store.folders()
    counts = {path: len(store.section(Section('folder', path))) for path in paths}
    closed: list[str] = []
    for path in paths:
        if any(path != folder and is_within(path, folder) for folder in closed):
            continue
        is_open = path in open_folders
        if not is_open:
            closed.append(path)
        chats = store.section(Section('folder', path)) if is_open else ()
        count = sum(counts[other] for other in paths if is_within(other, path))
        yield Block(_folder_line(path, is_open, count), chats, 0, len(chats), path.count('/') + 1)


def _by_day(chats: Sequence[ChatSummary], drop: str) -> Iterator[Block]:
    """Yield a block for each group of days; finds their ends instead of looking at each chat."""
    today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    start = 0
    while start < len(chats):
        key, text, begins = _group(chats[start].updated.astimezone(), today)
        stop = bisect_left(chats, True, start, key=_older_than(begins))
        yield Block({'kind': 'heading', 'key': f'day {key}', 'text': text, 'drop': drop}, chats, start, stop)
        start = stop


def _older_than(begins: datetime) -> Callable[[ChatSummary], bool]:
    return lambda chat: chat.updated < begins


def _group(when: datetime, today: datetime) -> tuple[str, str, datetime]:
    """Return key and name of the group a time belongs to, and when that group begins."""
    for key, days in (('today', 0), ('yesterday', 1), ('week', 6)):
        begins = today - timedelta(days=days)
        if when >= begins:
            return key, say(f'chats.{key}'), begins
    begins = when.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return f'{begins:%Y-%m}', formats.month(begins), begins


def _folder_line(path: str, is_open: bool, count: int) -> Line:
    return {
        'kind': 'folder',
        'key': f'{FOLDER_KEY}{path}',
        'text': path.rpartition('/')[2],
        'path': path,
        'open': is_open,
        'count': count,
        'depth': path.count('/'),
        'drop': f'folder:{path}',
    }


def _chat_line(chat: ChatSummary, depth: int) -> Line:
    return {
        'kind': 'chat',
        'key': chat.id,
        'text': chat.title,
        'pinned': chat.pinned,
        'archived': chat.archived,
        'depth': depth,
    }


def beside(path: str, name: str) -> str:
    """Return the path of a folder of this name where that folder is; the name may be a path itself."""
    above = parent(path)
    return folder_path(f'{above}/{name}' if above else name)
