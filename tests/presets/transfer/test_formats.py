"""Files of other apps, recorded after real ones with invented content: what was said there is here, in its place."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from presets.chat import Chat, StoredMessage
from presets.transfer.source import Found, SourceFile

RECORDED = Path(__file__).parents[1] / 'recorded'


def chats(name: str, folder: str = '') -> list[Chat]:
    return [it.reading.chat for it in found(name, folder)]


def found(name: str, folder: str = '') -> list[Found]:
    every = list(SourceFile(RECORDED / name, name, folder).chats())
    whole = [it for it in every if isinstance(it, Found)]
    assert len(whole) == len(every)
    return whole


def said(chat: Chat) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in chat.path()]


def by_text(chat: Chat, text: str) -> StoredMessage:
    (message,) = [message for message in chat.messages.values() if text in message.content]
    return message


def siblings(chat: Chat, message: StoredMessage) -> list[str]:
    return [other.content for other in chat.messages.values() if other.parent == message.parent]


def test_a_chatgpt_export_keeps_the_conversation_on_screen_and_its_variants() -> None:
    bread, tea = chats('chatgpt.json')

    assert [role for role, _ in said(bread)] == ['user', 'assistant', 'user', 'assistant']
    assert siblings(bread, by_text(bread, '25 °C')) == ['About **25 °C**.', 'Anything between 20 and 30 °C.']
    assert (bread.title, bread.pinned, bread.archived, bread.folder) == (
        'Sourdough in winter',
        True,
        True,
        'ChatGPT 68abcd',
    )
    assert (bread.created, bread.updated) == (
        datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC),
        datetime(2026, 1, 1, 0, 6, 40, 750_000, UTC),
    )
    assert (tea.title, tea.display_title) == ('', 'Green or black tea?')


def test_what_chatgpt_thought_and_computed_is_part_of_its_reply() -> None:
    bread, _ = chats('chatgpt.json')
    warm, water = by_text(bread, '25 °C'), by_text(bread, '360 g')

    assert warm.reasoning == '**Weighing temperatures**\n\nBetween 24 and 26 degrees works.'
    assert (warm.reasoning_seconds, warm.model, warm.finish_reason) == (8, 'gpt-5-thinking', 'stop')
    assert water.content == '```python\nprint(500 * 0.72)\n```\n\n```\n360.0\n```\n\nTake 360 g of water.'
    assert by_text(bread, '20 and 30').finish_reason == 'length'


def test_custom_instructions_of_chatgpt_are_the_system_prompt() -> None:
    assert chats('chatgpt.json')[0].system_prompt == 'I bake on weekends.\n\nUse grams.'


@pytest.mark.parametrize(
    ('name', 'note'),
    [
        ('chatgpt.json', '[image not imported]'),
        ('open-webui.json', '[image not imported]'),
        ('lm-studio.conversation.json', '[1767400000001 - 431.png not imported]'),
    ],
)
def test_pictures_are_named_as_left_out(name: str, note: str) -> None:
    first = found(name)[0]

    assert first.reading.left_out == 1
    assert any(note in message.content for message in first.reading.chat.path())


def test_an_open_webui_export_keeps_variants_in_their_order_whatever_that_in_the_file() -> None:
    notes, _ = chats('open-webui.json')

    assert siblings(notes, by_text(notes, 'call to Ana')) == ['A shopping list.', 'Oats, and a call to Ana.']
    assert [text[:12] for _, text in said(notes)] == ['What is in t', 'Oats, and a ', 'Look up oats', '```\n"Oats ar']
    assert (notes.title, notes.pinned, notes.folder) == ('📝 Notes', True, 'Open WebUI 5f0e7b')
    assert notes.created == datetime(2026, 1, 1, 20, 40, tzinfo=UTC)


def test_open_webui_has_reasoning_calls_and_files_in_places_of_their_own() -> None:
    notes, _ = chats('open-webui.json')
    reply, call = by_text(notes, 'call to Ana'), by_text(notes, 'cereal')

    assert (reply.reasoning, reply.reasoning_seconds) == ('Two lines,\noats and a call.', 3)
    assert (reply.model, reply.prompt_tokens, reply.completion_tokens) == ('qwen3:8b', 40, 12)
    assert [(it.name, it.arguments) for it in call.tool_calls] == [('search', '{"q": "oats"}')]
    (file,) = notes.path()[0].attachments
    assert (file.name, file.text, file.size) == ('notes.txt', 'Buy oats.\nCall Ana.', 19)


def test_settings_of_an_open_webui_chat_are_kept_where_they_are_allowed() -> None:
    notes, _ = chats('open-webui.json')

    assert notes.system_prompt == 'Be short.'
    assert (notes.sampling.temperature, notes.sampling.stop) == (0.3, ('###',))
    assert notes.sampling.top_k == 40, 'more than there can be takes the default'


def test_a_failed_reply_of_open_webui_says_why() -> None:
    _, failed = chats('open-webui.json')

    assert (failed.path()[-1].finish_reason, failed.path()[-1].error) == ('error', 'Ollama: connection refused')
    assert failed.archived


def test_an_lm_studio_conversation_keeps_its_versions_on_either_side() -> None:
    (garden,) = chats('lm-studio.conversation.json', 'Home/Garden')

    assert siblings(garden, by_text(garden, 'Hostas')) == ['Ferns.', 'Hostas and ferns.']
    assert siblings(garden, by_text(garden, 'tomorrow')) == ['And the rain tomorrow?', 'And the rain this week?']
    assert [text[:10] for _, text in said(garden)] == ['What grows', 'Hostas and', 'And the ra', '```\ndry\n``']
    assert (garden.title, garden.pinned, garden.folder) == ('Garden plan', True, 'Home/Garden')
    assert by_text(garden, 'Hostas').created == datetime(2026, 1, 3, 0, 26, 40, 200_000, UTC)


def test_steps_of_an_lm_studio_reply_are_one_message() -> None:
    (garden,) = chats('lm-studio.conversation.json')
    reply, dry = by_text(garden, 'Hostas'), by_text(garden, 'stays dry')

    assert (reply.reasoning, reply.reasoning_seconds) == ('Shade plants: hosta, fern.', 1.25)
    assert (reply.model, reply.completion_tokens, reply.prefill, reply.decode) == ('openai/gpt-oss-20b', 40, 0.5, 2)
    assert by_text(garden, 'Ferns.').finish_reason == 'cancelled'
    assert ([call.name for call in dry.tool_calls], dry.content) == (['weather'], '```\ndry\n```\n\nIt stays dry.')


def test_settings_of_an_lm_studio_chat_mean_the_same_here() -> None:
    (garden,) = chats('lm-studio.conversation.json')

    assert (garden.system_prompt, garden.overflow) == ('You are a gardener.', 'roll')
    sampling = garden.sampling
    assert (sampling.temperature, sampling.min_p, sampling.max_tokens) == (0.4, 0.1, 500)
    assert sampling.top_p == 1, 'it was switched off there'


@pytest.mark.parametrize('name', ['chatgpt.json', 'open-webui.json', 'lm-studio.conversation.json'])
def test_ids_are_ours_and_the_same_each_time(name: str) -> None:
    first, again = chats(name), chats(name)

    assert [chat.model_dump() for chat in first] == [chat.model_dump() for chat in again]
    assert all(len(chat.id) == 16 and chat.id.isalnum() for chat in first)
    assert not any(chat.id in (RECORDED / name).read_text('utf-8') for chat in first)


@pytest.mark.parametrize('name', ['chatgpt.json', 'open-webui.json', 'lm-studio.conversation.json'])
def test_no_reply_waits_for_its_end(name: str) -> None:
    for chat in chats(name):
        assert all(message.finish_reason for message in chat.messages.values() if message.role == 'assistant')
