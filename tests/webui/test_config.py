"""Options, environment variables and paths."""

from pathlib import Path

import pytest

from webui.config import AppConfig, InvalidOption, is_loopback


def test_without_options_the_app_is_for_this_machine_only() -> None:
    config = AppConfig.from_sources({}, {})

    assert (config.host, config.port, config.browser, config.access_code) == ('127.0.0.1', 8080, True, None)
    assert not config.is_public
    assert config.url == 'http://127.0.0.1:8080'
    assert config.open_path == '/'


def test_every_option_is_an_environment_variable_and_the_command_line_wins(tmp_path: Path) -> None:
    environment = {
        'CHATBOT_HOST': 'localhost',
        'CHATBOT_PORT': '9000',
        'CHATBOT_NATIVE': '1',
        'CHATBOT_DATA_DIR': str(tmp_path / 'data'),
        'CHATBOT_MODELS_DIR': str(tmp_path / 'models'),
        'CHATBOT_MODEL': 'tiny',
        'CHATBOT_LOAD_SETTINGS': 'n_ctx=1024',
        'CHATBOT_RUNTIME': 'builtin',
        'CHATBOT_NO_BROWSER': '1',
        'CHATBOT_LOG_LEVEL': 'debug',
        'CHATBOT_ACCESS_CODE': 'open-sesame',
        'UNRELATED': 'x',
    }
    config = AppConfig.from_sources({'port': '9001', 'model': None}, environment)

    assert config == AppConfig(
        host='localhost',
        port=9001,
        native=True,
        data_dir=tmp_path / 'data',
        models_dir=tmp_path / 'models',
        model='tiny',
        load_settings={'n_ctx': 1024},
        browser=False,
        log_level='DEBUG',
        access_code='open-sesame',
    )


def test_an_empty_variable_counts_as_unset() -> None:
    assert AppConfig.from_sources({}, {'CHATBOT_PORT': '', 'CHATBOT_NO_BROWSER': ' '}).port == 8080


@pytest.mark.parametrize(
    ('options', 'environment', 'start'),
    [
        ({}, {'CHATBOT_PORT': 'abc'}, "CHATBOT_PORT: cannot use 'abc'."),
        ({}, {'CHATBOT_PORT': '70000'}, "CHATBOT_PORT: cannot use '70000'."),
        ({'port': '-1'}, {'CHATBOT_PORT': '80'}, "--port: cannot use '-1'."),
        ({}, {'CHATBOT_NO_BROWSER': 'maybe'}, "CHATBOT_NO_BROWSER: it is a switch, 1 or 0, not 'maybe'."),
        ({}, {'CHATBOT_LOG_LEVEL': 'loud'}, "CHATBOT_LOG_LEVEL: cannot use 'LOUD'."),
        ({'load_settings': 'n_ctx=many'}, {}, "--load-settings: cannot use 'n_ctx=many'. n_ctx: "),
        ({'load_settings': 'warp=9'}, {}, "--load-settings: cannot use 'warp=9'. warp: "),
        ({'load_settings': '{"n_ctx":'}, {}, '--load-settings: cannot use'),
        ({'load_settings': '[1]'}, {}, '--load-settings: cannot use'),
        ({'runtime': 'rocm'}, {}, "--runtime: cannot use 'rocm'. Only the runtime 'builtin' exists so far"),
        ({'access_code': 'abc'}, {}, '--access-code: cannot use this code. Take at least 6'),
    ],
)
def test_a_bad_value_is_named_in_one_line(options: dict[str, str], environment: dict[str, str], start: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        AppConfig.from_sources(options, environment)

    assert str(refused.value).startswith(start)
    assert '\n' not in str(refused.value)


def test_lan_opens_the_app_to_all_addresses_but_never_without_a_code() -> None:
    first, second = AppConfig(lan=True), AppConfig(host='192.168.1.20')

    assert (first.host, first.is_public, second.is_public) == ('0.0.0.0', True, True)
    assert first.access_code
    assert second.access_code
    assert first.access_code != second.access_code
    assert first.open_path == f'/?code={first.access_code}'
    assert first.url == 'http://127.0.0.1:8080'


def test_lan_does_not_widen_a_host_that_is_open_already() -> None:
    assert AppConfig(lan=True, host='192.168.1.20').host == '192.168.1.20'


def test_the_app_process_gets_exactly_the_same_configuration(tmp_path: Path) -> None:
    config = AppConfig(lan=True, data_dir=tmp_path, models_dir=tmp_path / 'm', browser=False)

    assert AppConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize('host', ['127.0.0.1', '127.8.0.1', '::1', '[::1]', 'localhost', 'LOCALHOST'])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize('host', ['0.0.0.0', '::', '192.168.1.2', 'my-pc', 'localhost.evil.com'])
def test_hosts_that_others_can_reach(host: str) -> None:
    assert not is_loopback(host)


def test_everything_lies_in_the_data_folder(tmp_path: Path) -> None:
    config = AppConfig(data_dir=tmp_path, models_dir=tmp_path / 'elsewhere')

    assert config.chats_dir == tmp_path / 'chats' / 'local'
    assert config.models_file == tmp_path / 'models.json'
    assert config.models_folders == (tmp_path / 'models', tmp_path / 'elsewhere')
    assert config.log_file.parent == config.logs_dir == tmp_path / 'logs'


def test_an_ipv6_host_is_written_in_brackets() -> None:
    assert AppConfig(host='::1').url == 'http://[::1]:8080'


@pytest.mark.parametrize(
    'text',
    ['n_ctx=1024 flash_attn=on swa_full=true', 'n_ctx=1024, flash_attn=on,swa_full=1',
     '{"n_ctx": 1024, "flash_attn": "on", "swa_full": true}'],
)  # fmt: skip
def test_load_settings_are_pairs_or_json(text: str) -> None:
    config = AppConfig.from_sources({'load_settings': text}, {})

    assert config.load_settings == {'n_ctx': 1024, 'flash_attn': 'on', 'swa_full': True}
    assert AppConfig.model_validate_json(config.model_dump_json()) == config


def test_a_list_among_load_settings_is_json() -> None:
    config = AppConfig.from_sources({'load_settings': '{"loras": ["a.gguf=0.5", "b, c.gguf"]}'}, {})

    assert config.load_settings == {'loras': ['a.gguf=0.5', 'b, c.gguf']}
