"""What the page says is there in every language, with the same values in it."""

import string

import pytest

from webui.words import FALLBACK, LANGUAGES, Text, catalogue, say, say_in


@pytest.mark.parametrize('language', LANGUAGES)
def test_every_language_says_everything(language: str) -> None:
    assert catalogue(language).keys() == catalogue(FALLBACK).keys()


@pytest.mark.parametrize('language', LANGUAGES)
def test_a_translation_has_the_same_values(language: str) -> None:
    english = catalogue(FALLBACK)

    assert {name: values(text) for name, text in catalogue(language).items()} == {
        name: values(text) for name, text in english.items()
    }


def test_a_text_is_said_in_the_language_that_is_asked_for() -> None:
    assert say_in('de', 'common.delete') == 'Löschen'


def test_what_a_language_lacks_is_said_in_english() -> None:
    assert say_in('tlh', 'common.delete') == 'Delete'


def test_outside_of_a_page_everything_is_said_in_english() -> None:
    assert say('common.undo') == 'Undo'


def values(text: Text) -> set[str]:
    forms = [text] if isinstance(text, str) else text.values()
    return {name for form in forms for _, name, _, _ in string.Formatter().parse(form) if name}
