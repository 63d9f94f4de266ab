"""A reply without marks, for the clipboard."""

import pytest

from tests.webui.hostile import DIAGRAMS, FORMULAS, MESSAGES
from webui.plain import plain


@pytest.mark.parametrize(
    ('source', 'text'),
    [
        ('# A title\n\nSome **bold**, *soft* and ~~struck~~ `code`.', 'A title\n\nSome bold, soft and struck code.'),
        ('one\ntwo  \nthree<br>four', 'one\ntwo\nthree\nfour'),
        ('- a\n- b\n  - c\n\n  more\n- d', '- a\n- b\n  - c\n  more\n- d'),
        ('1. a\n1. b\n   - c\n\ntext\n\n7) d', '1. a\n2. b\n   - c\n\ntext\n\n7. d'),
        ('- [x] done\n- [ ] open', '- ☑ done\n- ☐ open'),
        ('- a\n  ```py\n  x = 1\n\n  y\n  ```\n- b', '- a\n\n  x = 1\n\n  y\n\n- b'),
        ('```python\nif x:\n    **y**\n```\n\n    z', 'if x:\n    **y**\n\nz'),
        ('> quoted\n> - a', '> quoted\n>\n> - a'),
        ('| a | b |\n|---|--:|\n| **1** | x<br>y |', 'a\tb\n1\tx y'),
        (
            '[text](https://a.b/c) and https://d.e or <https://f.g>',
            'text (https://a.b/c) and https://d.e or https://f.g',
        ),
        ('![alt](https://a.b/c.png) ![](https://a.b/d.png)', 'alt (https://a.b/c.png) https://a.b/d.png'),
        ('so $x^2$ and\n\n$$\n\\frac{a}{b}\n$$', 'so x^2 and\n\n\\frac{a}{b}'),
        ('note[^1]\n\n[^1]: text', 'note[1]\n\n[1] text'),
        ('5 \\* 3 &lt; 4 costs $5 <b>', '5 * 3 < 4 costs $5 <b>'),
        ('a\n\n---\n\nb', 'a\n\n---\n\nb'),
        ('```\nnot closed', 'not closed'),
        ('', ''),
    ],
)
def test_what_is_copied_as_text(source: str, text: str) -> None:
    assert plain(source) == text


def test_any_text_can_be_copied() -> None:
    for source in [*MESSAGES, *FORMULAS, *DIAGRAMS]:
        assert not plain(source) or plain(f'- {source}\n\n> {source}')
