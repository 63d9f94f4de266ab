"""The chat page as a browser tab holds it: what is shown, and what its fields and buttons do."""

import asyncio
import html
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nicegui import app, ui
from nicegui.storage import Storage
from nicegui.testing import User, UserInteraction
from nicegui.testing.user_simulation import user_simulation

from inference.chat import ToolCall
from inference.settings import LoadSettings, SamplingSettings
from presets.errors import StoreError
from tests import tiny_models as tiny
from tests.tiny_encoders import write_encoder, write_reranker
from tests.webui.conftest import app_config
from tests.webui.test_model_host import HUGE, write_huge
from webui.app import create
from webui.conversation import Conversation
from webui.services import Services

EVIL = '<script>alert(1)</script> <img src=x onerror=alert(2)> {{ 7*7 }} :prop="x" </textarea>'


class Tab:
    """A tab of a simulated browser, with the app behind it."""

    def __init__(self, user: User, services: Services) -> None:
        self.user, self.services = user, services

    async def open(self, conversation: Conversation | None = None) -> None:
        await self.user.open(f'/c/{conversation.chat.id}' if conversation else '/')

    async def conversation(self) -> Conversation:
        """The conversation that the tab shows."""
        [chat_id] = [part.props['chatId'] for part in self.elements() if 'chatId' in part.props]
        return await self.services.conversations.open(chat_id)

    async def say(self, text: str) -> Conversation:
        """Send a message, as the composer does, and wait for the reply."""
        conversation = await self.conversation()
        await conversation.send(text)
        await conversation.wait()
        return conversation

    def elements(self) -> list[ui.element]:
        everything = self.user.current_layout.descendants()
        return [part for part in everything if all(above.visible for above in (part, *part.ancestors()))]

    def parts(self, testid: str) -> list[Any]:
        return [part for part in self.elements() if part.props.get('data-testid') == testid]

    def part(self, testid: str) -> Any:
        [part] = self.parts(testid)
        return part

    def reply_shows(self, text: str) -> bool:
        last = self.parts('message')[-1:]
        return bool(last) and last[0].props['data-role'] == 'assistant' and text in words(last[0])

    def texts(self, testid: str) -> list[str]:
        """The words in each part of this name."""
        return [words(part) for part in self.parts(testid)]

    def chats(self) -> list[str]:
        """The titles in the list of chats."""
        return [line['text'] for line in self.part('chats').props['lines'] if line['kind'] == 'chat']

    def in_list(self, event: str, args: object) -> None:
        """Do something in the list of chats, as the browser's part of it tells it."""
        UserInteraction(self.user, {self.part('chats')}, None).trigger(event, args)

    def sees(self, text: str) -> bool:
        return any(text in words(part) for part in self.elements() if isinstance(part, ui.label))

    def enter(self, testid: str, value: object) -> None:
        """Put a value into a field."""
        with self.user:
            self.part(testid).set_value(value)

    def unfold(self, group: str) -> None:
        """Open a group of settings."""
        self.enter(f'group-{group}', True)

    def click(self, name: str) -> None:
        """Click the first button with this test id, text or accessible name."""
        buttons = [part for part in self.elements() if isinstance(part, ui.button) and name in names(part)]
        assert buttons, f'there is no button {name}'
        UserInteraction(self.user, {buttons[0]}, None).click()

    def act(self, name: str, message: int = -1) -> None:
        """Do something with a message, by the name that its button has."""
        event = {'id': self.parts('message')[message].props['data-message-id'], 'name': name}
        UserInteraction(self.user, {self.part('conversation')}, None).trigger('act', event)

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once the page is as expected; its handlers run in the background."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, 'it did not come true'
            await asyncio.sleep(0.01)


def words(part: ui.element) -> str:
    """What a person reads in a part of the page."""
    found: list[str] = []
    for element in (part, *part.descendants()):
        if isinstance(element, ui.label):
            found.append(element.text)
        elif isinstance(element, ui.html):
            found.append(html.unescape(re.sub(r'<[^>]*>', '', element.content)).strip())
        elif isinstance(element, ui.button) and element.text:
            found.append(element.text)
        found.append(element.props.get('numbers', ''))
    return ' '.join(filter(None, found))


def names(part: ui.button) -> list[str]:
    return [part.text, part.props.get('aria-label', ''), part.props.get('data-testid', '')]


