"""Which keys a command can have, and what a person's choice does."""

import pytest

from webui.commands import COMMANDS, bindings, refuse
from webui.words import say_in


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_could_be_given_its_own_keys(name: str) -> None:
    assert refuse(name, COMMANDS[name].keys, {}) is None


def test_no_two_commands_have_the_same_keys() -> None:
    keys = [command.keys for command in COMMANDS.values() if command.keys]

    assert len(keys) == len(set(keys))


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_has_a_name_in_words(name: str) -> None:
    assert say_in('de', f'keys.{name}') != say_in('en', f'keys.{name}')


@pytest.mark.parametrize(
    ('keys', 'reason'),
    [
        ('ctrl+k', 'taken'),
        ('ctrl+t', 'browser'),
        ('ctrl+shift+n', 'browser'),
        ('ctrl++', 'browser'),
        ('f5', 'browser'),
        ('b', 'writing'),
        ('shift+b', 'writing'),
        ('ctrl+alt+q', 'writing'),
        ('enter', 'writing'),
        ('arrowup', 'taken'),
        ('ctrl', 'incomplete'),
        ('', 'incomplete'),
        ('shift+ctrl+b', 'incomplete'),
        ('hyper+b', 'incomplete'),
        ('ctrl+shift+y', None),
        ('ctrl+;', None),
        ('alt+enter', 'taken'),
        ('alt+insert', None),
        ('f2', None),
    ],
)
def test_keys_that_something_else_needs_are_refused(keys: str, reason: str | None) -> None:
    assert refuse('sidebar', keys, {}) == reason


def test_keys_that_were_taken_from_a_command_are_free() -> None:
    assert refuse('sidebar', 'ctrl+k', {'palette': ''}) is None
    assert bindings({'palette': '', 'sidebar': 'ctrl+k'})['sidebar'] == 'ctrl+k'
    assert 'palette' not in bindings({'palette': ''})


def test_a_choice_stands_when_a_default_comes_in_its_way() -> None:
    chosen = {'sidebar': 'ctrl+,'}  # as it was possible before a version gave these keys to the settings

    assert bindings(chosen)['sidebar'] == 'ctrl+,'
    assert 'settings' not in bindings(chosen)
