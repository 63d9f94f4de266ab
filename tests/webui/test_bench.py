"""Benchmarks in the smallest size: what they print, not how fast this machine is."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import write_tiny_model
from webui.bench import main


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[str], dict[str, Any]]:
    """Run a benchmark; return the lines for people and what the last line says to programs."""
    assert main(arguments) == 0
    *table, last = capsys.readouterr().out.splitlines()
    return table, json.loads(last)


@pytest.fixture
def small_engine_run(tmp_path: Path) -> tuple[str, ...]:
    model = write_tiny_model(tmp_path / 'tiny.gguf', n_ctx_train=2048, endless=True)
    sizes = ('--prompts', '400', '--contexts', '300', '--tokens', '8', '--long', '24', '--repeat', '1')
    more = ('--streams', '2', '--messages', '50')
    return ('engine', '--model', str(model), '--threads', '1', *sizes, *more)


def test_the_engine_is_compared_with_the_plain_loop(
    capsys: pytest.CaptureFixture[str], small_engine_run: tuple[str, ...]
) -> None:
    table, facts = bench(capsys, *small_engine_run)

    assert any(line.startswith('prefill, ') and 'tokens (tok/s)' in line for line in table)
    assert any(line.startswith('decode, last quarter of 24 (ms/token)') for line in table)
    assert (facts['benchmark'], facts['model'], facts['threads']) == ('engine', 'tiny', 1)
    for fact in (*facts['prefill'], *facts['decode']):
        assert fact['engine'] > 0 and fact['plain'] > 0 and fact['ratio'] > 0
    assert facts['decode'][0]['completion_tokens'] == 8
    assert facts['flatness']['completion_tokens'] == 24
    assert facts['streams'][0]['streams'] == 2
    assert facts['streams'][0]['ratio'] > 0
    assert facts['page']['rendering'] > 0
    assert facts['stops']['reading_ms'] > 0 and facts['stops']['writing_ms'] > 0


def test_what_python_costs_a_token_is_weighed_apart(
    capsys: pytest.CaptureFixture[str], small_engine_run: tuple[str, ...]
) -> None:
    table, facts = bench(capsys, *small_engine_run)

    assert any(line.startswith('Python, last quarter: engine') for line in table)
    for engine, loop, both in zip(*facts['python'].values(), strict=True):
        assert engine > 0 and loop > 0
        assert both == pytest.approx(engine + loop, abs=0.001)


def test_a_prompt_is_about_as_long_as_it_was_wanted(
    capsys: pytest.CaptureFixture[str], small_engine_run: tuple[str, ...]
) -> None:
    _, facts = bench(capsys, *small_engine_run)

    assert 380 <= facts['prefill'][0]['prompt_tokens'] <= 400
    assert 280 <= facts['decode'][0]['prompt_tokens'] <= 300


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(['engine', '--model', str(tmp_path / 'none.gguf')]) == 1

    assert capsys.readouterr().err.startswith(f'There is no file {tmp_path / "none.gguf"}.')


def test_the_best_settings_are_measured_and_kept_for_the_app(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / 'tiny.gguf', n_ctx_train=2048, endless=True)
    arguments = ('tune', '--model', str(model), '--seconds', '10', '--data-dir', str(tmp_path / 'data'))

    table, facts = bench(capsys, *arguments)

    assert any(line.startswith('flash attention on') for line in table)
    assert any(line.startswith('Chosen: ') for line in table)
    (kept,) = json.loads((tmp_path / 'data' / 'tunings.json').read_text())['tunings'].values()
    assert kept['tuning'] == facts['tuning']
    assert kept['subject']['model'] == 'tiny.gguf'


def test_the_best_settings_are_only_shown_on_request(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny.gguf', n_ctx_train=2048, endless=True)
    arguments = ('--seconds', '3', '--load-settings', 'n_threads=1', '--data-dir', str(tmp_path / 'data'), '--no-save')

    _, facts = bench(capsys, 'tune', '--model', str(model), *arguments)

    assert facts['default']['n_threads'] == 1
    assert not (tmp_path / 'data').exists()


@pytest.mark.timeout(180)
def test_the_app_is_asked_over_http_without_a_server_to_compare_with(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    model = write_tiny_model(tmp_path / 'tiny.gguf', n_ctx_train=2048, endless=True)
    sizes = ('--tokens', '16', '--context', '200', '--long', '300', '--streams', '2', '--others', '2', '--repeat', '1')

    table, facts = bench(
        capsys, 'serve', '--model', str(model), '--tune', '0', '--data-dir', str(tmp_path / 'data'), *sizes
    )

    assert any(line.startswith('one reply (tok/s)') and 'not measured' in line for line in table)
    assert not facts['compared']
    assert all(facts[key]['app'] > 0 for key in ('alone', 'deep', 'ttft', 'together_2', 'second', 'later', 'pause'))
    assert facts['targets']['second turn: only new tokens are computed']
    assert not any('times' in target and 'cost' not in target for target in facts['targets'])


def test_a_server_to_compare_with_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['serve', '--llama-server', 'no-such-program']) == 1

    assert capsys.readouterr().err == 'There is no program no-such-program. Name llama-server with --llama-server.\n'


def test_load_settings_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['tune', '--load-settings', 'warp=9']) == 1

    assert capsys.readouterr().err.startswith("--load-settings: cannot use 'warp=9'.")


def test_the_start_is_timed_and_weighed(capsys: pytest.CaptureFixture[str]) -> None:
    table, facts = bench(capsys, 'start', '--repeat', '1')

    assert any(line.startswith('median') for line in table)
    assert facts['benchmark'] == 'start'
    assert facts['first_page_seconds'] > 0
    assert facts['memory_mb'] == pytest.approx(facts['app_mb'] + facts['supervisor_mb'], abs=0.01)
    assert len(facts['targets']) == 2


def test_estimates_are_held_against_real_loads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny.gguf', name='Tiny')
    table, facts = bench(capsys, 'memory', '--model', str(model), '--shapes', 'experts', '--contexts', '512')

    kinds = ('f16, flash attention off', 'f16, flash attention on', 'q8_0, flash attention on')
    names = [
        *(f'Tiny, 512 cells of {kind}' for kind in kinds[:2]),
        *(f'experts, 512 cells of {kind}' for kind in kinds),
    ]
    assert [line.partition('  ')[0] for line in table if ' cells of ' in line] == names
    assert len(facts['loads']) == 5
    assert all(facts['targets'].values())
    assert facts['loads'][2]['reported_mib']['kv_cache'] == 1.5


def test_sizes_are_a_list_of_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['engine', '--contexts', '64,many'])

    assert "'64,many' is not a list of whole numbers such as 64,2048" in capsys.readouterr().err