@asynccontextmanager
async def tab_of(folder: Path, model: str) -> AsyncIterator[Tab]:
    """Open a tab; whatever fails in its handlers fails the test."""
    errors: list[Exception] = []
    async with user_simulation() as user:
        app.on_exception(errors.append)
        services = Services(app_config(folder, model), crash=None)
        await services.start()
        create(services)
        tab = Tab(user, services)
        await tab.open()
        try:
            yield tab
        finally:
            await services.close()
    assert errors == []


@pytest.fixture
def simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep NiceGUI's files below `tmp_path`, and the modules that its simulation would have imported again."""
    monkeypatch.setattr(Storage, 'path', tmp_path / 'storage')
    for name in ('webui', 'webui.app'):
        monkeypatch.setitem(sys.modules, name, sys.modules[name])


@pytest.fixture
async def tab(tmp_path: Path, simulation: None) -> AsyncIterator[Tab]:
    """A tab of an app whose model repeats each message at once."""
    async with tab_of(tmp_path, 'echo@0') as tab:
        await tab.services.host.ready()
        yield tab


@pytest.fixture
async def slow_tab(tmp_path: Path, simulation: None) -> AsyncIterator[Tab]:
    """A tab of an app whose model repeats each message, 20 words a second."""
    async with tab_of(tmp_path, 'echo@20') as tab:
        await tab.services.host.ready()
        yield tab


@pytest.fixture
async def tab_without_model(tmp_path: Path, simulation: None) -> AsyncIterator[Tab]:
    async with tab_of(tmp_path, 'none') as tab:
        yield tab


# The conversation


async def test_a_message_and_its_reply_are_shown(tab: Tab) -> None:
    assert 'What would you like to talk about?' in tab.texts('conversation')[0]

    await tab.say('hello **there**')
    question, reply = tab.parts('message')
    assert (question.props['data-role'], reply.props['data-role']) == ('user', 'assistant')
    assert 'hello **there**' in words(question)
    assert 'hello there' in words(reply)
    assert '2 tokens' in words(reply)
    assert 'What would you like' not in tab.texts('conversation')[0]
    assert tab.part('conversation').props['data-state'] == 'idle'
    assert tab.part('chat-title').value == 'hello there'
    assert tab.chats() == ['hello there']
    assert tab.texts('context-gauge') == ['4 / 100,000']


async def test_a_reply_is_shown_while_it_is_written_and_can_be_stopped(slow_tab: Tab) -> None:
    tab = slow_tab
    conversation = await tab.conversation()
    await conversation.send('one two three four five six seven eight nine ten')
    await tab.until(lambda: tab.reply_shows('two'))
    assert tab.part('conversation').props['data-state'] == 'streaming'
    assert 'tok/s' in tab.texts('hint')[0]

    [composer] = [part for part in tab.elements() if 'chatId' in part.props]
    assert composer.props['running']
    UserInteraction(tab.user, {composer}, None).trigger('stop')
    await conversation.wait()
    assert tab.part('conversation').props['data-state'] == 'idle'
    assert 'Stopped.' in tab.texts('message')[-1]
    assert 'ten' not in tab.texts('message')[-1]
    assert 'Enter sends' in tab.texts('hint')[0]


async def test_a_tab_that_comes_later_sees_the_running_reply(slow_tab: Tab) -> None:
    tab, text = slow_tab, ' '.join(f'word{number}' for number in range(1, 41))
    conversation = await tab.conversation()
    await conversation.send(text)
    await tab.until(lambda: tab.reply_shows('word2'))
    await tab.open(conversation)
    assert conversation.is_running
    assert tab.reply_shows('word1 word2')
    await conversation.wait()
    assert tab.reply_shows(text)
    assert len(tab.parts('message')) == 2


async def test_a_tab_that_is_opened_while_a_message_is_saved_shows_it_once(tab: Tab) -> None:
    conversation = await tab.say('first')
    disk = threading.Event()
    writing = asyncio.ensure_future(tab.services._writer.run(disk.wait))
    sending = asyncio.ensure_future(conversation.send('second'))
    await asyncio.sleep(0)
    await tab.open(conversation)
    disk.set()
    await asyncio.gather(writing, sending)
    await conversation.wait()
    assert [part.props['data-role'] for part in tab.parts('message')] == ['user', 'assistant'] * 2


