"""The colours of both themes can be told apart by those who see little, and all text follows the chosen size."""

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / 'webui' / 'static'
READABLE, VISIBLE = 4.5, 3.0
"""What WCAG 2.1 asks for of text (1.4.3), and of what is not text (1.4.11)."""

TEXTS = [
    *[(text, ground) for text in ('text', 'muted') for ground in ('page', 'side', 'raised', 'hover')],
    *[(text, ground) for text in ('danger', 'ok') for ground in ('page', 'side', 'raised')],
    ('on-accent', 'accent'),
    ('page', 'text'),
    ('page', 'danger'),
]
SIGNS = [('accent', ground) for ground in ('page', 'side', 'raised', 'hover')]
ICON = re.compile(r'q-icon|(?:^|\s)i \{')
FONT_SIZE = re.compile(r'font-size:\s*([^;}]+)')


def tokens(theme: str) -> dict[str, str]:
    """Return the colours of a theme by name; those of the dark one stand over those of the light one."""
    light, dark = re.findall(r'(?:^:root|^body\.body--dark) \{(.*?)^\}', theme_css(), re.MULTILINE | re.DOTALL)
    names = re.compile(r'--([\w-]+): (#[0-9a-f]{6})')
    return dict(names.findall(light)) | (dict(names.findall(dark)) if theme == 'dark' else {})


def theme_css() -> str:
    return (STATIC / 'theme.css').read_text('utf-8')


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize(('text', 'ground'), TEXTS)
def test_text_can_be_read_on_everything_it_stands_on(theme: str, text: str, ground: str) -> None:
    colours = tokens(theme)

    assert contrast(colours[text], colours[ground]) >= READABLE


@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize(('sign', 'ground'), SIGNS)
def test_the_focus_can_be_seen_on_everything(theme: str, sign: str, ground: str) -> None:
    colours = tokens(theme)

    assert contrast(colours[sign], colours[ground]) >= VISIBLE


def test_contrast_is_what_wcag_says() -> None:
    assert contrast('#000000', '#ffffff') == 21
    assert contrast('#777777', '#ffffff') == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize('file', sorted(STATIC.glob('*.css')), ids=lambda file: file.name)
def test_every_text_follows_the_chosen_size(file: Path) -> None:
    if file.name == 'print.css':  # on paper, points are points
        return
    rules = [rule for rule in re.findall(r'[^{}]+\{[^{}]*\}', file.read_text('utf-8')) if not ICON.search(rule)]

    sizes = {size.strip() for rule in rules for size in FONT_SIZE.findall(rule)}
    assert {size for size in sizes if re.search(r'\dpx', size)} == set()
