"""A TinyDB file through everything that happens to files."""

import threading
from pathlib import Path

import pytest

from presets.errors import DamagedFile, NewerSchema, StoreError
from presets.storage import Database, Writer

ONE = {'notes': {'1': {'text': 'one'}}}
TWO = {'notes': {'1': {'text': 'two'}}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'notes.json'


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def found(path: Path, part: str) -> Path:
    [file] = path.parent.glob(f'*.{part}*')
    return file


def notes(path: Path, problems: list[str]) -> list[str]:
    return [note['text'] for note in Database(path, problems.append).table('notes').all()]


def test_it_is_a_tinydb_with_tables_and_queries(path: Path, problems: list[str]) -> None:
    table = Database(path, problems.append).table('notes')
    table.insert_multiple([{'text': 'one'}, {'text': 'two'}])
    table.update({'text': 'three'}, lambda note: note['text'] == 'two')

    assert notes(path, problems) == ['one', 'three']
    assert names(path) == ['notes.json'], 'no temporary file stays behind'
    assert not problems


def test_the_first_write_of_a_process_backs_up_what_was_there(path: Path, problems: list[str]) -> None:
    Database(path, problems.append).file.write(ONE)
    before = path.read_bytes()
    file = Database(path, problems.append).file
    file.write(TWO)
    file.write({})

    assert path.with_name('notes.json.bak').read_bytes() == before
    assert names(path) == ['notes.json', 'notes.json.bak']


@pytest.mark.parametrize('content', [b'', b'{"notes": {"1": {"te', b'\0' * 512, b'[]', b'{"notes": 3}', b'\xff\xfe'])
def test_a_damaged_file_is_set_aside_and_never_taken_for_empty(path: Path, problems: list[str], content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match='was set aside as'):
        notes(path, problems)

    assert found(path, 'damaged').read_bytes() == content
    assert [problem for problem in problems if 'no backup' in problem]
    assert notes(path, problems) == []


def test_a_sound_backup_takes_the_place_of_a_damaged_file(path: Path, problems: list[str]) -> None:
    Database(path, problems.append).file.write(ONE)
    Database(path, problems.append).file.write(TWO)
    path.write_bytes(path.read_bytes()[:20])

    assert notes(path, problems) == ['one']
    assert len(problems) == 1
    assert found(path, 'damaged').stat().st_size == 20


def test_a_damaged_backup_is_set_aside_too(path: Path, problems: list[str]) -> None:
    path.write_text('{')
    path.with_name('notes.json.bak').write_text('}')
    with pytest.raises(DamagedFile):
        notes(path, problems)

    assert sorted(file.read_text() for file in path.parent.glob('*.damaged-*')) == ['{', '}']


def test_what_something_else_wrote_meanwhile_is_kept(path: Path, problems: list[str]) -> None:
    file = Database(path, problems.append).file
    file.write(ONE)
    path.write_text('written by an editor')
    file.write(TWO)

    assert notes(path, problems) == ['two']
    assert found(path, 'changed').read_text() == 'written by an editor'
    assert 'changed by something else' in problems[0]


def test_two_changes_in_one_second_are_both_kept(path: Path, problems: list[str]) -> None:
    file = Database(path, problems.append).file
    for text in ('', 'first', 'second'):
        file.write(ONE)
        path.write_text(text)
    file.write(ONE)

    assert sorted(file.read_text() for file in path.parent.glob('*.changed-*')) == ['', 'first', 'second']


def test_a_deleted_file_is_written_again(path: Path, problems: list[str]) -> None:
    file = Database(path, problems.append).file
    file.write(ONE)
    path.unlink()
    file.write(TWO)

    assert notes(path, problems) == ['two']
    assert not problems


def test_a_read_only_file_is_left_alone_until_writing_is_allowed(path: Path, problems: list[str]) -> None:
    file = Database(path, problems.append).file
    file.write(ONE)
    path.chmod(0o444)
    with pytest.raises(StoreError, match='Allow writing to it'):
        file.write(TWO)
    assert notes(path, problems) == ['one']

    path.chmod(0o644)
    file.write(TWO)
    assert notes(path, problems) == ['two']


def test_a_missing_drive_is_explained(path: Path, problems: list[str]) -> None:
    with pytest.raises(StoreError, match='Check that the drive is connected'):
        Database(path / 'gone' / 'notes.json', problems.append).file.write(ONE)


def test_a_file_of_a_newer_version_is_neither_read_nor_written(path: Path, problems: list[str]) -> None:
    path.write_text('{"meta": {"1": {"version": 99}}, "notes": {}}')
    database = Database(path, problems.append)
    with pytest.raises(NewerSchema, match='Update the app'):
        database.table('notes').all()
    with pytest.raises(NewerSchema, match='Update the app'):
        database.file.write(ONE)

    assert names(path) == ['notes.json']
    assert '99' in path.read_text()


def test_lone_surrogates_do_not_break_a_save(path: Path, problems: list[str]) -> None:
    Database(path, problems.append).file.write({'notes': {'1': {'text': 'half of \ud83d'}}})

    [text] = notes(path, problems)
    assert text.rstrip('\ufffd') == 'half of '


async def test_everything_runs_in_turn_on_the_one_writer_thread(writer: Writer) -> None:
    order: list[int] = []
    for number in range(3):
        await writer.run(order.append, number)

    assert order == [0, 1, 2]
    assert (await writer.run(lambda: threading.current_thread().name)).startswith('writer')
