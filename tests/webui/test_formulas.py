"""Formulas in replies: what is one, what is not, and that none of them acts or costs without bound."""

import random
from itertools import pairwise

import pytest

from tests.webui.safe_html import Page, violations
from webui import formulas
from webui.blocks import Block, BlockSplitter
from webui.formula_lines import LIMIT
from webui.markdown import render, render_block


def split(*chunks: str) -> list[Block]:
    splitter = BlockSplitter()
    return [block for chunk in chunks for block in splitter.feed(chunk)] + splitter.finish()


def shown(source: str) -> str:
    """What stands on the page, with each formula in braces."""
    return ' '.join(Page(render(source).replace('<math', '{<math').replace('</math>', '</math>}')).text.split())


def preview(source: str) -> str:
    splitter = BlockSplitter()
    splitter.feed(source)
    return Page(render_block(splitter.preview())).text.strip()


@pytest.mark.parametrize(
    'source',
    [
        'so $x+1$ is',
        r'so \(x+1\) is',
        'so $$x+1$$ is',
        r'so \[x+1\] is',
        '(so $x+1$, is)',
        '**so $x+1$ is**',
        'so $x\n+1$ is',
        '| so $x+1$ is |\n|---|',
        '- so $x+1$ is',
        '> so $x+1$ is',
        '设$x+1$为',
    ],
)
def test_a_formula_in_text(source: str) -> None:
    assert '{x+1}' in shown(source)
    assert '$' not in shown(source)


@pytest.mark.parametrize(
    'source',
    [
        '$$\nx\n\n+ 1\n$$',
        '$$x\n+1$$',
        '$$ x+1 $$',
        '\\[\nx\n=== 1\n\\]',
        '```math\nx+1\n```',
        '~~~~ math\nx\n\n+1\n~~~~',
        '\\begin{equation}\nx\n+ 1\n\\end{equation}',
        'text: $$\nx\n- 1\n$$',
        'text:\n$$\nx\n# 1\n$$, and more',
        '> $$\n> x\n> - 1\n> $$',
        '- item\n  $$\n  x\n\n  - 1\n  $$\n  more',
        '1. $$\n   x\n   + 1\n   $$',
        '- text: \\[\n  x\n  \\]',
    ],
)
def test_a_formula_with_lines_of_its_own(source: str) -> None:
    page = Page(render(source.replace('# 1', '+ 1')))
    assert [math['display'] for math in page.all('math')] == ['block']
    assert not {'h1', 'h2', 'table'} & {tag for tag, _ in page.tags}
    assert '$' not in page.text


@pytest.mark.parametrize(
    'text',
    [
        'It costs $5 and $10.',
        'from $5-$10',
        'US$5 or CA$6',
        '$5, $6 or $7',
        '$1,000.50 (was $2,000)',
        'a $5/month, $50/year plan',
        'between $5M and $6M',
        'the $HOME and $PATH variables',
        '$HOME/bin:$PATH',
        '5$ and 10$',
        '**$5** or *$6*',
        '$20 each, or 3 for 50$',
        '$ x $',
        'costs $$ and $$$',
        '$',
        '$$',
        'a$b$c',
        r'\$5 and \$6',
        '| $5 | $6 |\n|---|---|\n| $7 | $8 |',
    ],
)
def test_prices_and_variables_stay_text(text: str) -> None:
    page = Page(render(text))
    assert page.all('math') == []
    assert page.text.count('$') == text.count('$')


def test_code_holds_no_formulas() -> None:
    assert Page(render('`$x$` and\n\n    $y$\n\n```\n$$\nz\n$$\n```')).all('math') == []


@pytest.mark.parametrize(
    'source',
    [r'\unknown{x}', r'\begin{tikzpicture} x \end{tikzpicture}', r'\left( x', 'x^', 'a & b', 'x' * (LIMIT + 1)],
)
def test_what_cannot_be_read_stays_as_it_was_written(source: str) -> None:
    page = Page(render(f'so ${source}$ is'))
    assert page.all('math') == []
    assert f'${source}$' in page.text
    assert {'class': 'formula-source'} in page.all('code')


