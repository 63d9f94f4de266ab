"""The second wall: what does not belong into a reply is taken out of its HTML, whoever put it there."""

import nh3
from pygments.token import STANDARD_TYPES

from webui import formulas


def clean(content: str) -> str:
    """Return HTML with nothing in it but what our own renderer makes."""
    try:
        return _CLEANER.clean(content)
    except UnicodeEncodeError:  # half a character, as a damaged file may hold
        return _CLEANER.clean(content.encode('utf-8', 'replace').decode())


_TAGS = (
    'p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote em strong s sup code pre a table thead tbody tr th td div span '
    'code-tools chat-diagram'
)
_ATTRIBUTES = {
    'a': {'href', 'title'},
    'ol': {'start'},
    **{tag: set(formulas.ATTRIBUTES) for tag in formulas.TAGS},
}
_CLASSES = {
    'a': {'image-link'},
    'code': {'formula-source'},
    'div': {'code-block', 'code-head', 'table-scroll', 'formula'},
    'li': {'task'},
    'pre': {'code-body', 'formula-source'},
    'span': {'code-language', 'formula', *STANDARD_TYPES.values()} - {''},
    'sup': {'footnote', 'footnote-note'},
    'td': {'align-left', 'align-center', 'align-right'},
    'th': {'align-left', 'align-center', 'align-right'},
}
_FIXED = {'a': {'target': '_blank'}, 'pre': {'tabindex': '0'}}

_CLEANER = nh3.Cleaner(
    tags={*_TAGS.split(), *formulas.TAGS},
    attributes={'*': set(), **_ATTRIBUTES},
    allowed_classes=_CLASSES,
    set_tag_attribute_values=_FIXED,
    tag_attribute_values={'div': {'tabindex': {'0'}}, 'span': {'tabindex': {'0'}}},
    url_schemes={'http', 'https', 'mailto'},
    url_relative='deny',
    link_rel='noopener noreferrer',
)
