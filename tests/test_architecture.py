"""The shape that docs/architecture.md draws: who imports whom, and which door each outside library has."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT: dict[str, set[str]] = {
    'inference': set(),
    'presets': {'inference'},
    'runtimes': {'inference'},
    'webui': {'inference', 'presets', 'runtimes'},
}
DOORS: dict[str, tuple[str, ...]] = {
    'llama_cpp': (
        'inference/library*.py',
        'inference/ggml.py',
        'inference/adapters.py',
        'inference/runner.py',
        'inference/sampler.py',
        'inference/embedding.py',
        'inference/baseline.py',
        'inference/memory_child.py',
    ),
    'jinja2': ('inference/sandbox*.py',),
    'pypdf': ('webui/documents/pdf.py',),
    'docx': ('webui/documents/word.py',),
    'tinydb': ('presets/storage.py',),
    'sqlite3': ('presets/search*.py',),
    'nicegui': ('webui/*',),
    'multiprocessing': ('webui/bench/fuzz/worker.py',),
    'subprocess': (
        'inference/preflight.py',
        'inference/dry_run.py',
        'inference/tuner.py',
        'webui/supervisor.py',
        'webui/launch.py',
        'webui/documents/reader.py',
        'webui/bench/servers.py',
        'runtimes/*',
    ),
}
OWN = {*MAY_IMPORT, 'tests', 'run'}
STARTS_PROCESSES = {'create_subprocess_exec', 'create_subprocess_shell', 'system', 'popen', 'fork', 'posix_spawn'}
IMPORTS_BY_NAME = {'import_module', '__import__'}
WORKING_FOLDERS = {'models', 'test-results', '__pycache__'}
LONGEST_FUNCTION = 60

FILES = [path.relative_to(ROOT).as_posix() for room in MAY_IMPORT for path in sorted((ROOT / room).rglob('*.py'))]


def breaches(file: str, source: str) -> list[str]:
    """Return what in the source of `file` is against the rules; nothing is imported for it."""
    tree = ast.parse(source, file)
    return [*_wrong_imports(file, tree), *_long_functions(tree)]


def _wrong_imports(file: str, tree: ast.AST) -> Iterator[str]:
    room = file.split('/', maxsplit=1)[0]
    for name in sorted(set(_used(tree))):
        if name in OWN - {room} - MAY_IMPORT[room]:
            yield f'{file}: {room} must not import {name}'
        if name in DOORS and not any(fnmatch(file, door) for door in DOORS[name]):
            yield f'{file}: {name} belongs into {", ".join(DOORS[name])}'


def _used(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level names of imported modules, however they are imported, and of starting processes."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (_top(alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield _top(module)
            case ast.Call(
                func=ast.Attribute(attr=name) | ast.Name(id=name), args=[ast.Constant(value=str(module)), *_]
            ):
                if name in IMPORTS_BY_NAME:
                    yield _top(module)
        match node:
            case ast.Attribute(value=ast.Name(id='asyncio' | 'os'), attr=name) if name in STARTS_PROCESSES:
                yield 'subprocess'


def _top(module: str) -> str:
    return module.partition('.')[0]


def _long_functions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f'{node.name} has {lines} lines, more than {LONGEST_FUNCTION}'


@pytest.mark.parametrize('file', FILES)
def test_the_rules_are_kept(file: str) -> None:
    assert breaches(file, (ROOT / file).read_text(encoding='utf-8')) == []


def test_the_folders_are_those_that_were_asked_for() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith('.')}

    assert folders - WORKING_FOLDERS == {*MAY_IMPORT, 'tests', 'docs'}


def test_files_are_looked_at_in_every_room() -> None:
    assert {file.split('/')[0] for file in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ('file', 'source', 'breach'),
    [
        ('inference/x.py', 'import webui.app', 'inference must not import webui'),
        ('inference/x.py', 'from presets.chats import Chat', 'inference must not import presets'),
        ('presets/x.py', 'def f():\n    from runtimes import packs', 'presets must not import runtimes'),
        ('runtimes/x.py', 'import presets as p', 'runtimes must not import presets'),
        ('webui/x.py', 'import tests.tiny_models', 'webui must not import tests'),
        ('webui/x.py', 'import os, llama_cpp.llama_cpp as C', 'llama_cpp belongs into inference/library*.py'),
        ('inference/llama.py', "importlib.import_module('llama_cpp')", 'llama_cpp belongs into'),
        ('presets/chats.py', 'from tinydb import TinyDB', 'tinydb belongs into presets/storage.py'),
        ('presets/x.py', 'if True:\n    from nicegui import ui', 'nicegui belongs into webui/*'),
        ('webui/pages/chat.py', 'from subprocess import run', 'subprocess belongs into'),
        ('webui/app.py', 'await asyncio.create_subprocess_exec("x")', 'subprocess belongs into'),
        ('webui/markdown.py', 'import jinja2', 'jinja2 belongs into inference/sandbox*.py'),
        ('webui/x.py', 'def long():\n' + '    pass\n' * 60, 'long has 61 lines'),
    ],
)
def test_a_breach_would_be_found(file: str, source: str, breach: str) -> None:
    (found,) = breaches(file, source)

    assert breach in found


@pytest.mark.parametrize(
    ('file', 'source'),
    [
        ('webui/app.py', 'import inference.chat, presets.chats, runtimes, nicegui'),
        ('webui/launch.py', 'import subprocess'),
        ('runtimes/process.py', 'import subprocess\nfrom inference.chat import Message'),
        ('inference/llama.py', 'from inference.runner import ModelRunner\nfrom . import chat'),
        ('webui/x.py', 'def long():\n' + '    pass\n' * 59),
    ],
)
def test_what_is_allowed_is_no_breach(file: str, source: str) -> None:
    assert breaches(file, source) == []
