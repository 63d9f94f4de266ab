"""What llama.cpp would answer by ending the process when it embeds; shown in a child process, which may end.

Run as a script, this file is that child: it makes every attempt and says what came of it.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from inference.catalog import Catalog, ModelFile
from inference.embedder import EmbeddingEngine
from inference.embedding import EmbeddingContext, EmbeddingJob
from inference.engine import Engine
from inference.errors import InferenceError
from inference.gguf import read_header
from inference.llama import LlamaEngine
from inference.runner import ModelRunner
from inference.settings import LoadSettings
from tests import tiny_encoders as encoders
from tests import tiny_models as tiny

ROOT = Path(__file__).parents[2]
QUICK = LoadSettings(n_ctx=512, n_threads=1, use_extra_bufts=False)
NASTY = (
    ' ',
    '\n\t\r',
    '\ufffd',
    '\0\1\2',
    'half a pair \ud83d',
    '🙂👩‍👩‍👧‍👦 مرحبا 漢字 \u202e\ufeff\uffff',
    '[CLS][SEP][PAD][MASK][UNK]',
    '<s></s><unk><|im_start|>',
    '{query}{document}',
    'x' * 200_000,
    ' ' * 50_000,
    '漢' * 20_000,
)

STEPS: dict[str, Callable[[EmbeddingContext, int], list[list[int]]]] = {
    'a text without tokens': lambda context, n_vocab: [[]],
    'a text without tokens among others': lambda context, n_vocab: [[5], [], [6]],
    'a token below the vocabulary': lambda context, n_vocab: [[5, -1]],
    'a token beyond the vocabulary': lambda context, n_vocab: [[5], [n_vocab]],
    'a text that is too long': lambda context, n_vocab: [[5] * (context.limit + 1)],
    'a text that is far too long': lambda context, n_vocab: [[5], [5] * (context.limit * 3)],
}
MODELS: dict[str, Callable[[Path], Path]] = {
    'encoder': encoders.write_encoder,
    'reranker': encoders.write_reranker,
    'chat': lambda path: tiny.write_tiny_model(path, babbles=True),
}
CHAT_MODELS: dict[str, dict[str, Any]] = {
    'wider vectors than there are': {'llama__embedding_length_out': 4096},
    'narrower vectors than there are': {'llama__embedding_length_out': 8},
    'a pooling nobody knows': {'llama__pooling_type': 77},
    'no pooling': {'llama__pooling_type': 0},
}


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each attempt came to; those after a crash are missing."""
    child = subprocess.run(
        [sys.executable, __file__, tmp_path_factory.mktemp('models')],
        cwd=ROOT,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    said = dict(json.loads(line) for line in child.stdout.splitlines())
    return {'exit': str(child.returncode), 'errors': child.stderr[-2000:]} | said


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('attempt', STEPS)
def test_what_would_end_the_process_is_refused(outcomes: dict[str, str], model: str, attempt: str) -> None:
    assert outcomes[f'{model}: {attempt}'].startswith('DecodeFailed: ')


@pytest.mark.parametrize('model', MODELS)
def test_no_text_does_harm(outcomes: dict[str, str], model: str) -> None:
    assert outcomes[f'{model}: texts'] == 'all were embedded or refused'


@pytest.mark.parametrize('model', CHAT_MODELS)
def test_a_chat_model_with_an_odd_header_embeds_or_says_why_not(outcomes: dict[str, str], model: str) -> None:
    assert outcomes[model].startswith('InvalidRequest: ' if 'vectors' in model else '(1, 64)')


def test_after_all_that_the_process_lives(outcomes: dict[str, str]) -> None:
    assert outcomes['exit'] == '0', outcomes['errors']


def _main(folder: Path) -> None:
    logger.remove()
    for name, write in MODELS.items():
        path = write(folder / f'{name}.gguf')
        _try_steps(name, path)
        _report(f'{name}: texts', _run(_texts(path)))
    for name, overrides in CHAT_MODELS.items():
        _report(name, _run(_one_text(tiny.write_tiny_model(folder / 'odd.gguf', **overrides))))


def _try_steps(name: str, path: Path) -> None:
    runner = ModelRunner.load(path, QUICK, on_progress=lambda share: True)
    context = EmbeddingContext(runner, read_header(path), QUICK)
    for attempt, texts in STEPS.items():
        job = EmbeddingJob(texts(context, runner.n_vocab))
        try:
            while not job.is_done:
                context.step(job, seconds=1)
            _report(f'{name}: {attempt}', 'it was computed')
        except InferenceError as error:
            _report(f'{name}: {attempt}', f'{type(error).__name__}: {error}')
    runner.close()


async def _texts(path: Path) -> str:
    engine = await _load(path)
    dice = random.Random(3)
    texts = [*NASTY, *(_random_text(dice) for _ in range(60))]
    for text in texts:
        for truncate in (False, True):
            await _attempt(engine.embed([text, 'the cat'], truncate=truncate))
            await _attempt(engine.rerank(text, ['the cat', text], truncate=truncate))
    await _attempt(engine.embed(texts, truncate=True))
    await engine.close()
    return 'all were embedded or refused'


async def _one_text(path: Path) -> str:
    engine = await _load(path)
    try:
        return str((await engine.embed(['hello'])).vectors.shape)
    finally:
        await engine.close()


async def _load(path: Path) -> Engine:
    catalog = Catalog([], [path])
    catalog.scan()
    model: ModelFile = catalog.models[0]
    if model.kind == 'chat':
        return await LlamaEngine.load(model, QUICK)
    return await EmbeddingEngine.load(model, QUICK)


async def _attempt(work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except InferenceError as refusal:
        assert str(refusal)  # noqa: PT017 (either is right)


def _random_text(dice: random.Random) -> str:
    parts = [
        'cat',
        ' ',
        '[SEP]',
        '</s>',
        '\n',
        '\ufffd',
        chr(dice.randrange(0xD800)),
        chr(dice.randrange(0x10000, 0x10FFFF)),
    ]
    return ''.join(dice.choices(parts, k=dice.randrange(1, 300)))


def _run(work: Coroutine[Any, Any, str]) -> str:
    try:
        return asyncio.run(work)
    except InferenceError as error:
        return f'{type(error).__name__}: {error}'


def _report(attempt: str, outcome: str) -> None:
    sys.stdout.write(json.dumps([attempt, outcome]) + '\n')
    sys.stdout.flush()


if __name__ == '__main__':
    _main(Path(sys.argv[1]))
