"""What a person chose is kept; what cannot be used of it falls back to the default, and the rest stays."""

from typing import Any

import pytest

from webui.preferences import Preferences, of_person


def test_without_a_choice_everything_is_as_the_system_has_it() -> None:
    chosen = of_person({})

    assert (chosen.language, chosen.theme, chosen.text_size, chosen.send_key) == ('auto', 'auto', 100, 'enter')


def test_what_cannot_be_used_falls_back_and_the_rest_stays() -> None:
    kept: dict[str, Any] = {'language': 'tlh', 'theme': 'dark', 'text_size': 5000, 'titles': None, 'keys': 7, 'more': 1}

    assert of_person({'preferences': kept}) == Preferences(theme='dark')


@pytest.mark.parametrize('kept', [None, 'dark', 3, []])
def test_a_damaged_choice_is_none(kept: object) -> None:
    assert of_person({'preferences': kept}) == Preferences()


def test_the_theme_that_an_earlier_version_kept_is_still_there() -> None:
    assert of_person({'theme': 'dark'}).theme == 'dark'


def test_keys_that_cannot_be_used_are_left_out() -> None:
    keys = {'sidebar': 'ctrl+shift+y', 'settings': 'ctrl+t', 'dance': 'ctrl+shift+u', 'stop': ''}

    assert Preferences(keys=keys).keys == {'sidebar': 'ctrl+shift+y', 'stop': ''}
