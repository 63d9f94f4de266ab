"""The parameters as forms, command line and API get to know them."""

import json
import math

import pytest
from pydantic import BaseModel, ValidationError

from inference.settings import LoadSettings, SamplingSettings, Setting, describe

MODELS: list[type[BaseModel]] = [LoadSettings, SamplingSettings]
EVERY = [(model, setting) for model in MODELS for setting in describe(model)]


def named(name: str) -> Setting:
    return next(setting for _, setting in EVERY if setting.name == name)


@pytest.mark.parametrize('model', MODELS)
def test_every_parameter_is_described_once_and_in_order(model: type[BaseModel]) -> None:
    assert [setting.name for setting in describe(model)] == list(model.model_fields)


def test_no_name_means_two_things() -> None:
    assert not set(LoadSettings.model_fields) & set(SamplingSettings.model_fields)


@pytest.mark.parametrize(('model', 'setting'), EVERY, ids=lambda value: getattr(value, 'name', ''))
def test_a_form_can_be_drawn(model: type[BaseModel], setting: Setting) -> None:
    assert setting.title
    assert setting.group
    assert setting.help.endswith('.')
    assert setting.default == getattr(model(), setting.name)
    assert bool(setting.choices) == (setting.kind in ('choice', 'order'))
    assert not setting.needs_reload or model is LoadSettings
    if setting.kind in ('int', 'float'):
        assert setting.minimum is not None and setting.maximum is not None
        assert setting.minimum <= setting.default <= setting.maximum
        assert 0 < setting.step <= setting.maximum - setting.minimum


@pytest.mark.parametrize(('model', 'setting'), EVERY, ids=lambda value: getattr(value, 'name', ''))
def test_limits_are_inclusive_and_kept(model: type[BaseModel], setting: Setting) -> None:
    for value in (setting.minimum, setting.maximum, *(setting.choices if setting.kind == 'choice' else ())):
        if value is not None:
            assert getattr(model.model_validate({setting.name: value}), setting.name) == value
    beyond = [limit + way for limit, way in ((setting.minimum, -1), (setting.maximum, 1)) if limit is not None]
    nonsense: list[object] = [] if setting.kind == 'text' else ['nonsense']
    for wrong in [*beyond, *nonsense, None, math.nan, math.inf, -math.inf]:
        with pytest.raises(ValidationError):
            model.model_validate({setting.name: wrong})


def test_kinds_are_what_a_form_needs() -> None:
    assert (named('swa_full').kind, named('n_ctx').kind, named('top_p').kind) == ('bool', 'int', 'float')
    assert (named('stop').kind, named('flash_attn').kind) == ('texts', 'choice')
    assert named('flash_attn').choices == ('auto', 'on', 'off')
    assert named('n_ctx').unit == 'tokens'


@pytest.mark.parametrize('model', MODELS)
def test_settings_survive_a_file(model: type[BaseModel]) -> None:
    assert model.model_validate_json(model().model_dump_json()) == model()
    assert model.model_validate(json.loads(model().model_dump_json())) == model()


@pytest.mark.parametrize('model', MODELS)
def test_what_is_misspelled_is_refused(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match='n_cxt'):
        model.model_validate({'n_cxt': 1})


def test_settings_do_not_change_under_a_running_reply() -> None:
    settings = SamplingSettings()

    with pytest.raises(ValidationError, match='frozen'):
        settings.temperature = 1


def test_a_reply_has_at_most_sixteen_stop_strings() -> None:
    assert len(SamplingSettings(stop=('x',) * 16).stop) == 16
    with pytest.raises(ValidationError):
        SamplingSettings(stop=('x',) * 17)
