"""Small parts that every screen uses: icon buttons with a name, toasts with a way back."""

from collections.abc import Callable

from nicegui import ui

from webui.components.keyboard import keys_of
from webui.components.region import Region
from webui.person import spell_keys
from webui.words import say

Handler = Callable[[], object]
TOAST_SECONDS = 8.0


def icon_button(icon: str, name: str, on_click: Handler, *, command: str = '', testid: str = '') -> ui.button:
    """Return a flat round button; `name` is what a screen reader says, the tooltip adds the keys of `command`."""
    button = (
        ui.button(icon=f'sym_o_{icon}', on_click=on_click, color=None).props('flat round dense').classes('icon-button')
    )
    button.props['aria-label'] = name
    if testid:
        button.props['data-testid'] = testid
    with button:
        ui.tooltip(with_keys(name, command)).props('delay=400')
    return button


def with_keys(name: str, command: str) -> str:
    """Return the name of a control followed by the keys of its command, if there are any."""
    keys = keys_of(command) if command else ''
    return f'{name} ({spell_keys(keys)})' if keys else name


def info_button(about: str, help: str) -> None:
    """Draw a button that explains something on hover and focus."""
    info = icon_button('info', say('common.about', name=about), lambda: None)
    with info:
        info.default_slot.children[0].delete()
        ui.tooltip(help).style('max-width: 18rem')


def text_button(text: str, on_click: Handler, *, primary: bool = False, testid: str = '') -> ui.button:
    """Return a button with a text, filled if it is the main action."""
    button = ui.button(on_click=on_click, color=None).props('flat dense padding="4px 12px"')
    button.classes('primary' if primary else 'quiet').set_text(text)
    if testid:
        button.props['data-testid'] = testid
    return button


def follow_focus(drawer: ui.element, side: str) -> None:
    """Let the keyboard go into a drawer when it opens, and back when it closes; see focus.js."""
    assert side in ('left', 'right')
    drawer.on('show', js_handler=f"() => drawerMoved('{side}', true)")
    drawer.on('hide', js_handler=f"() => drawerMoved('{side}', false)")


class Slider(ui.element, component='slider.js'):
    """The browser's own slider, which tells screen readers what it is where Quasar's does not."""

    def __init__(
        self, name: str, minimum: float, maximum: float, step: float, on_change: Callable[[float], object]
    ) -> None:
        super().__init__()
        self.props.update({'min': minimum, 'max': maximum, 'step': step, 'aria-label': name, 'revision': 0})
        self._value = minimum
        self.on('change', lambda event: self._report(float(event.args), on_change))

    def set_value(self, value: float) -> None:
        """Move it, without reporting that."""
        if value != self._value:
            self._value = value
            self.props.update({'value': value, 'revision': self.props['revision'] + 1})

    def _report(self, value: float, on_change: Callable[[float], object]) -> object:
        self._value = value  # it stands there already, and may have been moved on
        return on_change(value)


def set_class(element: ui.element, name: str, present: bool) -> None:
    """Give an element a class, or take it away."""
    element.classes(add=name if present else '', remove='' if present else name)


class Toasts(Region):
    """Short messages above the composer that go by themselves, errors only when they are dismissed."""

    def __init__(self) -> None:
        super().__init__()
        self.classes('toasts').props('role=status aria-live=polite')

    def show(self, text: str, *, error: bool = False, action: tuple[str, Handler] | None = None) -> None:
        """Show `text`, with a button if there is something to do about it."""
        with self, ui.element('div').classes('toast' + (' error' if error else '')) as toast:
            toast.props['data-testid'] = 'toast-error' if error else 'toast'
            ui.label(text)
            if action:
                label, handler = action
                text_button(label, handler).on_click(toast.delete)
            icon_button('close', say('common.dismiss'), toast.delete)
            if not error:
                ui.timer(TOAST_SECONDS, toast.delete, once=True)
