"""What llama.cpp would answer by ending the process is refused before; shown in a child process, which may end.

Run as a script, this file is that child: it makes every attempt and says what came of it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from inference.errors import InferenceError
from inference.library import default_threads
from inference.runner import Decoded, ModelRunner
from inference.sampler import Sampler
from inference.scheduler import Request, Slot, Work
from inference.settings import LoadSettings, SamplingSettings
from tests import tiny_models as tiny

ROOT = Path(__file__).parents[2]
GREEDY = SamplingSettings(temperature=0)
QUICK = LoadSettings(n_ctx=512, n_threads=1, use_extra_bufts=False)


def load(path: Path) -> ModelRunner:
    return ModelRunner.load(path, QUICK, on_progress=lambda share: True)


def work(*tokens: int, position: int = 0, slot: int = 0, samples: int = 0) -> Work[Request]:
    return Work(Slot(slot), Request(prompt=tokens, max_tokens=1), tokens, position, samples)


def sampled(runner: ModelRunner, row: int, *, samples: int) -> int:
    runner.decode([work(1, 2, 3, samples=samples)])
    return runner.sample(row, Sampler(SamplingSettings(), runner.vocabulary), [1, 2, 3])


def copied(runner: ModelRunner, source: int, target: int, length: int) -> None:
    runner.decode([work(1, 2)])
    runner.copy(source, target, length)


ATTEMPTS: dict[str, Callable[[ModelRunner], object]] = {
    'an empty batch': lambda runner: runner.decode([]),
    'a batch that is too large': lambda runner: runner.decode([work(*[5] * 513)]),
    'a work without tokens': lambda runner: runner.decode([work(5), work()]),
    'a token below the vocabulary': lambda runner: runner.decode([work(-1)]),
    'a token beyond the vocabulary': lambda runner: runner.decode([work(5, runner.n_vocab)]),
    'more samples than there are slots': lambda runner: runner.decode([work(*[5] * 9, samples=9)]),
    'more samples than tokens': lambda runner: runner.decode([work(5, samples=2)]),
    'less than no samples': lambda runner: runner.decode([work(5, samples=-1)]),
    'a slot that is not there': lambda runner: runner.decode([work(5, slot=8)]),
    'a slot below the first': lambda runner: runner.decode([work(5, slot=-1)]),
    'a gap between positions': lambda runner: (runner.decode([work(1, 2)]), runner.decode([work(5, position=7)])),
    'a sample before any batch': lambda runner: runner.sample(0, Sampler(SamplingSettings(), runner.vocabulary), []),
    'a sample of a row without scores': lambda runner: sampled(runner, 1, samples=1),
    'a sample of a row that is not there': lambda runner: sampled(runner, 99, samples=1),
    'a sample of a batch without scores': lambda runner: sampled(runner, 2, samples=0),
    'trimming a slot that is not there': lambda runner: runner.keep(8, 0),
    'the length of a slot that is not there': lambda runner: runner.length(-1),
    'copying from a slot that is not there': lambda runner: copied(runner, 9, 0, 1),
    'copying to a slot that is not there': lambda runner: copied(runner, 0, -1, 1),
    'copying more than there is': lambda runner: copied(runner, 0, 1, 3),
    'copying over what is there': lambda runner: copied(runner, 0, 0, 1),
    'saving a slot that is not there': lambda runner: runner.save(8),
    'restoring into a slot that is not there': lambda runner: runner.restore(8, np.zeros(9, np.uint8)),
}

FILES: dict[str, Callable[[Path], object]] = {
    'not GGUF': tiny.write_not_gguf,
    'zero bytes': lambda path: path.write_bytes(b''),
    'truncated': tiny.write_truncated,
    'a directory': Path.mkdir,
    'an unknown architecture': tiny.write_unknown_architecture,
    'vocabulary only': tiny.write_vocabulary_only,
    'no tokenizer': lambda path: tiny.write_tiny_model(path, tokenizer=False),
    'no vocabulary': lambda path: tiny.write_tiny_model(path, tokenizer=False, tokenizer__ggml__model='no_vocab'),
    'a lying header': tiny.write_lying_header,
    'a lying vocabulary': tiny.write_lying_vocabulary,
    'an image projector': tiny.write_projector,
    'no context length': lambda path: tiny.write_tiny_model(path, n_ctx_train=0),
    'heads that do not fit': lambda path: tiny.write_tiny_model(path, llama__attention__head_count_kv=3),
}


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each attempt came to; those after a crash are missing."""
    folder = tmp_path_factory.mktemp('files')
    for name, write in FILES.items():
        write(folder / f'{name}.gguf')
    model = tiny.write_tiny_model(tmp_path_factory.mktemp('model') / 'sound.gguf')
    child = subprocess.run(
        [sys.executable, __file__, model, folder],
        cwd=ROOT,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    said = dict(json.loads(line) for line in child.stdout.splitlines())
    return {'exit': str(child.returncode)} | said


@pytest.mark.parametrize('attempt', ATTEMPTS)
def test_what_would_end_the_process_is_refused(outcomes: dict[str, str], attempt: str) -> None:
    assert outcomes[attempt].startswith('DecodeFailed: ')


@pytest.mark.parametrize('file', FILES)
def test_a_file_that_is_no_use_is_refused_with_a_reason(outcomes: dict[str, str], file: str) -> None:
    assert outcomes[file].startswith('LoadFailed: ')
    assert f'{file}.gguf' in outcomes[file]
    assert 'it gave no reason' not in outcomes[file]


def test_after_all_that_the_model_still_works(outcomes: dict[str, str]) -> None:
    assert outcomes['afterwards'] == 'Decoded.OK'
    assert outcomes['exit'] == '0'


@pytest.fixture
def runner(tmp_path: Path) -> ModelRunner:
    return load(tiny.write_tiny_model(tmp_path / 'tiny.gguf'))


def test_a_full_context_is_told(runner: ModelRunner) -> None:
    assert runner.decode([work(*[5] * 512)]) is Decoded.OK

    assert runner.decode([work(5, position=512)]) is Decoded.FULL

    assert runner.length(0) == 512
    assert runner.keep(0, 100) == 100
    assert runner.decode([work(5, position=100)]) is Decoded.OK
    runner.close()


def test_an_aborted_batch_leaves_nothing(runner: ModelRunner) -> None:
    runner.decode([work(1, 2, 3)])
    runner.abort()

    assert runner.decode([work(*range(100), position=3)]) is Decoded.ABORTED

    assert runner.length(0) == 3
    runner.clear_abort()
    assert runner.decode([work(4, position=3)]) is Decoded.OK
    runner.close()


def test_a_slot_is_saved_and_comes_back_elsewhere(runner: ModelRunner) -> None:
    runner.decode([work(1, 2, 3, samples=1)])
    expected = runner.sample(2, Sampler(GREEDY, runner.vocabulary), [1, 2, 3])
    state = runner.save(0)
    runner.keep(0, 0)

    assert runner.restore(5, state)
    assert runner.length(5) == 3
    assert runner.keep(5, 2) == 2
    runner.decode([work(3, position=2, slot=5, samples=1)])
    assert runner.sample(0, Sampler(GREEDY, runner.vocabulary), [1, 2, 3]) == expected
    runner.close()


def test_nonsense_is_not_restored(runner: ModelRunner) -> None:
    assert not runner.restore(0, np.arange(100, dtype=np.uint8))
    assert runner.length(0) == 0
    runner.close()


def test_what_one_slot_has_read_another_one_shares(runner: ModelRunner) -> None:
    runner.decode([work(1, 2, 3, samples=1)])
    expected = runner.sample(2, Sampler(GREEDY, runner.vocabulary), [1, 2, 3])
    runner.copy(0, 1, 2)
    runner.keep(0, 0)

    runner.decode([work(3, position=2, slot=1, samples=1)])

    assert runner.sample(0, Sampler(GREEDY, runner.vocabulary), [1, 2, 3]) == expected
    runner.close()


def test_after_a_new_context_all_slots_are_empty_and_work(runner: ModelRunner) -> None:
    runner.decode([work(1, 2, 3)])

    runner.rebuild()

    assert runner.length(0) == 0
    assert runner.decode([work(1, 2, 3)]) is Decoded.OK
    runner.close()


@pytest.mark.parametrize(('length', 'kept'), [(0, 0), (2, 2), (3, 3), (4, 0)])
def test_a_slot_can_be_cut_to_what_it_holds(runner: ModelRunner, length: int, kept: int) -> None:
    runner.decode([work(1, 2, 3)])

    assert runner.keep(0, length) == kept
    assert runner.length(0) == kept
    runner.close()


def test_tokens_are_read_and_written_back(runner: ModelRunner) -> None:
    text = 'hello,🙂ünïcode\n\t'

    tokens = runner.tokenize(text, add_special=False, parse_special=True)

    assert b''.join(runner.pieces[token] for token in tokens).decode() == text
    assert runner.tokenize('<|im_end|>', add_special=False, parse_special=True) == [tiny.EOS]
    assert len(runner.tokenize('<|im_end|>', add_special=False, parse_special=False)) == 10
    assert runner.pieces[tiny.EOS] == b''
    assert tiny.EOS in runner.ends
    runner.close()


def test_every_character_finds_room(runner: ModelRunner) -> None:
    """A space is three tokens where a vocabulary lacks it: more tokens than the text has bytes."""
    assert len(runner.tokenize(' ' * 1000, add_special=True, parse_special=True)) == 3001
    runner.close()


def test_a_model_is_closed_once(runner: ModelRunner) -> None:
    runner.close()
    runner.close()


def test_at_least_one_thread_computes() -> None:
    assert 1 <= default_threads() <= (os.cpu_count() or 1)


def main(model: str, folder: str) -> None:
    runner = load(Path(model))
    for name, attempt in ATTEMPTS.items():
        runner.keep(0, 0)
        say(name, partial(attempt, runner))
    runner.keep(0, 0)
    say('afterwards', partial(runner.decode, [work(1, 2, 3, samples=1)]))
    for path in Path(folder).iterdir():
        say(path.stem, partial(load, path))


def say(name: str, attempt: Callable[[], object]) -> None:
    try:
        outcome = str(attempt())
    except InferenceError as error:
        outcome = f'{type(error).__name__}: {error}'
    sys.stdout.write(json.dumps([name, outcome]) + '\n')
    sys.stdout.flush()


if __name__ == '__main__':
    main(*sys.argv[1:])
