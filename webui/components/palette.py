"""The command palette: one field for everything there is to do, to open and to load."""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, TypeVar

from nicegui import background_tasks, ui

from presets.chats import ChatStore
from presets.search import ChatSearch
from webui.commands import COMMANDS
from webui.components.controls import Handler
from webui.components.keyboard import keys_of
from webui.components.model_picker import describe_model
from webui.person import spell_keys
from webui.services import Services
from webui.words import say

Kind = Literal['chat', 'command', 'model', 'message']
T = TypeVar('T')
MOST = 8
"""Hits of each kind; who wants another one types another letter."""
SHORTEST = 2
PATIENCE = 0.05
"""Seconds after which what was found is shown, though a source is still looking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """Something found, as it is listed, and what choosing it does."""

    kind: Kind
    title: str
    run: Handler
    detail: str = ''
    icon: str = ''
    keys: str = ''


class Source(Protocol):
    """A place to look in."""

    async def find(self, text: str) -> list[Hit]:
        """Return what fits to a text, best first; of an empty text, what is wanted most often."""


class CommandSource:
    """What the page can do."""

    def __init__(self, on_command: Callable[[str], object]) -> None:
        self._on_command = on_command

    async def find(self, text: str) -> list[Hit]:
        """Look at the names of the commands."""
        names = [command.name for command in COMMANDS.values() if command.listed]
        return [self._hit(name) for name in best(text, names, lambda name: say(f'keys.{name}'), len(names))]

    def _hit(self, name: str) -> Hit:
        keys = keys_of(name)
        return Hit(
            kind='command',
            title=say(f'keys.{name}'),
            run=lambda: self._on_command(name),
            icon=COMMANDS[name].icon,
            keys=spell_keys(keys) if keys else '',
        )


class ChatSource:
    """The titles of the chats, newest first."""

    def __init__(self, chats: ChatStore, on_open: Callable[[str], object]) -> None:
        self._chats, self._on_open = chats, on_open

    async def find(self, text: str) -> list[Hit]:
        """Look at the titles; a few are enough where nothing was typed."""
        chats = best(text, self._chats.summaries(), lambda chat: chat.title, MOST if text else 3)
        return [
            Hit(kind='chat', title=chat.title, icon='chat_bubble', run=partial(self._on_open, chat.id))
            for chat in chats
        ]


class ModelSource:
    """The models that can be loaded."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def find(self, text: str) -> list[Hit]:
        """Look at the names of the models."""
        models = best(text, self._services.catalog.chat_models, lambda model: model.name, MOST if text else 3)
        return [
            Hit(
                kind='model',
                title=say('palette.load', name=model.name),
                detail=describe_model(model),
                icon='memory',
                run=partial(self._services.host.load, model.id),
            )
            for model in models
        ]


class MessageSource:
    """What was said in the chats."""

    def __init__(self, search: ChatSearch, on_open: Callable[[str, str], object]) -> None:
        self._search, self._on_open = search, on_open

    async def find(self, text: str) -> list[Hit]:
        """Look through all messages; a single letter is in nearly all of them."""
        if len(text) < SHORTEST:
            return []
        found = await self._search.find(text, MOST)
        return [
            Hit(
                kind='message',
                title=''.join(span.text for span in message.snippet),
                detail=hit.chat.title,
                icon='notes',
                run=partial(self._on_open, hit.chat.id, message.id),
            )
            for hit in found.chats
            for message in hit.messages
        ][:MOST]


class Palette(ui.element, component='palette.js'):
    """A dialog over the page. Sources that take longer should stand last: what they find is added below."""

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__()
        self._sources = sources
        self._hits: dict[str, Hit] = {}
        self._task: asyncio.Task[None] | None = None
        self.props['label'] = say('keys.palette')
        self.props['placeholder'] = say('palette.placeholder')
        self.props['nothing'] = say('palette.nothing')
        self.props['hits'], self.props['found'] = [], None
        self.on('find', lambda event: self._find(str(event.args)))
        self.on('choose', lambda event: self._choose(str(event.args)))

    def open(self) -> None:
        """Show it, with an empty field."""
        self.run_method('open')

    def _find(self, text: str) -> None:
        if self._task:
            self._task.cancel()
        self._task = background_tasks.create(self._search(text), name='palette')

    async def _search(self, text: str) -> None:
        looking = [asyncio.create_task(self._look(source, text.strip())) for source in self._sources]
        try:
            await asyncio.wait(looking, timeout=PATIENCE)
            self._show(text, [task.result() for task in looking if task.done()])
            if not all(task.done() for task in looking):
                self._show(text, await asyncio.gather(*looking))
        finally:
            for task in looking:
                task.cancel()

    async def _look(self, source: Source, text: str) -> list[Hit]:
        with self:  # each task has to be told whose page it works for
            return await source.find(text)

    def _show(self, text: str, lists: Sequence[list[Hit]]) -> None:
        self._hits = {f'{hit.kind}-{place}': hit for hits in lists for place, hit in enumerate(hits)}
        with self, self.props.suspend_updates():
            self.props['hits'] = [_as_listed(key, hit) for key, hit in self._hits.items()]
            self.props['found'] = text
        self.update()

    async def _choose(self, key: str) -> None:
        if hit := self._hits.get(key):
            result = hit.run()
            if inspect.isawaitable(result):
                await result


def best(text: str, things: Iterable[T], name: Callable[[T], str], most: int) -> list[T]:
    """Return things whose name has every word of `text`; before others those where a word begins with it."""
    words = text.casefold().split()
    ranked = []
    for thing in things:
        title = name(thing).casefold()
        if all(word in title for word in words):
            ranked.append((sum(f' {word}' not in f' {title}' for word in words), thing))
    return [thing for _, thing in sorted(ranked, key=lambda pair: pair[0])[:most]]


def _as_listed(key: str, hit: Hit) -> dict[str, str]:
    return {
        'id': key,
        'kind': hit.kind,
        'group': say(f'palette.group_{hit.kind}'),
        'title': hit.title,
        'detail': hit.detail,
        'icon': f'sym_o_{hit.icon}' if hit.icon else '',
        'keys': hit.keys,
    }
