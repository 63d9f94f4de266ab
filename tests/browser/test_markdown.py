"""Formulas, code, tables and diagrams, as a reader sees and uses them."""

import re
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, FloatRect, Locator, expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import PATIENCE, Tab
from webui.launch import RunningApp, start_app

EVERYTHING = Path(__file__).with_name('everything.md').read_text('utf-8')
LONG_LINE = '```python\nprint("' + 'a long line ' * 40 + '")\n```'
DIAGRAM = '```mermaid\nflowchart LR\n  A[Message] --> B[Reply]\n```'


def box(part: Locator) -> FloatRect:
    found = part.bounding_box()
    assert found
    return found


@pytest.mark.parametrize('width', [1280, 390])
@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_a_reply_with_everything_stays_in_its_column(open_tab: OpenTab, width: int, theme: str) -> None:
    tab = open_tab(viewport={'width': width, 'height': 800}, color_scheme=theme, reduced_motion='reduce')
    tab.ask(EVERYTHING)
    column = box(tab.reply.locator('.answer'))
    for part in tab.reply.locator('.answer :is(p, .code-block, .table-scroll, .formula, li)').all():
        assert box(part)['x'] + box(part)['width'] <= column['x'] + column['width'] + 1
    assert not tab.page.evaluate('() => document.documentElement.scrollWidth > innerWidth')
    findings = Axe().run(tab.page, '.answer').response['violations']
    serious = [rule for rule in findings if rule['impact'] in {'serious', 'critical'}]
    assert [node['html'] for rule in serious for node in rule['nodes']] == []


def test_formulas_are_drawn_with_their_parts_in_place(tab: Tab) -> None:
    tab.ask(r'so $x$ is' + '\n\n$$\n\\frac{a}{b}\n$$\n\n$$\n\\begin{aligned} a &= b \\\\ aaaaa &= c \\end{aligned}\n$$')
    math = tab.reply.locator('math')
    expect(math).to_have_count(3)
    above, below = (box(math.nth(1).locator('mi', has_text=name)) for name in 'ab')
    assert above['y'] + above['height'] <= below['y'] + 4
    signs = [box(sign) for sign in math.nth(2).locator('mo', has_text='=').all()]
    assert signs[0]['x'] == pytest.approx(signs[1]['x'], abs=1)
    assert signs[0]['y'] < signs[1]['y']


def test_a_formula_that_is_being_written_is_source_until_it_ends(tab: Tab) -> None:
    tab.send('$$\n' + ' + '.join(f'x_{{{number}}}' for number in range(150)) + '\n$$\n\nthe end')
    expect(tab.reply.locator('pre.formula-source')).to_contain_text('x_{3}')
    assert tab.reply.locator('math, em').count() == 0
    tab.until_idle()
    expect(tab.reply.locator('math')).to_have_count(1)
    expect(tab.reply.locator('.formula-source')).to_have_count(0)


def test_a_wide_formula_scrolls_by_itself(open_tab: OpenTab) -> None:
    tab = open_tab(viewport={'width': 390, 'height': 844})
    tab.ask('$$\n' + ' + '.join(f'x_{{{number}}}' for number in range(60)) + '\n$$')
    formula = tab.reply.locator('.formula')
    assert formula.evaluate('(part) => part.scrollWidth > part.clientWidth')
    formula.focus()
    tab.page.keyboard.press('ArrowRight')
    tab.page.wait_for_function('() => document.activeElement.scrollLeft > 0')


def test_wrapping_is_one_choice_that_the_browser_remembers(tab: Tab) -> None:
    tab.ask(f'{LONG_LINE}\n\ntext\n\n{LONG_LINE}')
    wrap, code = tab.reply.get_by_role('button', name='Wrap'), tab.reply.locator('.code-body')
    assert code.first.evaluate('(part) => part.scrollWidth > part.clientWidth')
    wrap.first.click()
    for index in range(2):
        expect(wrap.nth(index)).to_have_attribute('aria-pressed', 'true')
        assert not code.nth(index).evaluate('(part) => part.scrollWidth > part.clientWidth')

    tab.reload()
    expect(wrap.first).to_have_attribute('aria-pressed', 'true')
    assert not code.first.evaluate('(part) => part.scrollWidth > part.clientWidth')
    wrap.last.click()
    tab.reload()
    expect(wrap.first).to_have_attribute('aria-pressed', 'false')


