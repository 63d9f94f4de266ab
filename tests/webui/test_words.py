"""What the page says is there in every language, with the same values in it."""

import string

import pytest

from inference.settings import LoadSettings, SamplingSettings, Setting, describe
from webui.words import FALLBACK, LANGUAGES, Text, best_language, catalogue, say, say_in

SETTINGS = [*describe(LoadSettings), *describe(SamplingSettings)]
OTHERS = [language for language in LANGUAGES if language != FALLBACK]
DECLARED = 'setting.'
"""The part of the catalogue whose English stands where the settings are declared."""


@pytest.mark.parametrize('language', LANGUAGES)
def test_every_language_says_everything(language: str) -> None:
    assert said_in(language).keys() == catalogue(FALLBACK).keys()


@pytest.mark.parametrize('language', LANGUAGES)
def test_a_translation_has_the_same_values(language: str) -> None:
    english = catalogue(FALLBACK)

    assert {name: values(text) for name, text in said_in(language).items()} == {
        name: values(text) for name, text in english.items()
    }


@pytest.mark.parametrize('language', OTHERS)
@pytest.mark.parametrize('setting', SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_a_name_and_help_in_every_language(language: str, setting: Setting) -> None:
    texts = catalogue(language)[DECLARED + setting.name]

    assert isinstance(texts, dict)
    assert texts.keys() == {'title', 'help'}
    assert all(texts.values())
    assert texts['help'] != setting.help


@pytest.mark.parametrize('language', OTHERS)
def test_no_language_speaks_of_settings_there_are_not(language: str) -> None:
    named = {name.removeprefix(DECLARED) for name in catalogue(language) if name.startswith(DECLARED)}

    assert named == {setting.name for setting in SETTINGS}


@pytest.mark.parametrize('kind', ['group', 'unit'])
def test_groups_and_units_have_a_name_in_every_language(kind: str) -> None:
    named = {getattr(setting, kind) for setting in SETTINGS} - {''}

    assert {say_in(FALLBACK, f'settings.{kind}_{name.lower().replace(" ", "_")}') for name in named} == named


def test_a_text_is_said_in_the_language_that_is_asked_for() -> None:
    assert say_in('de', 'common.delete') == 'Löschen'


def test_what_a_language_lacks_is_said_in_english() -> None:
    assert say_in('tlh', 'common.delete') == 'Delete'


def test_outside_of_a_page_everything_is_said_in_english() -> None:
    assert say('common.undo') == 'Undo'


@pytest.mark.parametrize(
    ('accepted', 'language'),
    [
        ('', 'en'),
        ('de-DE,de;q=0.9,en;q=0.8', 'de'),
        ('en-GB,en;q=0.9,de;q=0.8', 'en'),
        ('fr,de;q=0.7,en;q=0.3', 'de'),
        ('en;q=0.2, de;q=0.9', 'de'),
        ('DE-at', 'de'),
        ('fr', 'en'),
        ('de;q=0', 'en'),
        ('de;q=much,;;,*', 'en'),
    ],
)
def test_the_language_is_the_one_the_browser_would_rather_have(accepted: str, language: str) -> None:
    assert best_language(accepted) == language


def said_in(language: str) -> dict[str, Text]:
    return {name: text for name, text in catalogue(language).items() if not name.startswith(DECLARED)}


def values(text: Text) -> set[str]:
    forms = [text] if isinstance(text, str) else text.values()
    return {name for form in forms for _, name, _, _ in string.Formatter().parse(form) if name}
