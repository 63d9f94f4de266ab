"""Our own format: what goes out comes back, and what is not sound is refused in words."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inference.chat import ToolCall
from inference.settings import SamplingSettings
from presets.chat import Attachment, Chat, StoredMessage
from presets.migrations import CURRENT
from presets.transfer import own
from presets.transfer.source import Failed, Found, SourceFile

RECORDED = Path(__file__).parents[1] / 'recorded'


def full_chat() -> Chat:
    """A chat in which everything there is differs from its default."""
    chat = Chat(
        title='All of it', pinned=True, archived=True, folder='Work/Taxes', system_prompt='Be brief.', overflow='roll'
    )
    chat.sampling = SamplingSettings(temperature=0.1, stop=('###',), logit_bias={5: -100.0})
    chat.created = datetime(2025, 3, 1, 12, 0, 0, 123456, UTC)
    file = Attachment(name='a.txt', media_type='text/csv', size=3, text='a,b')
    chat.append(StoredMessage(role='user', content='Hi \u2028 "there"\n', attachments=[file]))
    question = chat.leaf
    reply: dict[str, Any] = {
        'role': 'assistant',
        'finish_reason': 'stop',
        'model': 'smol',
        'preset': 'p',
        'edited': True,
    }
    call = ToolCall(id='1', name='look', arguments='{"a": 1}')
    chat.append(StoredMessage(content='Hello', reasoning='hm', reasoning_seconds=0.1, tool_calls=[call], **reply))
    chat.leaf = question
    chat.append(StoredMessage(content='Good day', left_out=[question or ''], prompt_tokens=3, prefill=0.25, **reply))
    chat.queue = [StoredMessage(role='user', content='later')]
    return chat


def written(folder: Path, *chats: Chat) -> Path:
    path = folder / 'chats.json'
    path.write_bytes(b''.join(own.joined(map(own.line_of, chats))))
    return path


def read(path: Path) -> list[Chat]:
    return [it.reading.chat for it in SourceFile(path, path.name).chats() if isinstance(it, Found)]


def failures(path: Path) -> list[str]:
    return [it.reason for it in SourceFile(path, path.name).chats() if isinstance(it, Failed)]


def test_a_chat_comes_back_exactly_as_it_went(tmp_path: Path) -> None:
    chats = [full_chat(), full_chat()]

    assert read(written(tmp_path, *chats)) == chats


def test_a_file_is_json_with_a_chat_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, full_chat(), full_chat())
    content = json.loads(path.read_text('utf-8'))

    assert (content['format'], content['version'], len(content['chats'])) == ('chatbot-webui', CURRENT, 2)
    assert len(path.read_text('utf-8').split('\n')) == 5


def test_a_file_may_be_formatted_anew(tmp_path: Path) -> None:
    chat = full_chat()
    path = written(tmp_path, chat)
    path.write_text(json.dumps(json.loads(path.read_text('utf-8')), indent=4), 'utf-8')

    assert read(path) == [chat]


@pytest.mark.parametrize('name', ['chat.v3.json'])
def test_a_file_of_the_folder_of_chats_can_be_imported(name: str) -> None:
    (chat,) = read(RECORDED / name)

    assert [message.content for message in chat.path()] == ['How many steps has the tower?', 'It has 294.']


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Return an export in which something was changed by hand."""
    path = written(tmp_path, full_chat())
    content = json.loads(path.read_text('utf-8'))
    change(content)
    path.write_text(json.dumps(content), 'utf-8')
    return path


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda it: it.update(version=CURRENT + 1), 'a newer version of this app wrote it'),
        (lambda it: it.pop('version'), 'does not say which version'),
        (
            lambda it: it['chats'][0]['messages'][0].update(role='robot'),
            "should be 'system', 'user', 'assistant' or 'tool'",
        ),
        (lambda it: it['chats'][0]['messages'][0].pop('content'), 'content: field required'),
        (lambda it: it['chats'][0]['messages'][1].update(id=it['chats'][0]['messages'][0]['id']), 'the same id'),
        (lambda it: it['chats'][0]['messages'][1].update(id='../../x'), 'the same id, or one has none'),
        (lambda it: it['chats'][0].update(created='yesterday'), 'created: input should be a valid datetime'),
    ],
)
def test_what_is_not_sound_is_refused_in_words(tmp_path: Path, change: Callable[[Any], Any], reason: str) -> None:
    (failure,) = failures(changed(tmp_path, change))

    assert reason in failure


@pytest.mark.parametrize('hostile', ['../../etc/passwd', 'con', 'a/b', '', 'x' * 100, 'index', None, 5])
def test_an_id_that_could_not_be_ours_is_replaced(tmp_path: Path, hostile: object) -> None:
    (chat,) = read(changed(tmp_path, lambda it: it['chats'][0].update(id=hostile)))

    assert chat.id != hostile
    assert chat.id.isalnum()


def test_settings_that_are_not_allowed_take_their_default(tmp_path: Path) -> None:
    (chat,) = read(changed(tmp_path, lambda it: it['chats'][0]['sampling'].update(temperature=99)))

    assert (chat.sampling.temperature, chat.sampling.stop) == (0.7, ('###',))


def test_a_path_on_screen_that_leads_nowhere_is_mended(tmp_path: Path) -> None:
    (chat,) = read(changed(tmp_path, lambda it: it['chats'][0].update(leaf='gone')))

    assert chat.path()[-1].content == 'Good day'


def test_a_reply_that_was_being_written_is_marked_as_interrupted(tmp_path: Path) -> None:
    (chat,) = read(changed(tmp_path, lambda it: it['chats'][0]['messages'][1].update(finish_reason=None)))

    assert [message.finish_reason for message in chat.messages.values()] == [None, 'interrupted', 'stop']