def test_the_buttons_of_code_speak_the_language_of_the_reader(open_tab: OpenTab) -> None:
    tab = open_tab(locale='de-DE')
    tab.ask(LONG_LINE)
    expect(tab.reply.get_by_role('button', name='Umbrechen')).to_be_visible()
    expect(tab.reply.get_by_role('button', name='Kopieren', exact=True).first).to_be_visible()


def test_links_say_where_they_lead_and_pictures_are_links(tab: Tab) -> None:
    tab.ask('[bank](https://evil.example/x "https://bank.example") ![cat](https://pictures.example/cat.png)')
    link, picture = tab.reply.get_by_role('link').all()
    expect(link).to_have_attribute('title', 'evil.example')
    expect(picture).to_have_attribute('title', 'pictures.example')
    for part in (link, picture):
        expect(part).to_have_attribute('rel', 'noopener noreferrer')
        expect(part).to_have_attribute('target', '_blank')


def test_a_diagram_is_drawn_when_its_block_is_finished(tab: Tab) -> None:
    asked: list[str] = []
    tab.page.on('request', lambda request: asked.append(request.url))
    tab.ask('no diagram')
    assert not any('/diagrams/' in url for url in asked)

    tab.send(f'{DIAGRAM}\n\n' + 'and more words ' * 60)
    picture = tab.reply.get_by_role('img', name='Diagram')
    expect(picture).to_be_visible(timeout=PATIENCE)
    assert tab.state() == 'streaming'
    assert box(picture)['width'] > 100
    expect(tab.reply.locator('.code-body')).to_be_hidden()
    tab.until_idle()
    tab.reload()
    expect(picture).to_be_visible(timeout=PATIENCE)


def test_the_source_of_a_diagram_can_be_seen_and_copied(tab: Tab, context: BrowserContext) -> None:
    context.grant_permissions(['clipboard-read', 'clipboard-write'])
    tab.ask(DIAGRAM)
    picture, code = tab.reply.get_by_role('img', name='Diagram'), tab.reply.locator('.code-body')
    tab.reply.get_by_role('button', name='Source').click(timeout=PATIENCE)
    expect(code).to_contain_text('A[Message] --> B[Reply]')
    expect(picture).to_be_hidden()
    tab.part('diagram-toggle').click()
    expect(picture).to_be_visible()
    expect(code).to_be_hidden()
    tab.part('copy-code').click()
    expect(tab.part('copy-code')).to_have_text('Copied')
    assert 'A[Message] --> B[Reply]' in tab.page.evaluate('navigator.clipboard.readText()')


def test_a_diagram_follows_the_theme(tab: Tab) -> None:
    tab.ask(DIAGRAM)
    picture = tab.reply.get_by_role('img', name='Diagram')
    expect(picture).to_be_visible(timeout=PATIENCE)
    light = picture.get_attribute('src')
    tab.page.emulate_media(color_scheme='dark')
    expect(tab.page.locator('body')).to_have_class(re.compile('body--dark'))
    expect(picture).not_to_have_attribute('src', light or '', timeout=PATIENCE)


def test_what_is_no_diagram_is_shown_as_it_was_written(tab: Tab) -> None:
    tab.ask('```mermaid\nthis is --> no {diagram\n```')
    expect(tab.reply).to_contain_text('This diagram could not be drawn', timeout=PATIENCE)
    expect(tab.reply.locator('.code-body')).to_contain_text('this is --> no {diagram')


def test_diagrams_are_drawn_behind_an_access_code(open_tab: OpenTab, tmp_path: Path) -> None:
    with start_app(tmp_path, '--model', 'echo@1000', '--access-code', 'secret1') as app:
        assert httpx.get(f'{app.url}/static/diagrams.js').status_code == 303
        tab = open_tab()
        tab.page.goto(f'{app.url}/?code=secret1')
        tab.settled()
        tab.ask(DIAGRAM)
        expect(tab.reply.get_by_role('img', name='Diagram')).to_be_visible(timeout=PATIENCE)


def test_the_frame_that_draws_diagrams_is_shut_in(app: RunningApp) -> None:
    answer = httpx.get(f'{app.url}/diagrams/frame.html')
    policy = answer.headers['content-security-policy']
    assert policy.startswith("sandbox allow-scripts; default-src 'none'; script-src 'self';")
    assert 'unsafe-eval' not in policy
    assert httpx.get(f'{app.url}/diagrams/index.js').headers['access-control-allow-origin'] == '*'
    assert 'access-control-allow-origin' not in httpx.get(app.url).headers
    assert httpx.get(f'{app.url}/diagrams/../api/health').headers.get('access-control-allow-origin') is None
