"""Files that are cut, broken or made to harm: each is told of in words, and what is sound in them is taken."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from presets.errors import InvalidImport
from presets.transfer.source import Failed, Found, SourceFile
from presets.transfer.staged import Staged

RECORDED = Path(__file__).parents[1] / 'recorded'
FILES = ['chatgpt.json', 'open-webui.json', 'lm-studio.conversation.json', 'chat.v3.json']


def conversation(title: str, text: str = 'Hi') -> dict[str, Any]:
    """A small chat as ChatGPT exports it."""
    message = {'author': {'role': 'user'}, 'content': {'content_type': 'text', 'parts': [text]}, 'create_time': 1.7e9}
    mapping: dict[str, Any] = {'a': {'id': 'a', 'message': message, 'parent': None, 'children': []}}
    return {'title': title, 'mapping': mapping, 'current_node': 'a', 'conversation_id': title}


def look(folder: Path, content: bytes) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the titles of what can be taken, and what cannot be with the reason."""
    path = folder / 'file.json'
    path.write_bytes(content)
    every = list(SourceFile(path, 'file.json').chats())
    titles = [it.reading.chat.title for it in every if isinstance(it, Found)]
    return titles, [(it.chat, it.reason) for it in every if isinstance(it, Failed)]


def three() -> bytes:
    return json.dumps([conversation('One'), conversation('Two'), conversation('Three')]).encode()


def test_the_chats_before_the_end_of_a_file_that_is_cut_off_are_taken(tmp_path: Path) -> None:
    content = three()
    titles, failed = look(tmp_path, content[: content.index(b'Three') + 40])

    assert titles == ['One', 'Two']
    assert failed == [('Three', 'the file ends in the middle of it')]


def test_a_chat_that_is_no_json_is_named_and_the_rest_is_taken(tmp_path: Path) -> None:
    titles, failed = look(tmp_path, three().replace(b'"Two", "mapping":', b'"Two" "mapping":'))

    assert titles == ['One', 'Three']
    assert [chat for chat, _ in failed] == ['Two']
    assert 'it is not valid JSON' in failed[0][1]


@pytest.mark.parametrize('broken', [b'"Two, "mapping"', b'"Two", "mapping": {', b'"Two"}, "mapping"', b'"Two"]], "m"'])
def test_the_next_chat_is_found_behind_one_with_broken_quotes_or_brackets(tmp_path: Path, broken: bytes) -> None:
    titles, failed = look(tmp_path, three().replace(b'"Two", "mapping"', broken))

    assert titles == ['One', 'Three']
    assert failed


def test_a_chat_of_no_known_kind_and_one_without_messages_are_told_apart(tmp_path: Path) -> None:
    empty = {**conversation('Empty'), 'mapping': {}}
    titles, failed = look(tmp_path, json.dumps([conversation('One'), {'title': 'What?'}, empty, 7, None]).encode())

    assert titles == ['One']
    assert failed == [
        ('What?', 'it is no chat of a known kind'),
        ('Empty', 'there are no messages in it'),
        ('#4', 'it is no chat of a known kind'),
        ('#5', 'it is no chat of a known kind'),
    ]


def test_half_characters_and_nul_are_replaced(tmp_path: Path) -> None:
    titles, _ = look(tmp_path, json.dumps([conversation('a\ud83db\0c')]).encode())

    assert titles == ['a\ufffdb\ufffdc']


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    assert look(tmp_path, b'\xef\xbb\xbf' + three())[0] == ['One', 'Two', 'Three']


def test_nesting_without_end_costs_nothing(tmp_path: Path) -> None:
    deep = b'[' * 200_000 + b']' * 200_000
    titles, failed = look(
        tmp_path, b'[' + json.dumps(conversation('One')).encode() + b',{"title":"Deep","x":' + deep + b'}]'
    )

    assert titles == ['One']
    assert failed == [('Deep', 'it is nested too deeply')]


def test_a_conversation_of_ten_thousand_nodes_in_a_row_and_one_in_a_circle_are_read(tmp_path: Path) -> None:
    long, round_ = conversation('Long'), conversation('Round')
    node = long['mapping']['a']
    for number in range(10_000):
        parent = 'a' if number == 0 else f'n{number - 1}'
        long['mapping'][f'n{number}'] = {'message': node['message'], 'parent': parent, 'children': [f'n{number + 1}']}
    round_['mapping']['a'] |= {'parent': 'b', 'children': ['b']}
    round_['mapping']['b'] = {'message': node['message'], 'parent': 'a', 'children': ['a']}

    path = tmp_path / 'file.json'
    path.write_text(json.dumps([long, round_]), 'utf-8')
    first, second = [it.reading.chat for it in SourceFile(path, 'x').chats() if isinstance(it, Found)]

    assert len(first.messages) == 10_001
    assert len(second.messages) == 2
    assert second.path()


@pytest.mark.parametrize(
    'content', [b'', b'   ', b'hello', b'\x00' * 100, b'\xff\xfe[\x00', b'%PDF-1.7', b'"text"', b'7']
)
def test_what_is_no_json_says_so(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r'it is (no JSON file|empty)'):
        look(tmp_path, content)


@pytest.mark.parametrize('content', [b'[]', b'{}', b'[{"a": 1}]', b'{"chats": []}', b'[', b'{', b'[1,2', b'{"a":'])
def test_json_without_chats_names_what_can_be_imported(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / 'staged'
    folder.mkdir()
    path = folder / 'file'
    path.write_bytes(content)

    with pytest.raises(
        InvalidImport, match=r'Nothing in notes.json can be imported .* LM Studio, as they are or in a zip file'
    ):
        Staged(folder).add(path, 'notes.json')


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Return the content with a few of the things done to it that happen to files."""
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(content) + 1)
        end = min(len(content), at + dice.choice([1, 2, 10, 300]))
        piece = dice.choice([b'', dice.randbytes(3), b'"', b'\\', b'{', b']', b'null', b'-1e999', content[at:end] * 2])
        content = content[:at] + piece + content[end:]
    return content


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('seed', range(60))
def test_any_damage_ends_in_chats_or_words(tmp_path: Path, name: str, seed: int) -> None:
    content = damaged((RECORDED / name).read_bytes(), random.Random(f'{name} {seed}'))
    try:
        titles, failed = look(tmp_path, content)
    except ValueError as error:
        titles, failed = [], [('', str(error))]

    assert titles or failed
    assert all(reason and '\n' not in reason for _, reason in failed)


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('seed', range(60))
def test_values_of_any_other_kind_end_in_chats_or_words(tmp_path: Path, name: str, seed: int) -> None:
    dice = random.Random(f'{name} {seed}')
    content = json.loads((RECORDED / name).read_text('utf-8'))
    for _ in range(dice.randint(1, 8)):
        _replace_one(content, dice)
    titles, failed = look(tmp_path, json.dumps(content).encode())

    assert titles or failed


def _replace_one(value: Any, dice: random.Random) -> None:
    """Put something else in some place of a value."""
    strange: list[Any] = [None, True, -1, 1e308, 10**30, '', '\ud800', [], {}, [[]], {'a': {}}, [1, 'x'], 'x' * 5000]
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not places:
            return
        place = dice.choice(places)
        if isinstance(value[place], dict | list) and value[place] and dice.random() < 0.8:
            value = value[place]
        else:
            value[place] = dice.choice(strange)
            return