async def test_a_message_that_could_not_be_saved_is_not_shown(tab: Tab, tmp_path: Path) -> None:
    conversation = await tab.say('first')
    (tmp_path / 'chats' / 'local').rename(tmp_path / 'moved')
    disk = threading.Event()
    writing = asyncio.ensure_future(tab.services._writer.run(disk.wait))
    sending = asyncio.ensure_future(conversation.send('second'))
    await asyncio.sleep(0)
    await tab.open(conversation)
    disk.set()
    await writing
    with pytest.raises(StoreError):
        await sending
    assert len(tab.parts('message')) == 2


async def test_answering_again_shows_the_new_reply_in_place_of_the_old_one(tab: Tab) -> None:
    conversation = await tab.say('a question')
    old = tab.parts('message')[-1].props['data-message-id']
    tab.act('regenerate')
    await tab.until(lambda: len(conversation.chat.messages) == 3)
    await conversation.wait()
    assert len(tab.parts('message')) == 2
    assert tab.parts('message')[-1].props['data-message-id'] != old


async def test_a_failed_reply_says_why_and_can_be_tried_again(tab_without_model: Tab) -> None:
    tab = tab_without_model
    conversation = await tab.say('is anybody there?')
    assert tab.texts('reply-error') == ['No model is loaded. Pick one in the model menu first. Try again Settings']

    tab.services.host.load('echo@0')
    await tab.services.host.ready()
    tab.click('Try again')
    await tab.until(lambda: len(conversation.chat.messages) == 3)
    await conversation.wait()
    assert tab.parts('reply-error') == []
    assert 'is anybody there?' in tab.texts('message')[-1]


async def test_an_empty_chat_without_a_model_offers_one(tab_without_model: Tab) -> None:
    tab = tab_without_model
    assert 'No model loaded' in tab.texts('conversation')[0]
    if tab.services.catalog.chat_models:
        assert tab.texts('load-first') == [f'Load {tab.services.catalog.chat_models[0].name}']
    else:
        assert 'Put a GGUF file into' in tab.texts('conversation')[0]


async def test_a_chat_that_cannot_be_saved_says_so_until_it_can(slow_tab: Tab, tmp_path: Path) -> None:
    tab = slow_tab
    conversation = await tab.conversation()
    await conversation.send('one two three four five six seven eight nine ten eleven twelve thirteen fourteen')
    (tmp_path / 'chats' / 'local').rename(tmp_path / 'moved')
    await tab.until(lambda: tab.parts('save-problem'))
    assert 'could not be saved' in tab.texts('save-problem')[0]
    await conversation.wait()

    (tmp_path / 'moved').rename(tmp_path / 'chats' / 'local')
    tab.click('Save again')
    await tab.until(lambda: not tab.parts('save-problem'))


async def test_a_chat_that_does_not_exist_opens_an_empty_one_and_says_so(tab: Tab) -> None:
    await tab.user.open('/c/nothing')
    assert 'There is no such chat' in tab.texts('toast-error')[0]
    assert not (await tab.conversation()).chat.messages


# What is more than text


def is_open(block: ui.element) -> bool:
    return 'open' in block.props


async def test_reasoning_is_open_while_it_streams_and_folds_when_the_answer_begins(slow_tab: Tab) -> None:
    tab = slow_tab
    conversation = await tab.conversation()
    await conversation.send('<think>one two three four five six</think>seven **eight** nine ten eleven twelve')
    await tab.until(lambda: 'Thinking one two' in ' '.join(tab.texts('reasoning')))
    assert is_open(tab.part('reasoning'))
    assert 'tok/s' in tab.texts('hint')[0]

    await tab.until(lambda: tab.reply_shows('seven'))
    assert conversation.is_running
    assert not is_open(tab.part('reasoning'))
    assert tab.texts('reasoning') == ['Thought for a moment one two three four five six']
    await conversation.wait()
    assert 'six seven eight nine' in tab.texts('message')[-1]
    assert conversation.chat.path()[-1].content.startswith('seven **eight**')


async def test_reasoning_of_a_stored_reply_is_drawn_when_it_is_unfolded(tab: Tab) -> None:
    conversation = await tab.say('<think>well **now**</think>the answer')
    conversation.chat.path()[-1].reasoning_seconds = 72.4
    await tab.open(conversation)
    assert tab.texts('reasoning') == ['Thought for 1 min 12 s']

    UserInteraction(tab.user, {tab.part('reasoning')}, None).trigger('toggle')
    await tab.until(lambda: tab.texts('reasoning') == ['Thought for 1 min 12 s well now'])


