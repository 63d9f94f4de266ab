"""LoRA adapters change what a model says while it runs; what is no LoRA for it is refused before llama.cpp sees it."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from inference.adapters import Adapters
from inference.errors import InvalidModelFile, LoadFailed
from tests import tiny_models as tiny
from tests.inference.bare_model import BareModel, bare

HELLO = tiny.FIRST_WORD
PLAIN = [HELLO + 1, HELLO + 2, HELLO + 3, HELLO + 4, HELLO + 5, HELLO + 6]


@pytest.fixture
def model(tmp_path: Path) -> Iterator[BareModel]:
    with bare(tiny.write_tiny_model(tmp_path / 'model.gguf', endless=True)) as model:
        yield model


@pytest.fixture
def adapters(model: BareModel, tmp_path: Path) -> Iterator[Adapters]:
    adapters = Adapters(model.model, model.context, tmp_path / 'model.gguf')
    yield adapters
    adapters.close()


def test_an_adapter_changes_the_text_and_its_removal_brings_it_back(
    model: BareModel, adapters: Adapters, tmp_path: Path
) -> None:
    lora = tiny.write_tiny_lora(tmp_path / 'jump.gguf', follower=HELLO + 5)
    assert model.say() == PLAIN

    adapters.apply((str(lora),))
    assert model.say() == [HELLO + 5, *(HELLO + 6 + n for n in range(5))]

    adapters.apply(())
    assert model.say() == PLAIN


def test_the_scale_is_the_strength(model: BareModel, adapters: Adapters, tmp_path: Path) -> None:
    tiny.write_tiny_lora(tmp_path / 'jump.gguf')

    assert adapters.apply(('jump.gguf=0',)) == ''
    assert model.say() == PLAIN

    adapters.apply(('jump.gguf=0.01',))
    assert model.say() == PLAIN, 'too weak to win'

    adapters.apply(('jump.gguf=1',))
    assert model.say()[0] == HELLO + 5

    adapters.apply(('jump.gguf=-1',))
    assert model.say(1) == PLAIN[:1], 'turned round'


def test_several_adapters_add_up(model: BareModel, adapters: Adapters, tmp_path: Path) -> None:
    tiny.write_tiny_lora(tmp_path / 'first.gguf', follower=HELLO + 5)
    tiny.write_tiny_lora(tmp_path / 'a=b.gguf', word=HELLO + 5, follower=HELLO + 2)

    adapters.apply(('first.gguf', 'a=b.gguf=1.5'))
    assert model.say(3) == [HELLO + 5, HELLO + 2, HELLO + 3]

    adapters.apply(('a=b.gguf',))
    assert model.say() == [*PLAIN[:5], HELLO + 2]


def test_equal_sets_have_equal_fingerprints(adapters: Adapters, tmp_path: Path) -> None:
    one, two = (str(tiny.write_tiny_lora(tmp_path / name)) for name in ('one.gguf', 'two.gguf'))

    both = adapters.apply((one, f'{two}=0.5'))

    assert both == adapters.apply((f'{two}=0.5', f'{one}=1.0')) == adapters.apply(('one.gguf', 'two.gguf=0.5'))
    assert len({both, adapters.apply((one,)), adapters.apply((one, two)), adapters.apply(())}) == 4
    assert adapters.apply(()) == ''


def test_a_file_that_changed_is_another_adapter(model: BareModel, adapters: Adapters, tmp_path: Path) -> None:
    before = adapters.apply((str(tiny.write_tiny_lora(tmp_path / 'jump.gguf', follower=HELLO + 5)),))
    assert model.say()[0] == HELLO + 5
    (tmp_path / 'jump.gguf').unlink()
    tiny.write_tiny_lora(tmp_path / 'jump.gguf', follower=HELLO + 9, general__name='Jump')

    assert adapters.apply(('jump.gguf',)) != before
    assert model.say()[0] == HELLO + 9


def test_memory_is_given_back(model: BareModel, adapters: Adapters, tmp_path: Path) -> None:
    """Each of them takes two megabytes while it is there."""
    wide = {
        'output.weight.lora_a': np.zeros((1000, tiny.N_EMBD), np.float32),
        'output.weight.lora_b': np.zeros((len(tiny.tokens_of(tiny.SENTENCE)), 1000), np.float32),
    }
    tiny.write_tiny_lora(tmp_path / 'wide.gguf', extra=wide)
    for _ in range(10):
        change(model, adapters)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for _ in range(50):
        change(model, adapters)
    gc.collect()
    assert psutil.Process().memory_info().rss - before < 20 << 20


def change(model: BareModel, adapters: Adapters) -> None:
    adapters.apply(('wide.gguf',))
    model.say(1)
    adapters.apply(())


DTYPE = np.float32
OUTPUT_B = (len(tiny.tokens_of(tiny.SENTENCE)), 1)

WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    'a model': (tiny.write_tiny_model, 'is not a LoRA adapter'),
    'an adapter of another kind': (lambda p: tiny.write_tiny_lora(p, adapter__type='ia3'), 'is not a LoRA adapter'),
    'for another architecture': (
        lambda p: tiny.write_tiny_lora(p, architecture='qwen3'),
        'of the kind qwen3, but Tiny is',
    ),
    'an activated one': (
        lambda p: tiny.write_tiny_lora(p, adapter__alora__invocation_tokens=[1, 2]),
        'is an activated LoRA',
    ),
    'a wide alpha': (
        lambda p: tiny.write_tiny_lora(p, adapter__lora__alpha=np.float64(1)),
        'alpha that is no 32-bit float',
    ),
    'an alpha in words': (
        lambda p: tiny.write_tiny_lora(p, adapter__lora__alpha='much'),
        'alpha that is no 32-bit float',
    ),
    'half a pair': (
        lambda p: tiny.write_tiny_lora(p, drop='output.weight.lora_b'),
        'half of the pair for output.weight',
    ),
    'for another layer': (
        lambda p: tiny.write_tiny_lora(
            p, extra={f'blk.9.attn_q.weight.lora_{half}': np.ones((64, 64), DTYPE) for half in 'ab'}
        ),
        'the model has no blk.9.attn_q.weight',
    ),
    'too wide': (
        lambda p: tiny.write_tiny_lora(p, extra={'output.weight.lora_a': np.ones((1, 128), DTYPE)}),
        'are others',
    ),
    'of two ranks': (
        lambda p: tiny.write_tiny_lora(p, extra={'output.weight.lora_a': np.ones((2, 64), DTYPE)}),
        'are others',
    ),
    'of three dimensions': (
        lambda p: tiny.write_tiny_lora(
            p,
            extra={
                'output.weight.lora_a': np.ones((3, 1, 64), DTYPE),
                'output.weight.lora_b': np.ones((3, *OUTPUT_B), DTYPE),
            },
        ),
        'are others',
    ),
    'integers': (
        lambda p: tiny.write_tiny_lora(p, extra={'output.weight.lora_a': np.ones((1, 64), np.int32)}),
        'has the type I32 instead of F32',
    ),
}


@pytest.mark.parametrize('wrong', WRONG)
def test_what_is_no_adapter_of_this_model_is_refused(
    model: BareModel, adapters: Adapters, tmp_path: Path, wrong: str
) -> None:
    write, reason = WRONG[wrong]
    write(tmp_path / 'wrong.gguf')
    good = adapters.apply((str(tiny.write_tiny_lora(tmp_path / 'good.gguf')),))

    with pytest.raises(LoadFailed, match=reason) as caught:
        adapters.apply(('good.gguf', 'wrong.gguf'))

    assert 'wrong.gguf' in str(caught.value)
    assert model.say()[0] == HELLO + 5, 'the others are as they were'
    assert adapters.apply(('good.gguf',)) == good


def test_a_pair_for_the_embedding_needs_an_output_of_its_own(tmp_path: Path) -> None:
    """A model that reads its words and writes them with the same weights would compute it the wrong way round."""
    n_vocab = OUTPUT_B[0]
    embedding = {
        'token_embd.weight.lora_a': np.ones((n_vocab, 2), DTYPE),
        'token_embd.weight.lora_b': np.ones((tiny.N_EMBD, 2), DTYPE),
    }
    tiny.write_tiny_lora(tmp_path / 'words.gguf', drop='output', extra=embedding)
    for name, tied in (('own.gguf', False), ('tied.gguf', True)):
        path = tiny.write_tiny_model(tmp_path / name, tied=tied)
        with bare(path) as model:
            adapters = Adapters(model.model, model.context, path)
            if tied:
                with pytest.raises(LoadFailed, match=r'which this model also writes with'):
                    adapters.apply(('words.gguf',))
            else:
                adapters.apply(('words.gguf',))
            assert model.say(1)
            adapters.close()


def test_files_that_are_damaged_or_gone_are_named(adapters: Adapters, tmp_path: Path) -> None:
    tiny.write_truncated(tmp_path / 'short.gguf')
    with pytest.raises(InvalidModelFile, match=r'short\.gguf is damaged'):
        adapters.apply(('short.gguf',))
    with pytest.raises(LoadFailed, match=r'gone\.gguf cannot be read: No such file'):
        adapters.apply(('gone.gguf=0.5',))
    tiny.write_tiny_lora(tmp_path / 'twice.gguf')
    with pytest.raises(LoadFailed, match=r'twice\.gguf is named twice'):
        adapters.apply(('twice.gguf', 'twice.gguf=2'))
    with pytest.raises(LoadFailed, match='names no file'):
        adapters.apply(('=0.5',))
