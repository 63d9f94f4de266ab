"""Replies as the page gets them: nothing in them acts, and how they arrive changes nothing."""

import random
import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from tests.webui.safe_html import Page, violations
from webui.blocks import LIMIT, PIECE_SIZE, Block, BlockSplitter
from webui.code_blocks import code_body
from webui.markdown import render

REPLY = '''\
# A title

Some **bold** text with `code`:
- one
- two
  - nested

  more of two
1. first
   ```python
   def f():
       return """a

   b"""
   ```
   after the code
1. second
* ~~~
  in tildes
  ~~~

| a | b |
|---|--:|
| 1 | x<br>y |

> quoted
lazily
> ```js
> let a
> ```

Setext
---

    indented code

    more of it
***
- [x] done
- [ ] open

```c++ title="x"
int main() {}
```
The end\r\nwith a different\rline end
```
never closed'''


def split(source: str, *chunks: str) -> list[Block]:
    splitter = BlockSplitter()
    blocks = [block for chunk in chunks or (source,) for block in splitter.feed(chunk)]
    return blocks + splitter.finish()


def cut(source: str, longest: int, chance: random.Random) -> Iterator[str]:
    while source:
        size = chance.randint(1, longest)
        yield source[:size]
        source = source[size:]


def test_a_picture_is_a_link_and_not_loaded() -> None:
    page = Page(render('![a cat](https://example.org/cat.png)'))
    assert page.all('img') == []
    assert page.all('a')[0]['href'] == 'https://example.org/cat.png'
    assert page.text.strip() == 'a cat'


def test_code_has_its_language_a_place_for_buttons_and_colours() -> None:
    page = Page(render('```python\nreturn 1  # <b>\n```'))
    assert page.text == 'pythonreturn 1  # <b>\n'
    assert page.all('code-tools') == [{}]
    assert {'class': 'k'} in page.all('span')
    assert {'class': 'c1'} in page.all('span')


@pytest.mark.parametrize(
    'language', ['python', 'html', 'php', 'diff', 'console', 'jinja', 'c', 'yaml', 'unheard-of', '']
)
def test_code_keeps_every_character(language: str) -> None:
    code = '\n\n  def f(a) { "é\t<&>" }\n<?php ?> {{ x }}\n$ ls \\\n\n\n  '
    assert Page(f'<code>{code_body(code, language)}</code>').text == code


def test_text_that_is_hard_to_colour_loses_colour_and_not_text() -> None:
    code = 'some words\n' * 10_000  # as C#, cubic time
    assert Page(code_body(code, 'csharp')).text == code
    assert code_body('x = 1 ' * 1000, 'python') == 'x = 1 ' * 1000


def test_tables_scroll_and_align() -> None:
    page = Page(render('| a | b |\n|---|--:|\n| 1 | x<br>y |'))
    assert {'class': 'table-scroll', 'tabindex': '0'} in page.all('div')
    assert page.all('td') == [{}, {'class': 'align-right'}]
    assert page.all('br') == [{}]


def test_a_definition_does_not_vanish() -> None:
    assert Page(render('[1]: https://example.org')).text.strip() == '[1]: https://example.org'


def test_list_items_are_blocks_that_count_on() -> None:
    source = '1. a\n1. b\n   ```\n   code\n   ```\n   more\n1. c\n\ntext\n\n7. d\n8. e'
    assert [(block.text, block.number, block.depth) for block in split(source) if block.kind == 'markdown'] == [
        ('1. a', 1, 0),
        ('1. b', 2, 0),
        ('more', None, 1),
        ('1. c', 3, 0),
        ('text', None, 0),
        ('7. d', 7, 0),
        ('8. e', 8, 0),
    ]
    assert [ol['start'] for ol in Page(render(source)).all('ol')] == ['1', '2', '3', '7', '8']


def test_a_code_block_is_handed_out_while_it_is_open() -> None:
    splitter = BlockSplitter()
    assert splitter.feed('```py\n') == [Block('code_open', language='py')]
    pieces = splitter.feed('x = 1\n' * 1000)
    assert {(block.kind, block.text) for block in pieces} == {('code_more', 'x = 1\n' * 20)}
    assert splitter.tail == ''
    assert splitter.feed('```\n') == [Block('code_close', language='py')]


def test_code_in_a_list_item_loses_the_indentation_of_the_item() -> None:
    blocks = split('- a\n  ```\n  x\n    y\n\n  ```\n- b')
    assert [(block.kind, block.text, block.depth) for block in blocks] == [
        ('markdown', '- a', 0),
        ('code_open', '', 1),
        ('code_more', 'x\n  y\n\n', 1),
        ('code_close', '', 1),
        ('markdown', '- b', 0),
    ]