@pytest.mark.parametrize(
    ('latex', 'expected'),
    [
        (r'\frac{a}{b}', '<mfrac>'),
        (r'\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}', '<mtable>'),
        (r'\begin{aligned} a &= b \\ c &= d \end{aligned}', '<mtd columnalign="right"><mi>a</mi></mtd>'),
        (r'a &= b \\ c &= d', '<mtable displaystyle="true">'),
        (r'\begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}', '<mtext>otherwise</mtext>'),
        (r'\begin{alignat}{2} a &= b \end{alignat}', '<mtable'),
        (r'\begin{gather*} a \\ b \label{eq:1} \end{gather*}', '<mtable'),
        (r'\lim_{x \to 0} x', '<munder><mo movablelimits="true">lim</mo>'),
        (r'x \tag{3}', '<mtext>(3)</mtext>'),
        (r'a \! b \, c', '<mspace width="-0.167em">'),
        (r'\text{a < b & c}', 'a\xa0&lt;\xa0b\xa0&amp;\xa0c'),
    ],
)
def test_what_models_write_is_understood(latex: str, expected: str) -> None:
    assert expected in formulas.mathml(latex, display=True)


def test_what_only_started_like_a_formula_is_text_again() -> None:
    assert [block.text for block in split('$$\nnot closed\n\n- **a**\n', '# Title\n\ntext')] == [
        '$$\nnot closed', '- **a**', '# Title', 'text',
    ]  # fmt: skip
    long = 'words\n' * (LIMIT // 3)
    assert 'pre' not in {tag for tag, _ in Page(render(f'$$\n{long}\n\n**bold**')).tags}


def test_a_reply_that_ends_within_a_formula_shows_its_source() -> None:
    page = Page(render('text\n\n$$\n\\frac{a}{b'))
    assert page.text.split() == ['text', '$$', r'\frac{a}{b']
    assert page.all('pre') == [{'class': 'formula-source', 'tabindex': '0'}]


def test_a_formula_that_is_being_written_looks_as_it_is_written() -> None:
    latex = r'$a_1 \cdot b_1 * c * \_ **d**'
    for end in range(2, len(latex)):
        assert preview(f'so {latex[:end]}').rstrip('*`') == f'so {latex[:end]}'.strip().rstrip('*`')
    assert preview('so \\(x_1 + y_1') == 'so \\(x_1 + y_1'
    assert preview('text\n\n$$\nx_1 + y_1\n\n+ z') == '$$\nx_1 + y_1\n\n+ z'
    assert preview('**so $x') == 'so $x'
    assert preview('text\n$$') == 'text'


@pytest.mark.parametrize('seed', range(40))
def test_formulas_are_cut_the_same_however_they_arrive(seed: int) -> None:
    chance = random.Random(seed)
    marks = [
        '$',
        '$$',
        '$$',
        '\\[',
        '\\]',
        '\\(',
        '\\)',
        '\\',
        '\\begin{align}',
        '\\end{align}',
        '&',
        '{',
        '}',
        '```math',
    ]
    words = [
        '\n',
        '\n',
        '\n\n',
        ' ',
        '  ',
        '- ',
        '1. ',
        '> ',
        '```',
        '|',
        '# ',
        'x',
        '5',
        '`',
        '**',
        'z' * 3000,
        *marks,
    ]
    source = ''.join(chance.choices(words, k=400))
    pieces, rest = [], source
    while rest:
        size = chance.randint(1, 9)
        pieces.append(rest[:size])
        rest = rest[size:]
    assert split('', *pieces) == split(source)
    assert violations(render(source)) == []


BOMBS = {
    'macros': ''.join(rf'\def\{b}{{\{a}\{a}\{a}\{a}}}' for a, b in pairwise('xabcdefghi')) + r'\i',
    'a macro in itself': r'\def\a{\a\a}\a',
    'a new command': r'\newcommand{\a}[1]{#1#1\a{#1#1}}\a{x}',
    'a new environment': r'\newenvironment{a}{\begin{a}}{\end{a}}\begin{a}x\end{a}',
    'nested roots': r'\sqrt{' * 500 + 'x' + '}' * 500,
    'nested fractions': r'\frac{' * 300 + 'x' + '}{y}' * 300,
    'open braces': '{' * 4000,
    'delimiters': r'\left(' * 300 + 'x' + r'\right)' * 300,
    'exponents': 'x^{' * 800 + 'y' + '}' * 800,
    'environments': r'\begin{matrix}' * 130 + 'x' + r'\end{matrix}' * 130,
    'cells': '&' * 4000,
    'choices': r'\mathchoice{' * 100,
    'primes': "x" + "'" * 4000,
    'backslashes': '\\' * 4000,
    'sizes': r'\Huge ' * 600 + 'x',
    'middle': r'\middle' * 400,
    'not': r'\not' * 1000,
}  # fmt: skip


@pytest.mark.parametrize('latex', BOMBS.values(), ids=BOMBS)
def test_no_formula_costs_without_bound(latex: str) -> None:
    html = formulas.mathml(latex, display=True)
    assert html.count('<m') <= formulas.MOST_ELEMENTS
    assert violations(render(f'$$\n{latex}\n$$')) == []
