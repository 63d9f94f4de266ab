"""The list of chats in memory, in order at every moment: a change costs the same with ten and with ten thousand."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Literal, NamedTuple

from presets.chat import ChatSummary


class Section(NamedTuple):
    """A part of the list; a chat is in one of them. A folder is a path of names, '' for chats in none."""

    kind: Literal['pinned', 'folder', 'archived']
    folder: str = ''


PINNED, UNFILED, ARCHIVED = Section('pinned'), Section('folder'), Section('archived')


class ChatOrder:
    """Summaries by id, and newest first: all of them, and those of each section."""

    def __init__(self, summaries: Sequence[ChatSummary] = ()) -> None:
        self._summaries: dict[str, ChatSummary] = {}
        self._all: list[ChatSummary] = []
        self._sections: dict[Section, list[ChatSummary]] = {}
        for summary in sorted(summaries, key=_newest):
            self._summaries[summary.id] = summary
            self._all.append(summary)
            self._sections.setdefault(section_of(summary), []).append(summary)

    def get(self, chat_id: str) -> ChatSummary | None:
        """Return the summary of a chat, if there is one."""
        return self._summaries.get(chat_id)

    def all(self) -> list[ChatSummary]:
        """Return every chat; the sequence changes with the list, so copy it to keep it."""
        return self._all

    def section(self, section: Section) -> Sequence[ChatSummary]:
        """Return the chats of one section; the sequence changes with the list, so copy it to keep it."""
        return self._sections.get(section, ())

    def folders(self) -> list[str]:
        """Return the folders in which there are chats."""
        return [folder for kind, folder in self._sections if kind == 'folder' and folder]

    def put(self, summary: ChatSummary) -> None:
        """Add a chat, or change what is known of it."""
        self.remove(summary.id)
        self._summaries[summary.id] = summary
        insort(self._all, summary, key=_newest)
        insort(self._sections.setdefault(section_of(summary), []), summary, key=_newest)

    def remove(self, chat_id: str) -> None:
        """Forget a chat, if it is there."""
        summary = self._summaries.pop(chat_id, None)
        if not summary:
            return
        section = section_of(summary)
        for ordered in (self._all, self._sections[section]):
            del ordered[bisect_left(ordered, _newest(summary), key=_newest)]
        if not self._sections[section]:
            del self._sections[section]


def section_of(summary: ChatSummary) -> Section:
    """Return where the list shows a chat."""
    if summary.archived:
        return ARCHIVED
    return PINNED if summary.pinned else Section('folder', summary.folder)


def _newest(summary: ChatSummary) -> tuple[float, str]:
    return -summary.updated.timestamp(), summary.id
