"""Zip files: an export with other things beside the chats, a folder of conversations, and those made to harm."""

import json
import random
import zipfile
from pathlib import Path

import pytest

from presets.errors import InvalidImport
from presets.transfer import archive
from presets.transfer.staged import Staged

RECORDED = Path(__file__).parents[1] / 'recorded'
CHATS = (RECORDED / 'chatgpt.json').read_bytes()
CONVERSATION = (RECORDED / 'lm-studio.conversation.json').read_bytes()


def packed(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / 'export.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


def staged(tmp_path: Path, path: Path) -> Staged:
    folder = tmp_path / 'staged'
    folder.mkdir()
    found = Staged(folder)
    found.add(path, path.name)
    return found


def titles(found: Staged) -> list[str]:
    return [entry.title for entry in found.entries]


def test_the_chats_in_an_export_are_found_among_its_other_files(tmp_path: Path) -> None:
    others = {
        'user.json': b'{"email": "a@b"}',
        'shared_conversations.json': b'[{"id": "1", "title": "Shared"}]',
        'a.png': b'\x89',
    }
    found = staged(
        tmp_path, packed(tmp_path, {**others, 'conversations.json': CHATS, 'group_chats.json': b'{"chats": []}'})
    )

    assert titles(found) == ['Sourdough in winter', 'Green or black tea?']
    assert found.skipped == []


def test_folders_of_lm_studio_are_those_of_the_zip(tmp_path: Path) -> None:
    name = '.lmstudio/conversations/Home/Garden/1767400000000.conversation.json'
    (chat,) = staged(tmp_path, packed(tmp_path, {name: CONVERSATION})).chats([0])

    assert getattr(chat, 'folder', '') == 'Home/Garden'


def test_names_that_lead_out_of_the_zip_are_refused_and_the_rest_is_taken(tmp_path: Path) -> None:
    names = ['../../outside.json', '/etc/outside.json', 'C:\\outside.json', 'a/../../outside.json', '..\\outside.json']
    found = staged(tmp_path, packed(tmp_path, {**dict.fromkeys(names, CHATS), 'conversations.json': CONVERSATION}))

    assert titles(found) == ['Garden plan']
    assert [reason for _, reason in found.skipped] == ['its name leads out of the zip file'] * len(names)
    assert list(tmp_path.rglob('*outside*')) == []


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImport, match='far more than text can be packed from'):
        staged(tmp_path, packed(tmp_path, {'conversations.json': b'[' + b' ' * 50_000_000 + b']'}))


def test_a_size_that_is_a_lie_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path, {'conversations.json': CHATS})
    content = path.read_bytes()
    size = len(CHATS).to_bytes(4, 'little')
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (10).to_bytes(4, 'little')))

    with pytest.raises(InvalidImport):
        staged(tmp_path, path)


def test_more_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, 'LARGEST_SUM', 1000)

    with pytest.raises(InvalidImport, match='The chats in the zip file are larger than'):
        staged(tmp_path, packed(tmp_path, {'conversations.json': CHATS}))


@pytest.mark.parametrize('cut', [100, 600, -30, -5])
def test_a_damaged_zip_says_so(tmp_path: Path, cut: int) -> None:
    path = packed(tmp_path, {'conversations.json': CHATS})
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(InvalidImport, match='The zip file is damaged'):
        staged(tmp_path, path)


def test_damage_within_a_zip_names_the_file(tmp_path: Path) -> None:
    path = packed(tmp_path, {'broken.json': CHATS, 'whole.json': CONVERSATION})
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)
    found = staged(tmp_path, path)

    assert titles(found) == ['Garden plan']
    assert [name for name, _ in found.skipped] == ['broken.json']


@pytest.mark.parametrize('seed', range(80))
def test_any_damage_to_a_zip_ends_in_chats_or_words(tmp_path: Path, seed: int) -> None:
    path = packed(tmp_path, {'a.json': CHATS, 'b/c.json': CONVERSATION})
    dice = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(dice.randint(1, 12)):
        content[dice.randrange(4, len(content))] = dice.randrange(256)
    path.write_bytes(content)
    words = ''
    try:
        titles_found = titles(staged(tmp_path, path))
    except InvalidImport as error:
        titles_found, words = [], str(error)

    assert titles_found or words
    assert '\n' not in words


def test_a_zip_without_chats_names_what_can_be_imported(tmp_path: Path) -> None:
    with pytest.raises(InvalidImport, match=r'Nothing in export.zip can be imported \(it holds no chats\)'):
        staged(tmp_path, packed(tmp_path, {'user.json': json.dumps({'a': 1}).encode(), 'b.txt': b''}))