def test_a_long_table_repeats_its_header_where_it_is_cut() -> None:
    blocks = split('| a | b |\n|---|---|\n' + '| 1 | 2 |\n' * 2000)
    assert len(blocks) == 3
    assert all(block.text.startswith('| a | b |\n|---|---|\n| 1 | 2 |') for block in blocks)
    assert len(Page(render('\n'.join(['| a | b |', '|---|---|', *['| 1 | 2 |'] * 2000]))).all('tr')) == 2003


@pytest.mark.parametrize('longest', [1, 2, 7, 60, 400])
def test_blocks_do_not_depend_on_how_the_text_arrives(longest: int) -> None:
    chance = random.Random(longest)
    source = REPLY + '\n```\n\n' + 'long ' * 4000 + '\n- ' + 'x' * 20_000 + '\n```\n' + 'y' * 20_000 + '\n```\n'
    assert split('', *cut(source, longest, chance)) == split(source)


@pytest.mark.parametrize('seed', range(60))
def test_random_text_is_cut_the_same_however_it_arrives(seed: int) -> None:
    chance = random.Random(seed)
    words = ['\n', '\n', '\n\n', ' ', '  ', '    ', '\t', '- ', '* ', '1. ', '2) ', '> ', '```', '~~~~', '|', '|-|-|',
             '# ', '---', '===', 'word', '`', '**', '\r', '\r\n', '<b>', '[x](y)', '[ ] ', 'ß', 'z' * 3000]  # fmt: skip
    source = ''.join(chance.choices(words, k=400))
    assert split('', *cut(source, 9, chance)) == split(source)
    assert violations(render(source)) == []


def test_no_word_is_lost() -> None:
    text = Page(render(REPLY)).text
    source = re.sub(r'<br>|title="x"|\[x\]|\d\. ', ' ', REPLY)
    assert [word for word in re.findall(r'\w+', source) if word not in text] == []


def test_the_preview_does_not_show_marks_that_turn_into_something_else() -> None:
    def shown(source: str) -> str:
        splitter = BlockSplitter()
        splitter.feed(source)
        return splitter.preview().text

    assert shown('Points:\n-') == 'Points:'
    assert shown('Code:\n``') == 'Code:'
    assert shown('| a | b |\n|--') == ''
    assert shown('This is **bo') == 'This is **bo**'
    assert shown('Call `f') == 'Call `f`'
    assert shown('```py\nx = 1\n``') == 'x = 1\n'
    assert shown('2 * 3') == '2 * 3'


LONG = {
    'one line': 'word ' * 20_000,
    'no space': 'w' * 100_000,
    'brackets': '[' * 100_000,
    'images': '![' * 50_000,
    'stars': '**a ' * 25_000,
    'quotes': '>' * 100_000,
    'quoted lines': '>\n' * 50_000,
    'list': '- item\n' * 14_000,
    'dashes': '- ' * 50_000,
    'nested list': ''.join('  ' * (i % 300) + '- a\n' for i in range(350)),
    'item': '- a\n' + '  more of it\n' * 8000,
    'table': '|a|b|\n|-|-|\n' + '|x|y|\n' * 16_000,
    'wide table': '|a' * 50_000 + '\n' + '|-' * 50_000 + '\n' + '|\n' * 1000,
    'code': '```py\n' + 'x = (\n' * 16_000,
    'code line': '```py\n' + 'x' * 100_000,
    'backticks': '` `` ' * 20_000,
    'fences': '```\n' * 25_000,
    'blank': '- a\n' + '\n' * 100_000,
}


@pytest.mark.parametrize('source', LONG.values(), ids=LONG)
def test_neither_the_tail_nor_a_block_grows_without_bound(source: str) -> None:
    splitter = BlockSplitter()
    for start in range(0, len(source), 1000):
        blocks = splitter.feed(source[start : start + 1000])
        assert len(splitter.tail) < 2 * LIMIT + 1000
        assert all(len(block.text) <= 2 * LIMIT + LIMIT // 8 for block in blocks)
        assert all(len(block.text) <= PIECE_SIZE + LIMIT for block in blocks if block.kind == 'code_more')


@pytest.mark.parametrize('source', LONG.values(), ids=LONG)
def test_twice_the_text_is_twice_the_work(source: str) -> None:
    assert calls(lambda: split(source + source)) < 2.2 * calls(lambda: split(source)) + 500
    start = source[:10_000]
    assert calls(lambda: split('', *start, *start)) < 2.2 * calls(lambda: split('', *start)) + 500


@pytest.mark.parametrize('name', ['brackets', 'stars', 'table', 'wide table', 'nested list', 'backticks'])
def test_twice_the_text_is_twice_the_rendering(name: str) -> None:
    source = LONG[name][: 2 * LIMIT]
    assert calls(lambda: render(source + source)) < 2.2 * calls(lambda: render(source))


def calls(work: Callable[[], object]) -> int:
    """Count the calls of functions that the work takes, which unlike time is the same on every machine."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in {'call', 'c_call'}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted
