"""Random cases are made from a seed: the same again, and of every kind."""

from pathlib import Path
from random import Random

import pytest

from inference.catalog import starter_model
from inference.errors import InvalidModelFile
from inference.fuzzing.damage import damage
from inference.fuzzing.gguf_file import GGUFFile
from inference.fuzzing.requests import random_request
from inference.fuzzing.tiny import MODELS
from inference.gguf import check_usable, read_header
from inference.preflight import Trial, attempt
from inference.settings import LoadSettings


@pytest.mark.parametrize('kind', MODELS)
def test_each_tiny_model_loads_and_computes(tmp_path: Path, quick: LoadSettings, kind: str) -> None:
    path = MODELS[kind]().write(tmp_path / 'tiny.gguf')

    check_usable(read_header(path))
    attempt(Trial(path=path, settings=quick))


def test_a_file_that_is_taken_apart_and_put_together_is_the_same(tmp_path: Path) -> None:
    starter = starter_model()
    assert starter is not None

    header = GGUFFile.read(starter).header()

    with starter.open('rb') as file:
        assert file.read(len(header)) == header
    copy = GGUFFile.read(starter).write(tmp_path / 'copy.gguf')
    assert copy.stat().st_size == starter.stat().st_size
    assert read_header(copy).tensors == read_header(starter).tensors


def test_equal_seeds_damage_equally_and_leave_the_sound_file_alone() -> None:
    sound = MODELS['bpe']()
    before = sound.header()

    first, again = (damage(Random('7'), 'bpe', sound) for _ in range(2))

    assert first == again
    assert first.changes[0] == 'of bpe'
    assert damage(Random('8'), 'bpe', sound) != first
    assert sound.header() == before


def test_damage_is_never_worse_than_a_refusal_and_not_always_found(tmp_path: Path) -> None:
    sound = {kind: make() for kind, make in MODELS.items()}
    verdicts = {'accepted': 0, 'refused': 0}

    for case in range(300):
        dice = Random(f'1/headers/{case}')
        kind = dice.choice(list(sound))
        path = damage(dice, kind, sound[kind]).write(tmp_path / 'damaged.gguf')
        try:
            check_usable(read_header(path))
            verdicts['accepted'] += 1
        except InvalidModelFile:
            verdicts['refused'] += 1

    assert min(verdicts.values()) > 80


def test_requests_are_the_same_again_and_of_every_kind() -> None:
    def requests() -> list[str]:
        return [repr(random_request(Random(f'1/requests/{case}'), n_vocab=300)) for case in range(200)]

    first = requests()

    assert first == requests()
    for part in (
        "grammar='root",
        "json_schema='{",
        "mirostat='v2'",
        'logit_bias={',
        'Tool(',
        "overflow='roll'",
        '\\ud800',
    ):
        assert any(part in request for request in first), part
