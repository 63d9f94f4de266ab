"""A first conversation with the model that comes with the app, as someone sees it who has just started it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.tab import LONG_STORY, PATIENCE, Tab, health, stored_replies, until, words
from webui.launch import RunningApp, start_app

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope='module')
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """An app that was started without naming a model."""
    with start_app(tmp_path_factory.mktemp('model')) as running:
        yield running


def test_the_first_prompt_is_answered_as_it_is_written(tab: Tab) -> None:
    tab.part('settings-toggle').click()
    tab.part('setting-max_tokens').fill('100')
    expect(tab.page.locator('.setting.is-changed')).to_be_visible()
    tab.watch_growth()
    text = tab.ask('Name three animals that live in the sea, and say one sentence about each.')

    lengths = {note['length'] for note in tab.seen() if note['state'] == 'streaming'}
    assert len(lengths) > 5
    assert max(lengths) > 20
    assert text
    expect(tab.part('stats')).to_contain_text(re.compile(r'\d+ tokens · .* tok/s · .* s to first token'))
    expect(tab.page).to_have_url(re.compile('/c/[^/]+$'))
    expect(tab.chats.first).to_contain_text('Name three animals')


def test_stop_ends_the_reply_at_once(tab: Tab, app: RunningApp) -> None:
    tab.send(LONG_STORY)
    tab.until_streamed(40)
    tab.watch_growth()
    tab.part('stop').click()
    tab.until_idle(2_000)

    click, end = (next(note for note in tab.seen() if note['state'] == state) for state in ('click', 'idle'))
    assert end['time'] - click['time'] < 1_000
    assert end['length'] - click['length'] < 100, 'what is on its way to the page may come, but nothing new'
    stopped = tab.reply_text()
    until(tab.page, lambda: health(app.url)['slots']['busy'] == 0, 1_000)
    expect(tab.reply).to_contain_text('Stopped.')
    assert tab.reload().reply_text() == stopped
    assert tab.state() == 'idle'


def test_stop_with_the_escape_key(tab: Tab, app: RunningApp) -> None:
    tab.send(LONG_STORY)
    tab.until_streamed(40)
    tab.page.keyboard.press('Escape')
    tab.until_idle(2_000)

    expect(tab.reply).to_contain_text('Stopped.')
    assert health(app.url)['slots']['busy'] == 0


def test_a_reload_and_a_second_tab_show_the_same_reply(tab: Tab, context: BrowserContext) -> None:
    tab.send(LONG_STORY)
    tab.until_streamed(200)
    before = tab.reply_text()
    tab.reload()
    assert tab.state() == 'streaming'
    assert tab.reply_text().startswith(before[:-20])

    second = Tab(context.new_page(), tab.url).open(tab.page.url.removeprefix(tab.url))
    second.until('streaming')
    tab.until_streamed(len(before) + 200)
    second.part('stop').click()
    tab.until_idle()
    second.until_idle()

    assert tab.reply_text() == second.reply_text()
    assert tab.reply_text().startswith(before[:-20])


def test_a_load_setting_waits_for_its_button_and_then_applies(tab: Tab, app: RunningApp) -> None:
    expect(tab.part('model-card')).to_contain_text('8,192')
    tab.part('settings-toggle').click()
    apply = tab.part('apply-load-settings')
    expect(apply).to_be_hidden()
    tab.part('setting-n_ctx').fill('2048')
    expect(apply).to_be_visible()
    expect(tab.part('model-card')).to_contain_text('8,192')
    apply.click()

    expect(tab.part('model-card')).to_contain_text('2,048', timeout=60_000)
    expect(apply).to_be_hidden()
    assert health(app.url)['status'] == 'ok'
    assert tab.ask_for_a_story()


def test_unload_and_load_again(tab: Tab, app: RunningApp) -> None:
    tab.part('model-picker').click()
    tab.part('unload').click()
    expect(tab.part('model-card')).to_contain_text('No model loaded')
    assert health(app.url)['engine']['phase'] == 'empty'
    tab.send(LONG_STORY)
    expect(tab.part('reply-error')).to_contain_text('No model is loaded.')

    expect(tab.part('model-manager')).to_be_hidden()
    tab.part('model-picker').click()
    tab.part('load').click()
    until(tab.page, lambda: health(app.url)['status'] == 'ok', 60_000)
    expect(tab.part('model-picker')).to_contain_text('SmolLM2-135M-Instruct')
    tab.part('reply-error').get_by_text('Try again').click()
    tab.until_streamed(1)
    expect(tab.part('reply-error')).to_have_count(0)
    tab.part('stop').click()
    tab.until_idle()


def test_the_model_reads_the_file_and_the_gauge_knew_how_much_that_is(tab: Tab, app: RunningApp) -> None:
    tab.until_idle()
    gauge = tab.part('context-gauge')
    expect(gauge).to_be_visible(timeout=2 * PATIENCE)
    story = b'The lighthouse keeper is called Zebedee. ' * 20
    tab.part('attach-input').set_input_files({'name': 'story.txt', 'mimeType': 'text/plain', 'buffer': story})
    facts = tab.part('attachment-facts')
    expect(facts).to_contain_text('tokens', timeout=PATIENCE)
    tokens = int(facts.inner_text().split()[-2])
    tab.composer.fill('What is the name of the lighthouse keeper? Tell a long story about him.')
    expect(tab.part('draft-tokens')).to_be_visible(timeout=PATIENCE)
    measured = int(words(gauge.inner_text()).partition(' ')[0].replace(',', ''))
    tab.composer.press('Enter')
    tab.until_streamed(1)
    tab.part('stop').click()
    tab.until_idle()

    until(tab.page, lambda: all(reply['finish_reason'] for reply in stored_replies(app.data_dir)))
    reply = max(stored_replies(app.data_dir), key=lambda reply: reply['created'])
    assert tokens > 150
    assert tokens < measured == reply['prompt_tokens']
    expect(tab.part('attachment')).to_contain_text('story.txt')