async def test_a_tab_that_comes_later_sees_what_was_thought_so_far(slow_tab: Tab) -> None:
    tab = slow_tab
    conversation = await tab.conversation()
    await conversation.send('<think>one two three four five six seven eight</think>the answer')
    await conversation.reasoned.emitted(timeout=5)
    await tab.open(conversation)
    assert is_open(tab.part('reasoning'))
    await conversation.wait()
    assert tab.texts('reasoning') == ['Thought for a moment one two three four five six seven eight']
    assert tab.reply_shows('the answer')


async def test_calls_of_a_reply_are_shown_with_their_arguments(tab: Tab) -> None:
    conversation = await tab.say('see')
    conversation.chat.path()[-1].tool_calls = [
        ToolCall(id='1', name='weather', arguments='{"city": "Ålesund", "days": 3}'),
        ToolCall(id='2', name='time', arguments='{"half'),
    ]
    await tab.open(conversation)

    weather, time = tab.texts('tool-call')
    assert weather == 'weather {\n  "city": "Ålesund",\n  "days": 3\n}'
    assert time == 'time {"half'


async def test_messages_that_were_not_sent_are_marked_until_they_are(tab: Tab) -> None:
    conversation = await tab.say('one')
    conversation.chat.path()[0].content = 'word ' * 60_000
    tab.enter('setting-overflow', 'roll')
    tab.enter('setting-max_tokens', 1)
    await tab.until(lambda: conversation.chat.overflow == 'roll' and conversation.chat.sampling.max_tokens == 1)
    await tab.say('word ' * 50_000)
    assert ['Not sent' in text for text in tab.texts('message')] == [True, False, False, False]
    assert tab.texts('left-out') == ['Not sent: the context is full']

    await tab.open(conversation)
    assert 'Not sent: the context is full' in tab.texts('message')[0]

    conversation.chat.path()[2].content = 'short'
    await tab.say('again')
    assert tab.parts('left-out') == []


@pytest.mark.parametrize(
    ('detail', 'said'),
    [
        (
            'The context of 512 tokens is full. A larger one helps.',
            'the context of 512 tokens is full. A larger one helps.',
        ),
        ('GPU memory ran out.', 'GPU memory ran out.'),
        ('4 replies share the context, and it is full', '4 replies share the context, and it is full.'),
    ],
)
async def test_a_reply_that_ended_by_itself_says_why(tab: Tab, detail: str, said: str) -> None:
    conversation = await tab.say('hello')
    reply = conversation.chat.path()[-1]
    reply.finish_reason, reply.detail = 'length', detail
    await tab.open(conversation)

    assert f'Ended because {said}' in tab.texts('message')[-1]


# Settings


async def test_what_happens_to_a_full_context_belongs_to_the_chat(tab: Tab) -> None:
    conversation = await tab.say('one')
    tab.enter('setting-overflow', 'middle')
    await tab.until(lambda: conversation.chat.overflow == 'middle')

    tab.click('new-chat')
    assert tab.part('setting-overflow').value == 'stop'
    await tab.open(conversation)
    assert tab.part('setting-overflow').value == 'middle'


async def test_groups_that_are_rarely_wanted_are_drawn_when_they_are_unfolded(tab: Tab) -> None:
    assert tab.parts('setting-temperature') and tab.parts('setting-n_ctx') and tab.parts('setting-seed')
    conversation = await tab.conversation()
    await conversation.change(sampling=SamplingSettings(typical_p=0.5))
    await tab.open(await tab.say('one'))
    folded = [part.props['data-testid'] for part in tab.elements() if isinstance(part, ui.expansion) and not part.value]
    assert [name.removeprefix('group-') for name in folded] == [
        'More sampling', 'Repetition', 'Reasoning', 'Structure', 'Sharing', 'Memory', 'GPU', 'Context extension',
        'Expert',
    ]  # fmt: skip
    assert not tab.parts('setting-typical_p')
    assert 'is-changed' in tab.part('group-More sampling').classes
    assert 'is-changed' not in tab.part('group-Repetition').classes

    tab.unfold('More sampling')
    assert tab.part('setting-typical_p').value == 0.5
    tab.click('Reset Typical-p')
    await tab.until(lambda: 'is-changed' not in tab.part('group-More sampling').classes)


