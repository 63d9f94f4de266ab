"""What may be in the HTML of a reply, written down a second time, and what a browser would make of that HTML."""

import re
from html.parser import HTMLParser

WORDS = re.compile(r'[\w-]+( [\w-]+)*')
LENGTH = re.compile(r'[+-]?[\d.]{1,6}(em|ex|px|pt)?')
ANYTHING = re.compile(r'[^\x00]*')
WORD_CLASS = {'class': re.compile(r'[a-z0-9 -]+')}
MATH = """
    math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd mstyle
    mpadded mphantom menclose
"""
MATH_WORDS = """
    display displaystyle stretchy fence form movablelimits separator accent largeop mathvariant columnalign columnlines
    rowlines notation scriptlevel
"""
MATH_LENGTHS = 'width height depth voffset lspace rspace minsize maxsize linethickness'
MATH_ATTRIBUTES = {
    **dict.fromkeys(MATH_WORDS.split(), WORDS),
    **dict.fromkeys(MATH_LENGTHS.split(), LENGTH),
    'mathcolor': re.compile(r'\w+|#\w+'),
}
BARE = 'p br hr h1 h2 h3 h4 h5 h6 ul blockquote em strong s table thead tbody tr code-tools chat-diagram'
ALLOWED: dict[str, dict[str, re.Pattern[str]]] = {
    **{tag: {} for tag in BARE.split()},
    **dict.fromkeys(MATH.split(), MATH_ATTRIBUTES),
    **dict.fromkeys(('code', 'li', 'sup', 'th', 'td'), WORD_CLASS),
    **{tag: {**WORD_CLASS, 'tabindex': re.compile('0')} for tag in ('div', 'span', 'pre')},
    'ol': {'start': re.compile(r'\d+')},
    'a': {
        'href': re.compile(r'(https?://|mailto:)\S*', re.IGNORECASE),
        'target': re.compile('_blank'),
        'rel': re.compile('noopener noreferrer'),
        'title': ANYTHING,
        'class': re.compile('image-link'),
    },
}
NEEDED = {'a': {'target', 'rel', 'title'}}


class Page(HTMLParser):
    """What a browser would make of the HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ''
        self.other: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or '' for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.other.append(f'comment {data}')

    def handle_decl(self, decl: str) -> None:
        self.other.append(f'declaration {decl}')

    def handle_pi(self, data: str) -> None:
        self.other.append(f'instruction {data}')

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def violations(html: str) -> list[str]:
    """Return what is in the HTML and must not be."""
    page = Page(html)
    return page.other + [fault for tag, attributes in page.tags for fault in _faults(tag, attributes)]


def _faults(tag: str, attributes: dict[str, str]) -> list[str]:
    if tag not in ALLOWED:
        return [f'<{tag}>']
    wrong = [
        f'<{tag} {name}="{value}">'
        for name, value in attributes.items()
        if name not in ALLOWED[tag] or not ALLOWED[tag][name].fullmatch(value)
    ]
    return wrong + [f'<{tag}> without {name}' for name in NEEDED.get(tag, set()) - attributes.keys()]
