"""Old files in today's shape: numbered steps, and a gentle hand for settings that are no longer allowed."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Tables = dict[str, dict[str, dict[str, Any]]]
Model = TypeVar('Model', bound=BaseModel)


def m001_add_meta(tables: Tables) -> None:
    """From here on a file says which version of the schema it has."""
    tables['meta'] = {'1': {'version': 1}}


def m002_name_load_mode(tables: Tables) -> None:
    """Two switches of how a model file is read became one choice."""
    modes = {(True, False): 'auto', (True, True): 'mmap+mlock', (False, False): 'read', (False, True): 'mlock'}
    for record in tables.get('models', {}).values():
        load = record.get('load')
        if isinstance(load, dict) and load.keys() & {'use_mmap', 'use_mlock'}:
            switches = load.pop('use_mmap', True) is not False, load.pop('use_mlock', False) is True
            load['load_mode'] = modes[switches]


def m003_add_reasoning(tables: Tables) -> None:
    """Replies have reasoning, calls and what was left out; nothing to change, but an older app cannot read that."""


def m004_order_chats(tables: Tables) -> None:
    """Chats have folders, pins, attachments and a queue; nothing to change, but an older app cannot read that."""


# Append only: the place in this tuple is the version a step leads to, in chats and every other file alike.
# A new step comes with a recorded file of the version before it in tests/presets/recorded/.
MIGRATIONS: tuple[Callable[[Tables], None], ...] = (
    m001_add_meta,
    m002_name_load_mode,
    m003_add_reasoning,
    m004_order_chats,
)
CURRENT = len(MIGRATIONS)


def version_of(tables: Tables) -> int:
    """The schema version of a file, 0 before there was one; ValueError if it makes no sense."""
    if 'meta' not in tables:
        return 0
    version = tables['meta'].get('1', {}).get('version')
    if not isinstance(version, int) or version < 1:
        raise ValueError(f'schema version {version!r}')
    return version


def migrate(tables: Tables) -> None:
    """Take the tables to the current version, in place."""
    for step in MIGRATIONS[version_of(tables) :]:
        step(tables)
    tables['meta'] = {'1': {'version': CURRENT}}


def salvage(kind: type[Model], stored: Any, owner: str, on_problem: Callable[[str], object]) -> Model:
    """Make a `kind` of what was stored; values it does not allow (any more) are reported and take their default."""
    try:
        return kind.model_validate(stored)
    except ValidationError as error:
        places = [problem['loc'] for problem in error.errors()]
    stored = copy.deepcopy(stored) if isinstance(stored, dict) else {}
    for place in places:
        _remove(stored, place)
    names = ', '.join('.'.join(map(str, place)) for place in places)
    on_problem(
        f'{owner} has settings that this version does not allow: {names}. The defaults are used; set them again.'
    )
    return kind.model_validate(stored)


def _remove(document: dict[str, Any], place: tuple[int | str, ...]) -> None:
    if not place:
        return
    *parents, name = place
    for parent in parents:
        if not isinstance(document.get(str(parent)), dict):
            name = parent  # a list or a bare value: it goes as a whole
            break
        document = document[str(parent)]
    document.pop(str(name), None)
