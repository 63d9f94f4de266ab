"""Whatever a person reads on the page comes from the catalogue: no text stands in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

WEBUI = Path(__file__).parents[2] / 'webui'
PYTHON = sorted([*(WEBUI / 'components').glob('*.py'), *(WEBUI / 'pages').glob('*.py')])
SCRIPTS = sorted([*(WEBUI / 'components').glob('*.js'), *(WEBUI / 'static').glob('*.js')])

SHOWN_ARGUMENTS: dict[str, tuple[int, ...]] = {
    'label': (0,), 'button': (0,), 'tooltip': (0,), 'input': (0,), 'textarea': (0,), 'select': (), 'checkbox': (0,),
    'switch': (0,), 'expansion': (0,), 'menu_item': (0,), 'item_label': (0,), 'notify': (0,), 'link': (0,),
    'chip': (0,), 'skip_link': (0,), 'icon_button': (1,), 'text_button': (0,), 'info_button': (0, 1), 'set_text': (0,),
    'show': (0,),
}  # fmt: skip
"""Which arguments of a call a person reads."""
SHOWN_KEYWORDS = {'label', 'placeholder', 'text', 'title', 'caption', 'name'}
SHOWN_PROPS = ('aria-label', 'placeholder', 'label', 'title', 'aria-roledescription', 'aria-description')
IN_PROPS = re.compile(rf'(?<![:\w-])(?:{"|".join(SHOWN_PROPS)})="?(?=[A-Z])')
IN_TEMPLATES = re.compile(r'(?<![:\w.-])(?:aria-label|placeholder|title|alt)="[A-Z][^"]*"|>\s*[A-Z][a-z]+ ?[a-z]*\s*<')
IN_SCRIPTS = re.compile(r"(?:Error\(|textContent = |ariaLabel = |title = |\? )[`'\"][A-Z][a-z]+[^`'\"]*")
WORDS = re.compile(r'(?=.*[A-Za-z]{2})(?:.*[A-Z]|.*\s)')
"""One small word alone is a name for the program, as in `show('archive')`."""
NAMES = {'Chatbot WebUI'}
"""What is called the same in every language."""
ALLOWED: set[str] = set()
"""Files that still speak English by themselves."""


def literals(source: str) -> Iterator[str]:
    """Yield the texts in Python code that would be shown as they stand there."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call():
                yield from _in_call(node)
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str(prop)))], value=value):
                if prop in SHOWN_PROPS:
                    yield from _texts(value)


def _in_call(call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, 'id', '')
    for place in SHOWN_ARGUMENTS.get(name, ()):
        yield from _texts(call.args[place]) if place < len(call.args) else ()
    if name in SHOWN_ARGUMENTS:
        for keyword in call.keywords:
            yield from _texts(keyword.value) if keyword.arg in SHOWN_KEYWORDS else ()
    if name == 'props' and call.args:
        yield from (text for text in _strings(call.args[0]) if IN_PROPS.search(text))


def _texts(value: ast.expr) -> Iterator[str]:
    """Yield the strings in an expression that have words in them; keys such as `page.hint` have none."""
    match value:
        case ast.Call():
            return  # `say`, or something that says
        case ast.JoinedStr() | ast.Constant() | ast.IfExp() | ast.BinOp() | ast.Tuple():
            yield from (text for text in _strings(value) if WORDS.search(text) and text not in NAMES)


def _strings(value: ast.expr) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            for part in parts:
                yield from _strings(part)
        case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, right=other):
            yield from _strings(one)
            yield from _strings(other)
        case ast.Tuple(elts=parts):
            for part in parts:
                yield from _strings(part)


def written_in(script: str) -> list[str]:
    """Return the texts in a script that would be shown as they stand there."""
    code = re.sub(r'^\s*//.*$', '', script, flags=re.MULTILINE)
    return [found.strip() for pattern in (IN_TEMPLATES, IN_SCRIPTS) for found in pattern.findall(code)]


@pytest.mark.parametrize('file', PYTHON, ids=lambda file: file.name)
def test_every_text_of_the_page_is_said(file: Path) -> None:
    found = list(literals(file.read_text('utf-8')))

    assert found == [] or file.name in ALLOWED


@pytest.mark.parametrize('file', SCRIPTS, ids=lambda file: file.name)
def test_every_text_of_a_script_is_given_to_it(file: Path) -> None:
    found = written_in(file.read_text('utf-8'))

    assert found == [] or file.name in ALLOWED


@pytest.mark.parametrize(
    'source',
    [
        "ui.label('Hello there')",
        "ui.label(f'{n} messages')",
        "ui.tooltip('Why' if why else '')",
        "icon_button('close', 'Close', f)",
        "text_button(text='Save', on_click=f)",
        'field.props(\'dense aria-label="Name of it"\')',
        "field.props['placeholder'] = 'Type here'",
        "toasts.show(f'“{title}” is gone.', action=('Undo', f))",
    ],
)
def test_a_text_that_is_not_said_would_be_found(source: str) -> None:
    assert list(literals(source))


@pytest.mark.parametrize(
    'source',
    [
        "ui.label(say('page.hello'))",
        'ui.label(name)',
        "ui.label('Chatbot WebUI')",
        "icon_button('close', say('common.close'), f, testid='close-it')",
        "field.props('dense data-testid=name')",
        "field.props['aria-label'] = say('page.name')",
        "ui.label(f'{used} / {limit}')",
    ],
)
def test_what_is_said_is_not_found(source: str) -> None:
    assert list(literals(source)) == []


@pytest.mark.parametrize(
    'script',
    ['<button title="Stop (Esc)">', "throw new Error('The app is gone')", "b.textContent = ok ? 'Copied' : ''"],
)
def test_a_text_in_a_script_would_be_found(script: str) -> None:
    assert written_in(script)
