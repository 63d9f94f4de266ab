"""What a person chooses for themselves: look, language, keys. It applies at once, and to all their chats."""

from collections.abc import Callable, Iterable

from nicegui import ui

from webui.components.controls import Handler, Slider, info_button, text_button
from webui.components.key_list import KeyList
from webui.components.keyboard import Keyboard
from webui.components.region import Region
from webui.person import THEMES, spell_keys
from webui.preferences import prefer, preferences
from webui.words import LANGUAGES, formats, say

SMALLEST, LARGEST, STEP = 90, 140, 10


class PreferencesForm(Region):
    """The part of the settings that does not belong to a chat or a model."""

    def __init__(self, keyboard: Keyboard, *, on_titles: Handler) -> None:
        super().__init__()
        self._keyboard, self._on_titles = keyboard, on_titles
        chosen = preferences()
        self._dark = ui.dark_mode(THEMES[chosen.theme])
        self._root = ui.query(':root')
        self.props['data-testid'] = 'preferences'
        with self:
            self._choice('theme', _named('theme', THEMES), self._set_theme)
            self._draw_text_size(chosen.text_size)
            self._draw_language(chosen.language)
            titles = _named('titles', ('never', 'line', 'model'))
            self._choice('titles', titles, self._set_titles, help=True)
            send_keys = {keys: spell_keys(keys) for keys in ('enter', 'ctrl+enter')}
            self._choice('send_key', send_keys, self._set_send_key, help=True)
            text_button(say('keys.keys'), lambda: KeyList(keyboard).open(), testid='key-list-button').classes('q-mt-sm')

    def _choice(
        self, name: str, options: dict[str, str], choose: Callable[[str], object], *, help: bool = False
    ) -> None:
        self._name(name, help=help)
        toggle = ui.toggle(options, value=getattr(preferences(), name), on_change=lambda event: choose(event.value))
        # Colours of no name, so that none of Quasar's, which cannot be overruled, is taken.
        toggle.props('no-caps dense unelevated spread toggle-color=none toggle-text-color=none').classes('choice')
        toggle.props['data-testid'] = name.replace('_', '-')
        toggle.props('role=group').props['aria-label'] = say(f'appearance.{name}')

    def _name(self, name: str, *, help: bool = False) -> ui.element:
        with ui.element('div').classes('setting-line') as line:
            title = say(f'appearance.{name}')
            ui.label(title).classes('setting-name')
            if help:
                info_button(title, say(f'appearance.{name}_help'))
        return line

    def _draw_text_size(self, percent: int) -> None:
        with self._name('text_size'):
            self._text_size = ui.label(formats.percent(percent / 100)).classes('setting-value')
        slider = Slider(say('appearance.text_size'), SMALLEST, LARGEST, STEP, self._set_text_size)
        slider.props['data-testid'] = 'text-size'
        slider.set_value(percent)

    def _draw_language(self, code: str) -> None:
        with self._name('language'):
            options = {'auto': say('appearance.language_auto'), **LANGUAGES}
            field = ui.select(options, value=code, on_change=lambda event: self._set_language(event.value))
            field.props('outlined dense options-dense data-testid=language').classes('field wide')
            field.props['aria-label'] = say('appearance.language')

    def _set_theme(self, theme: str) -> None:
        prefer(theme=theme)
        self._dark.set_value(THEMES[theme])

    def _set_text_size(self, percent: float) -> None:
        share = prefer(text_size=percent).text_size / 100
        self._root.style(f'--scale: {share}')
        self._text_size.set_text(formats.percent(share))

    def _set_language(self, code: str) -> None:
        prefer(language=code)
        ui.navigate.reload()

    def _set_titles(self, source: str) -> None:
        prefer(titles=source)
        self._on_titles()

    def _set_send_key(self, key: str) -> None:
        prefer(send_key=key)
        self._keyboard.refresh()


def _named(name: str, values: Iterable[str]) -> dict[str, str]:
    return {value: say(f'appearance.{name}_{value}') for value in values}
