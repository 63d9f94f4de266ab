"""A thousand random requests, from sensible to absurd: each is sampled or refused; shown in a child process.

Run as a script, this file is that child: it makes the requests and says what came of them.
"""

import collections
import faulthandler
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inference.errors import InvalidRequest
from inference.runner import ModelRunner
from inference.sampler import Sampler
from inference.sampling import check_sampling
from inference.scheduler import Request, Slot, Work
from inference.settings import LoadSettings, SamplingSettings, Setting, describe
from tests.tiny_models import write_tiny_model

ROOT = Path(__file__).parents[2]
REQUESTS, TOKENS = 1000, 8
SECONDS_FOR_ONE = 30

GRAMMAR = (
    'root ::= object | "[" ws (value ("," ws value)*)? "]" # list\nobject ::= "{" ws (string ":" ws value)* "}"\n'
    'value ::= object | string | [0-9]{1,3} | root | <|im_start|> | !<[17]>\n'
    'string ::= "\\"" [^"\\\\\\x00-\\x1f]* "\\""\n'
    'ws ::= | " " | "\\n" [ \\t]{0,20}'
)
SCHEMA = {
    '$defs': {'a': {'type': 'object', 'properties': {'b': {'$ref': '#/$defs/a'}, 'c': {'enum': [1, None, 'x']}}}},
    'type': 'object',
    'properties': {
        'n': {'type': 'integer', 'minimum': -3, 'maximum': 200},
        's': {'type': 'string', 'pattern': '^[a-z]+(x|y)\\d{2,}$'},
        'l': {
            'type': 'array',
            'items': {'anyOf': [{'$ref': '#/$defs/a'}, {'type': ['null', 'number']}]},
            'maxItems': 4,
        },
    },
    'required': ['s', 'l'],
    'additionalProperties': {'format': 'date'},
}


def test_every_request_is_sampled_or_refused(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny.gguf', endless=True)
    child = subprocess.run(
        [sys.executable, __file__, model],
        cwd=ROOT,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    outcomes = json.loads(child.stdout.splitlines()[-1])
    assert sum(outcomes.values()) == REQUESTS
    assert outcomes.keys() == {'sampled', 'InvalidRequest', 'ValidationError'}
    assert min(outcomes.values()) > 100


def random_settings(rng: random.Random) -> dict[str, Any]:
    """Return a few settings: most of them sound, some at their limits, some beyond."""
    some = rng.sample(list(describe(SamplingSettings)), rng.randint(1, 9))
    chosen = {setting.name: random_value(rng, setting) for setting in some}
    if rng.random() < 0.1:
        odd: Any = rng.choice([float('nan'), -1e9, 'x', None, [], 1 << 80])
        chosen[rng.choice(list(SamplingSettings.model_fields))] = odd
    if rng.random() < 0.4:
        chosen |= rng.choice([{'grammar': random_grammar(rng)}, {'json_schema': random_schema(rng)}])
    return chosen


def random_value(rng: random.Random, setting: Setting) -> Any:
    match setting.kind:
        case 'choice':
            return rng.choice(setting.choices)
        case 'order':
            return rng.sample(setting.choices, rng.randint(0, len(setting.choices)))
        case 'texts':
            return [random_text(rng) for _ in range(rng.randint(0, 3))]
        case 'biases':
            return {rng.randint(0, 400): rng.choice([1, -100, 1000]) for _ in range(rng.randint(0, 9))}
        case 'text':
            return random_grammar(rng) if setting.name == 'grammar' else random_schema(rng)
    low, high = setting.minimum or 0, setting.maximum or 1
    number = rng.uniform(low, high) if rng.random() < 0.7 else rng.choice([low, high, low + 1e-9, 1e-300, 0])
    return number if setting.kind == 'float' else int(number)


def random_text(rng: random.Random) -> str:
    return rng.randbytes(rng.randint(0, 12)).decode('utf-8', rng.choice(['replace', 'ignore', 'surrogateescape']))


def random_grammar(rng: random.Random) -> str:
    match rng.randint(0, 7):
        case 0:
            return random_text(rng)
        case 1:
            return f'root ::= {rng.choice("([")}' * rng.choice([1, 90, 60_000])
        case 2:
            times = f'{{{rng.randint(0, 9)},{rng.choice([0, 5, 10**6])}}}'
            return f'root ::= a{times}\na ::= "x" | {rng.choice(["a", "root", ""])}'
        case 3:
            return 'root ::= a\na ::= "x" a b | "x" a c | [a-z ]\nb ::= "y"\nc ::= "y"'
        case _:
            return damaged(rng, GRAMMAR)


def random_schema(rng: random.Random) -> str:
    match rng.randint(0, 5):
        case 0:
            return random_text(rng)
        case 1:
            return rng.choice(['[', '{"items":', '{"not":{"a":']) * rng.choice([1, 50, 20_000])
        case 2:
            number = rng.choice([0, 3, 2000, 10**7, -1, 1e300])
            return json.dumps({'type': 'string', rng.choice(['minLength', 'maxLength', 'minimum', 'maxItems']): number})
        case _:
            return damaged(rng, json.dumps(SCHEMA))


def damaged(rng: random.Random, text: str) -> str:
    """Change up to three places, or none."""
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        at = rng.randrange(len(text))
        text = (
            text[:at]
            + rng.choice(['', '', '"', '(', '{2}', '*', '|', '[', '\n', '\\', 'é', '::=', 'null'])
            + text[at + 1 :]
        )
    return text


def outcome(runner: ModelRunner, settings: dict[str, Any], prompt: list[int]) -> str:
    try:
        sampling = SamplingSettings.model_validate(settings)
        check_sampling(sampling, runner.vocabulary)
        sampler, tokens, new = Sampler(sampling, runner.vocabulary), list(prompt), list(prompt)
        runner.keep(0, 0)
        for _ in range(TOKENS):
            runner.decode([Work(Slot(0), Request(prompt=tuple(new), max_tokens=1), new, len(tokens) - len(new), True)])
            new = [runner.sample(len(new) - 1, sampler, tokens)]
            tokens += new
            if new[0] in runner.ends:
                break
    except (InvalidRequest, ValidationError) as error:
        return type(error).__name__
    return 'sampled'


def main(model: str) -> None:
    settings = LoadSettings(n_ctx=256, n_threads=1, use_extra_bufts=False)
    runner = ModelRunner.load(Path(model), settings, on_progress=lambda share: True)
    prompt = runner.tokenize('<|im_start|>user\nhello hello hello', add_special=True, parse_special=True)
    outcomes: collections.Counter[str] = collections.Counter()
    for seed in range(REQUESTS):
        faulthandler.dump_traceback_later(SECONDS_FOR_ONE, exit=True)
        outcomes[outcome(runner, random_settings(random.Random(seed)), prompt)] += 1
    faulthandler.cancel_dump_traceback_later()
    runner.close()
    print(json.dumps(outcomes))


if __name__ == '__main__':
    main(*sys.argv[1:])