async def test_every_kind_of_setting_can_be_changed(tab: Tab) -> None:
    conversation = await tab.conversation()
    for group in ('More sampling', 'Repetition', 'Structure'):
        tab.unfold(group)
    assert tab.part('setting-dry_sequence_breakers').value == ['\\n', ':', '"', '*']

    tab.enter('setting-stop', ['\\n\\nUser:', 'a\\\\b'])
    tab.enter('setting-logit_bias', ['42=-100', '7=1.5'])
    tab.enter('setting-json_schema', '{"type": "array"}')
    tab.enter('setting-mirostat', 'v2')
    tab.enter('setting-ignore_eos', True)
    tab.click('Move min_p up')
    tab.enter('use-xtc', False)
    await tab.until(lambda: 'xtc' not in conversation.chat.sampling.samplers)

    assert conversation.chat.sampling == SamplingSettings(
        stop=('\n\nUser:', 'a\\b'),
        logit_bias={42: -100, 7: 1.5},
        json_schema='{"type": "array"}',
        mirostat='v2',
        ignore_eos=True,
        samplers=('dry', 'top_n_sigma', 'top_k', 'min_p', 'typical_p', 'top_p', 'temperature'),
    )
    tab.enter('use-xtc', True)
    await tab.until(lambda: conversation.chat.sampling.samplers[-1] == 'xtc')
    tab.click('Reset Sampler order')
    await tab.until(lambda: conversation.chat.sampling.samplers == SamplingSettings().samplers)

    tab.enter('setting-logit_bias', ['hello'])
    assert tab.sees('Such as 42=-100. The old value stays.')
    assert conversation.chat.sampling.logit_bias == {42: -100, 7: 1.5}


async def test_a_changed_setting_belongs_to_the_chat(tab: Tab) -> None:
    conversation = await tab.say('one two three')
    tab.enter('setting-temperature', 1.5)
    tab.enter('setting-max_tokens', 2)
    tab.enter('system-prompt', 'Be brief.')
    await tab.until(lambda: conversation.chat.system_prompt == 'Be brief.')
    assert conversation.chat.sampling == SamplingSettings(temperature=1.5, max_tokens=2)
    assert (await tab.say('four five six')).chat.path()[-1].content == 'four five'

    tab.click('new-chat')
    assert tab.part('setting-temperature').value == 0.7
    assert tab.part('system-prompt').value == ''

    await tab.open(conversation)
    assert tab.part('setting-temperature').value == 1.5
    assert tab.part('system-prompt').value == 'Be brief.'


async def test_a_value_out_of_bounds_is_explained_and_the_old_one_stays(tab: Tab) -> None:
    conversation = await tab.conversation()
    tab.enter('setting-temperature', 1.5)
    await tab.until(lambda: conversation.chat.sampling.temperature == 1.5)
    tab.enter('setting-temperature', 7)
    complaint = 'Between 0 and 5. The old value stays.'
    assert tab.sees(complaint)
    assert conversation.chat.sampling.temperature == 1.5

    tab.enter('setting-temperature', 1.5)
    assert not tab.sees(complaint)

    tab.enter('setting-temperature', -1)
    tab.click('Reset Temperature')
    assert not tab.sees(complaint)
    await tab.until(lambda: conversation.chat.sampling == SamplingSettings())
    assert tab.part('setting-temperature').value == 0.7


async def test_reset_works_for_a_value_that_was_never_taken(tab: Tab) -> None:
    tab.enter('setting-top_k', -5)
    tab.click('Reset Top-k')
    assert not tab.sees('The old value stays.')
    assert tab.part('setting-top_k').value == 40


async def test_too_many_stop_strings_are_refused_in_words(tab: Tab) -> None:
    conversation = await tab.conversation()
    tab.enter('setting-stop', ['a', 'b'])
    await tab.until(lambda: conversation.chat.sampling.stop == ('a', 'b'))
    tab.enter('setting-stop', [f'stop {number}' for number in range(17)])
    assert tab.sees('The old value stays.')
    assert conversation.chat.sampling.stop == ('a', 'b')


async def test_a_cleared_number_changes_nothing(tab: Tab) -> None:
    conversation = await tab.conversation()
    tab.enter('setting-top_k', None)
    assert conversation.chat.sampling == SamplingSettings()


