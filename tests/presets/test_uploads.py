"""Files that wait to be sent: kept over a restart, gone when they are sent, removed or a week old."""

import os
import time
from pathlib import Path

import pytest

from presets.chat import Attachment
from presets.errors import NotFound, StoreError
from presets.uploads import Upload, UploadStore

UPLOAD = Upload(attachment=Attachment(name='a.txt', text='words', size=5), note='windows_1252')
ID = UPLOAD.attachment.id
DAY = 24 * 60 * 60


async def test_an_upload_survives_a_restart(tmp_path: Path) -> None:
    await (await UploadStore.open(tmp_path)).keep(UPLOAD)

    assert await (await UploadStore.open(tmp_path)).get(ID) == UPLOAD


async def test_a_removed_upload_is_gone(tmp_path: Path) -> None:
    store = await UploadStore.open(tmp_path)
    await store.keep(UPLOAD)
    await store.remove(ID)
    await store.remove(ID)

    with pytest.raises(NotFound, match='Attach it again'):
        await store.get(ID)
    assert names(tmp_path) == []


@pytest.mark.parametrize('upload_id', ['', '..', '../secret', 'a' * 16 + '\n', 'A' * 16, '/etc/passwd', 'nul'])
async def test_an_id_is_never_a_path(tmp_path: Path, upload_id: str) -> None:
    (tmp_path / 'secret.json').write_text(UPLOAD.model_dump_json(), 'utf-8')
    store = await UploadStore.open(tmp_path / 'uploads')

    with pytest.raises(NotFound):
        await store.get(upload_id)
    await store.remove(upload_id)
    assert (tmp_path / 'secret.json').exists()


async def test_what_is_older_than_a_week_goes(tmp_path: Path) -> None:
    store = await UploadStore.open(tmp_path)
    await store.keep(UPLOAD)
    path = tmp_path / f'{ID}.json'
    os.utime(path, (time.time() - 6 * DAY,) * 2)
    assert await (await UploadStore.open(tmp_path)).get(ID) == UPLOAD
    os.utime(path, (time.time() - 8 * DAY,) * 2)
    await store.keep(Upload(attachment=Attachment(name='b.txt', text='others')))

    with pytest.raises(NotFound):
        await store.get(ID)


async def test_a_file_that_a_crash_cut_off_goes_at_the_next_start(tmp_path: Path) -> None:
    store = await UploadStore.open(tmp_path)
    async with store.arriving() as path:
        path.write_bytes(b'half of')
        await UploadStore.open(tmp_path)
        assert not path.exists()


async def test_what_arrives_is_gone_at_the_end(tmp_path: Path) -> None:
    store = await UploadStore.open(tmp_path)
    async with store.arriving() as path:
        path.write_bytes(b'all of it')

    assert names(tmp_path) == []


async def test_a_damaged_upload_counts_as_gone(tmp_path: Path) -> None:
    store = await UploadStore.open(tmp_path)
    (tmp_path / f'{ID}.json').write_bytes(b'{"attachment": 1}')

    with pytest.raises(NotFound):
        await store.get(ID)


async def test_a_folder_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / 'uploads').write_bytes(b'a file is in the way')

    with pytest.raises(StoreError, match='uploads'):
        await UploadStore.open(tmp_path / 'uploads')


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
