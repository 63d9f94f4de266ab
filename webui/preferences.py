"""What a person chose for themselves: how the page looks, speaks and listens. Kept per browser, on the server."""

from typing import Any, Literal, Self

from nicegui import app, context
from nicegui.observables import ObservableDict
from nicegui.slot import Slot
from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, field_validator

from webui.commands import COMMANDS, refuse

KEPT_AS = 'preferences'


class Preferences(BaseModel):
    """A value that cannot be used is as good as none: the default stands in for it."""

    model_config = ConfigDict(frozen=True)

    language: Literal['auto', 'en', 'de'] = 'auto'
    theme: Literal['auto', 'light', 'dark'] = 'auto'
    text_size: Literal[90, 100, 110, 120, 130, 140] = 100
    """Percent."""
    titles: Literal['never', 'line', 'model'] = 'model'
    """Where the title of a chat comes from: nowhere, its first line, or the model in a free moment."""
    send_key: Literal['enter', 'ctrl+enter'] = 'enter'
    """What sends a message beside the keys of the command; with the latter, Enter starts a new line."""
    keys: dict[str, str] = {}
    """Combinations by command, where they are not those of `COMMANDS`; '' takes them away."""

    @field_validator('*', mode='wrap')
    @classmethod
    def _or_default(cls, value: Any, check: ValidatorFunctionWrapHandler, info: Any) -> Any:
        try:
            return check(value)
        except ValidationError:
            return cls.model_fields[info.field_name].get_default()

    @field_validator('keys')
    @classmethod
    def _usable(cls, keys: dict[str, str]) -> dict[str, str]:
        """Leave out commands there are no more, and combinations that were refused today."""
        usable: dict[str, str] = {}
        for name, combination in keys.items():
            if name in COMMANDS and not (combination and refuse(name, combination, usable) not in (None, 'taken')):
                usable[name] = combination
        return usable

    def changed(self, **changes: Any) -> Self:
        """Return the preferences with some of them chosen anew."""
        return type(self).model_validate({**self.model_dump(), **changes})


def of_person(store: ObservableDict | dict[str, Any]) -> Preferences:
    """Return what is kept in the storage of a person (`app.storage.user`)."""
    kept = store.get(KEPT_AS)
    return Preferences.model_validate(kept if isinstance(kept, dict) else {'theme': store.get('theme', 'auto')})


def preferences() -> Preferences:
    """Return what the person chose whose page is being drawn, or whose request is answered."""
    if Slot.get_stack() and KEPT_AS in context.client.storage:
        # Not from `app.storage.user`: what is drawn because of another person's doing has that person's.
        chosen: Preferences = context.client.storage[KEPT_AS]
        return chosen
    return of_person(app.storage.user)


def use_preferences() -> Preferences:
    """Draw this page as the person who asked for it chose."""
    chosen = context.client.storage[KEPT_AS] = of_person(app.storage.user)
    return chosen


def prefer(**changes: Any) -> Preferences:
    """Keep what the person chose, for the page they did it on and for those they open later."""
    chosen = of_person(app.storage.user).changed(**changes)
    app.storage.user[KEPT_AS] = chosen.model_dump()
    return use_preferences()