@pytest.mark.usefixtures('simulation')
async def test_load_settings_wait_for_apply_or_go_with_revert(tmp_path: Path) -> None:
    (tmp_path / 'models').mkdir()
    tiny.write_tiny_model(tmp_path / 'models' / 'tiny.gguf')
    async with tab_of(tmp_path, 'tiny') as tab:
        engine = await tab.services.host.ready()
        assert not tab.parts('apply-load-settings')

        tab.enter('setting-n_ctx', 256)
        assert tab.part('apply-load-settings')
        tab.click('Revert')
        assert not tab.parts('apply-load-settings')
        assert tab.part('setting-n_ctx').value == 8192
        assert tab.services.host.engine is engine

        tab.enter('setting-n_ctx', 256)
        tab.click('Apply')
        assert tab.services.host.state.is_busy
        assert 'Checking tiny' in tab.texts('model-picker')[0]
        assert (await tab.services.host.ready()).info.n_ctx == 256
        assert not tab.parts('apply-load-settings')
        assert tab.part('setting-n_ctx').value == 256
        assert 'Context 256' in tab.texts('model-card')[0]


@pytest.mark.usefixtures('simulation')
async def test_what_needs_no_reload_applies_at_once(tmp_path: Path) -> None:
    (tmp_path / 'models').mkdir()
    tiny.write_tiny_model(tmp_path / 'models' / 'tiny.gguf')
    async with tab_of(tmp_path, 'tiny') as tab:
        host = tab.services.host
        engine = await host.ready()

        tab.enter('setting-n_slots', 2)
        await tab.until(lambda: engine.status.slots == 2)
        await tab.until(lambda: host.load_settings('tiny') == LoadSettings(n_slots=2))
        assert not tab.parts('apply-load-settings')

        tab.enter('setting-n_ctx', 256)
        await tab.until(lambda: tab.parts('apply-load-settings'))
        tab.enter('setting-n_threads', 1)
        await tab.until(lambda: host.load_settings('tiny') == LoadSettings(n_slots=2, n_threads=1))
        assert tab.parts('apply-load-settings'), 'what waits for a reload is not applied'
        tab.click('Revert')
        assert tab.part('setting-n_threads').value == 1

        tab.enter('setting-n_slots', 20)
        await tab.until(lambda: tab.parts('apply-load-settings'))
        assert tab.sees('The model was loaded for 8 replies at once.')
        assert engine.status.slots == 2

        tab.enter('setting-n_slots', 2)
        tab.unfold('Sharing')
        tab.enter('setting-cache_ram', 64)
        await tab.until(lambda: 'Cache of idle chats up to 64 MB' in tab.texts('model-card')[0])


@pytest.mark.usefixtures('simulation')
async def test_models_that_cannot_write_are_shown_but_not_offered(tmp_path: Path) -> None:
    (tmp_path / 'models').mkdir()
    tiny.write_tiny_model(tmp_path / 'models' / 'chat.gguf')
    write_encoder(tmp_path / 'models' / 'embed.gguf')
    write_reranker(tmp_path / 'models' / 'rank.gguf')
    async with tab_of(tmp_path, 'none') as tab:
        rows = {text.split()[0]: text for text in tab.texts('model-row')}
        assert 'for embeddings' in rows['embed'] and not rows['embed'].endswith('Load')
        assert 'ranks documents' in rows['rank'] and not rows['rank'].endswith('Load')
        assert rows['chat'].endswith('Load')


@pytest.mark.usefixtures('simulation')
async def test_a_model_that_does_not_fit_can_be_loaded_anyway_and_what_failed_tried_again(tmp_path: Path) -> None:
    (tmp_path / 'models').mkdir()
    write_huge(tmp_path / 'models' / 'huge.gguf')
    async with tab_of(tmp_path, 'none') as tab:
        tab.services.host.load('huge', HUGE)
        await tab.until(lambda: tab.parts('insist'))
        assert tab.parts('retry') == []

        tab.click('Load anyway')
        await tab.until(lambda: tab.parts('retry'))
        assert 'llama.cpp could not load huge.gguf' in tab.texts('toast-error')[0]
        tab.click('Try again')
        assert tab.services.host.state.is_busy
        await tab.until(lambda: tab.parts('retry'))


async def test_chats_are_named_as_the_person_chose(tab: Tab) -> None:
    conversation = await tab.say('a question')
    chosen = [conversation.titling]
    tab.enter('titles', 'never')
    assert [*chosen, conversation.titling] == ['model', 'never']

    tab.click('new-chat')
    assert (await tab.conversation()).titling == 'never'
    await tab.open()
    assert (await tab.conversation()).titling == 'never', 'it is kept'


# The language


