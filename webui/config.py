"""AppConfig: every option, path and environment variable of the app."""

import ipaddress
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from inference.settings import LoadSettings

LogLevel = Literal['DEBUG', 'INFO', 'WARNING', 'ERROR']
EVERYWHERE = '0.0.0.0'  # noqa: S104 - only on request, and then behind an access code


class InvalidOption(Exception):
    """An option or environment variable has a value the app cannot use; the message is one line."""


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip('[]')).is_loopback
    except ValueError:
        return host.lower() == 'localhost'


def _default_data_dir() -> Path:
    return Path(platformdirs.user_data_dir('chatbot-webui', appauthor=False))


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _builtin_only(runtime: str) -> str:
    if runtime != 'builtin':
        raise ValueError("Only the runtime 'builtin' exists so far; leave this option out")
    return runtime


def _load_settings(text: Any) -> Any:
    """Read `n_ctx=8192 n_slots=8` or a JSON object; refuse what `LoadSettings` does not have or allow."""
    if not isinstance(text, str):
        return text
    if text.lstrip().startswith('{'):
        values = json.loads(text)
    else:
        values = {name: value for name, _, value in (pair.partition('=') for pair in text.replace(',', ' ').split())}
    try:
        return LoadSettings.model_validate(values).model_dump(mode='json', include=set(values))
    except ValidationError as error:
        problem = error.errors()[0]
        raise ValueError(f'{".".join(map(str, problem["loc"]))}: {problem["msg"]}') from None


Folder = Annotated[Path, AfterValidator(_absolute)]


class AppConfig(BaseModel):
    """How this instance runs and where it keeps things; made once at the start and handed to the app process."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    lan: bool = False
    host: str = Field(default='127.0.0.1', min_length=1, validate_default=True)
    port: int = Field(default=8080, ge=0, le=65535)
    native: bool = False
    data_dir: Folder = Field(default_factory=_default_data_dir)
    models_dir: Folder | None = None
    model: str | None = None
    load_settings: Annotated[dict[str, Any], BeforeValidator(_load_settings)] = {}
    runtime: Annotated[str, AfterValidator(_builtin_only)] = 'builtin'
    browser: bool = True
    log_level: Annotated[LogLevel, BeforeValidator(lambda value: str(value).upper())] = 'INFO'
    access_code: str | None = Field(default=None, validate_default=True)

    @field_validator('host')
    @classmethod
    def _open_to_lan(cls, host: str, info: ValidationInfo) -> str:
        return EVERYWHERE if info.data.get('lan') and is_loopback(host) else host

    @field_validator('access_code')
    @classmethod
    def _never_public_without_code(cls, code: str | None, info: ValidationInfo) -> str | None:
        if code is None:
            return None if is_loopback(info.data.get('host', '')) else _new_access_code()
        if not re.fullmatch('[!-~]{6,}', code):
            raise ValueError('Take at least 6 letters, digits or signs, without spaces')
        return code

    @classmethod
    def from_sources(cls, options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Combine command line `options` (None where not given) with the environment; the command line wins."""
        given = {name: value for name, value in options.items() if value is not None}
        try:
            return cls(**{**_from_environment(environment), **given})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first['loc'][0])
            source = option_name(name) if name in given else variable_name(name)
            raise InvalidOption(f'{source}: {_reason(first)}') from None

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the app; then it asks for the access code."""
        return not is_loopback(self.host)

    @property
    def url(self) -> str:
        """The address for a browser on this machine."""
        if self.host in {EVERYWHERE, '::'}:
            return f'http://127.0.0.1:{self.port}'
        return f'http://[{self.host}]:{self.port}' if ':' in self.host else f'http://{self.host}:{self.port}'

    @property
    def open_path(self) -> str:
        """What to open in the browser or window on this machine, so that its owner is not asked for the code."""
        return f'/?code={quote(self.access_code)}' if self.access_code else '/'

    @property
    def chats_dir(self) -> Path:
        """One file per chat of the owner 'local'."""
        return self.data_dir / 'chats' / 'local'

    @property
    def uploads_dir(self) -> Path:
        """What was attached and not sent yet."""
        return self.data_dir / 'uploads'

    @property
    def imports_dir(self) -> Path:
        """Files that were given for an import, until it is over."""
        return self.data_dir / 'imports'

    @property
    def models_file(self) -> Path:
        """What the user set for each model."""
        return self.data_dir / 'models.json'

    @property
    def tunings_file(self) -> Path:
        """What was measured to be fastest for each model."""
        return self.data_dir / 'tunings.json'

    @property
    def models_folders(self) -> tuple[Path, ...]:
        """Where model files are looked for; the first one receives new ones."""
        own = self.data_dir / 'models'
        return (own,) if self.models_dir in {None, own} else (own, self.models_dir)

    @property
    def logs_dir(self) -> Path:
        """The folder of `log_file` and its predecessors."""
        return self.data_dir / 'logs'

    @property
    def log_file(self) -> Path:
        """The log that messages point to."""
        return self.logs_dir / 'chatbot-webui.log'

    @property
    def lock_file(self) -> Path:
        """Held by the one instance that uses the data folder."""
        return self.data_dir / 'instance.lock'

    @property
    def instance_file(self) -> Path:
        """Where that instance runs, for the message to a second one."""
        return self.data_dir / 'instance.json'

    @property
    def activity_file(self) -> Path:
        """What the app was doing, to be read after a crash."""
        return self.data_dir / 'activity.json'

    @property
    def storage_dir(self) -> Path:
        """NiceGUI's own small storage."""
        return self.data_dir / 'storage'

    @property
    def secret_file(self) -> Path:
        """The key that signs cookies."""
        return self.data_dir / 'secret'


def variable_name(field: str) -> str:
    """Return the environment variable that sets an `AppConfig` field."""
    return f'CHATBOT_{"NO_BROWSER" if field == "browser" else field.upper()}'


def option_name(field: str) -> str:
    """Return the command line option that sets an `AppConfig` field."""
    return '--no-browser' if field == 'browser' else f'--{field.replace("_", "-")}'


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {name: environment.get(variable_name(name), '').strip() for name in AppConfig.model_fields}
    values: dict[str, Any] = {name: value for name, value in found.items() if value}
    if 'browser' in values:
        values['browser'] = not _flag('CHATBOT_NO_BROWSER', values['browser'])
    return values


def _flag(variable: str, text: str) -> bool:
    flags = {'1': True, 'true': True, 'yes': True, 'on': True, '0': False, 'false': False, 'no': False, 'off': False}
    if text.lower() not in flags:
        raise InvalidOption(f"{variable}: it is a switch, 1 or 0, not '{text}'.")
    return flags[text.lower()]


def _reason(error: ErrorDetails) -> str:
    shown = 'this code' if error['loc'] == ('access_code',) else f"'{error['input']}'"
    return f'cannot use {shown}. {str(error["msg"]).removeprefix("Value error, ")}.'


def _new_access_code() -> str:
    """Return 16 characters that nobody mistakes for one another when typing them on a phone (79 bits)."""
    code = ''.join(secrets.choice('23456789abcdefghjkmnpqrstuvwxyz') for _ in range(16))
    return '-'.join(code[i : i + 4] for i in range(0, 16, 4))