async def test_words_and_numbers_are_in_the_language_of_the_browser(tab: Tab) -> None:
    tab.user.http_client.headers['accept-language'] = 'de-DE,de;q=0.9,en;q=0.5'
    await tab.open()
    await tab.say('eine Frage')
    assert 'Kontext 100.000' in tab.texts('model-card')[0]
    assert tab.texts('group-Sampling')[0].startswith('Temperatur')

    tab.enter('setting-temperature', 9)
    assert tab.sees('Zwischen 0 und 5. Der alte Wert bleibt.')


# The list of chats


async def test_a_deleted_chat_comes_back_with_undo(tab: Tab) -> None:
    conversation = await tab.say('keep me')
    tab.in_list('act', {'name': 'delete', 'keys': [conversation.chat.id]})
    await tab.until(lambda: tab.parts('toast'))
    assert tab.texts('toast') == ['“keep me” is in the trash. Undo']
    assert tab.chats() == []
    assert await tab.conversation() is not conversation, 'an empty one is shown'

    tab.click('Undo')
    await tab.until(tab.chats)
    assert tab.parts('toast') == []
    await tab.open(conversation)
    assert 'keep me' in tab.texts('message')[0]


async def test_a_chat_is_renamed_in_the_list_or_in_its_title(tab: Tab) -> None:
    conversation = await tab.say('a question')
    tab.enter('chat-title', 'First')
    await tab.until(lambda: tab.chats() == ['First'])

    tab.in_list('rename', {'key': conversation.chat.id, 'title': 'Second'})
    await tab.until(lambda: tab.chats() == ['Second'] and tab.part('chat-title').value == 'Second')
    assert conversation.chat.title == 'Second'


async def test_chats_are_switched_without_mixing(tab: Tab) -> None:
    first = await tab.say('about the sea')
    tab.click('new-chat')
    second = await tab.say('about the wind')
    assert second is not first
    assert 'sea' not in tab.texts('conversation')[0]

    tab.in_list('open', first.chat.id)
    await tab.until(lambda: 'about the sea' in tab.texts('conversation')[0])
    await second.send('and more wind')
    await second.wait()
    assert 'wind' not in tab.texts('conversation')[0]
    assert tab.part('chat-title').value == 'about the sea'


# Notices, and what must not run


@pytest.mark.usefixtures('simulation')
async def test_a_notice_from_before_the_page_is_shown_and_a_later_one_too(tmp_path: Path) -> None:
    (tmp_path / 'chats' / 'local').mkdir(parents=True)
    (tmp_path / 'chats' / 'local' / 'broken.json').write_text('{')
    async with tab_of(tmp_path, 'none') as tab:
        assert 'broken.json is damaged' in tab.texts('toast-error')[0]
        tab.services.notices.add('Something else happened.')
        assert 'Something else happened.' in tab.texts('toast-error')[1]


async def test_nothing_that_is_written_becomes_a_part_of_the_page(tab: Tab) -> None:
    conversation = await tab.say(EVIL)
    await conversation.change(title=EVIL, system_prompt=EVIL)
    reply = conversation.chat.path()[-1]
    reply.error = reply.detail = reply.reasoning = EVIL
    reply.tool_calls = [ToolCall(id='1', name=EVIL, arguments=EVIL)]
    await tab.open(conversation)
    tab.services.notices.add(EVIL)

    assert tab.part('chat-title').value == tab.part('system-prompt').value == EVIL
    assert tab.chats() == [EVIL]
    assert EVIL in tab.texts('message')[0]
    assert '<script>alert(1)</script>' in tab.texts('message')[1], 'a reply shows it as text'
    assert tab.texts('reply-error') == [f'{EVIL} Try again Settings']
    assert tab.texts('tool-call') == [f'{EVIL} {EVIL}']
    assert f'Ended because {EVIL}.' in tab.texts('message')[1]
    UserInteraction(tab.user, {tab.part('reasoning')}, None).trigger('toggle')
    await tab.until(lambda: '<script>alert(1)</script>' in tab.texts('reasoning')[0])
    assert EVIL in tab.texts('toast-error')[0]
    for part in tab.elements():
        if isinstance(part, ui.html):
            assert not re.search('<(script|img|textarea)', part.content)
        assert ':prop' not in part.props
    source = (await tab.user.http_client.get(f'/c/{conversation.chat.id}')).text
    assert '<script>alert(1)' not in source
    assert '<img src=x' not in source
