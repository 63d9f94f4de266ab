"""Damaged model files: our reader answers each within bounds, and what it lets through meets llama.cpp in a child."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from inference.catalog import Catalog, starter_model
from inference.crash import diagnose
from inference.errors import InferenceError, InvalidModelFile, LoadFailed, NotEnoughMemory
from inference.footprint import estimate
from inference.free_memory import DeviceMemory, ram
from inference.fuzzing.damage import DamagedFile, damage
from inference.fuzzing.gguf_file import GGUFFile
from inference.fuzzing.tiny import MODELS
from inference.gguf import Header, check_usable, read_header
from inference.memory import fit_label, remedies, require_fit
from inference.preflight import Trial, attempt, preflight
from inference.settings import LoadSettings
from webui.bench.fuzz.findings import Plan, Problem, peak_memory, say, write_down
from webui.bench.fuzz.worker import Died, Worker

STARTER = 'starter'
STARTER_SHARE = 0.15
"""Of all files; it is read a hundred times slower than a tiny one, for its real vocabulary."""
BATCH = 250
READ_PATIENCE, TRIAL_PATIENCE = 120.0, 60.0
"""Seconds, for a busy machine; a batch takes two, a trial milliseconds."""
STARTER_TRIALS = 50
CONFIRMED = 8
"""Crashes of different kinds that are tried again through the app's own preflight."""
SETTINGS = LoadSettings(n_ctx=512, n_threads=1, use_extra_bufts=False)
Reading = tuple[int, str, str, float]
"""A case, whether its file was accepted, why not, and the seconds that took."""


@dataclass(kw_only=True, slots=True)
class Headers:
    """How it went: verdicts of our reader, outcomes of the trials, and crashes by what they ended with."""

    verdicts: Counter[str] = field(default_factory=Counter)
    accepted: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: dict[str, list[int]] = field(default_factory=dict)
    confirmed: int = 0
    problems: list[Problem] = field(default_factory=list)
    slowest: float = 0.0
    growth: int = 0


def run(plan: Plan, trials: int) -> Headers:
    """Read every file, then try `trials` of those that were accepted."""
    headers = Headers()
    _read_all(plan, headers)
    sample = sorted(plan.dice('trials', 0).sample(headers.accepted, min(trials, len(headers.accepted))))
    _try_all(plan, sample, headers)
    _confirm(plan, headers)
    return headers


def damaged_file(plan: Plan, case: int) -> DamagedFile:
    """Return the file of a case."""
    dice = plan.dice('headers', case)
    sound = sound_files()
    real = STARTER in sound and dice.random() < STARTER_SHARE
    name = STARTER if real else dice.choice(list(MODELS))
    return damage(dice, name, sound[name])


@lru_cache(1)
def sound_files() -> Mapping[str, GGUFFile]:
    """Return what is damaged: the tiny models and, where it is installed, the starter model without its weights."""
    starter = starter_model()
    real = {STARTER: GGUFFile.read(starter)} if starter else {}
    return {name: make() for name, make in MODELS.items()} | real


# In child processes


def read_batch(plan: Plan) -> tuple[list[Reading], int]:
    """Read the files of some cases as the catalogue does; return what came of each, and how the peak of memory grew."""
    sound_files()
    before = peak_memory()
    readings = []
    for case in plan.cases:
        _case_file(plan.folder).write_text(json.dumps(case))
        path = damaged_file(plan, case).write(plan.folder / 'damaged.gguf')
        started = time.perf_counter()
        verdict, why = _read(path)
        readings.append((case, verdict, why, time.perf_counter() - started))
    return readings, peak_memory() - before


def _read(path: Path) -> tuple[str, str]:
    try:
        catalog = Catalog([], [path])
        catalog.scan()
        for model in catalog.models:
            _weigh(model.header)
            return 'accepted', ''
        return ('refused', catalog.problems[path]) if path in catalog.problems else ('companion', '')
    except NotEnoughMemory as error:
        return 'too large', str(error)
    except InvalidModelFile as error:
        return 'refused', str(error)
    except Exception as error:  # that is what this is about
        return 'problem', f'{type(error).__name__}: {error}'


def _weigh(header: Header) -> None:
    """Ask all that the app asks of a header before it loads the model. Raises NotEnoughMemory."""
    check_usable(header)
    half = DeviceMemory(name='CPU', free=estimate(header, SETTINGS).total // 2, total=1 << 40)
    remedies(header, SETTINGS, [half])
    fit_label(header, SETTINGS, [half])
    require_fit(header, SETTINGS, [ram()])


def try_case(plan: Plan) -> tuple[str, str]:
    """Do with the first file of a plan what the app does before it loads a model; return how that ended."""
    path = damaged_file(plan, plan.first).write(plan.folder / 'tried.gguf')
    try:
        header = read_header(path)
        check_usable(header)
        require_fit(header, SETTINGS, [ram()])
        attempt(Trial(path=path, settings=SETTINGS))
    except InferenceError as error:
        return ('nonsense' if error.code == 'nonsense' else 'refused'), str(error)
    return 'loads', ''


# In this process


def _read_all(plan: Plan, headers: Headers) -> None:
    with Worker(read_batch, plan.folder / 'reading.log') as read:
        at, end = plan.first, plan.first + plan.count
        while at < end:
            batch = plan.part(at, min(BATCH, end - at))
            try:
                readings, growth = read(batch, READ_PATIENCE)
            except Died as death:
                at = _case_at_death(plan.folder, at)
                _blame(plan, at, f'our reader: {death}', headers)
                at += 1
                continue
            for case, verdict, why, seconds in readings:
                headers.verdicts[verdict] += 1
                headers.slowest = max(headers.slowest, seconds)
                if verdict == 'accepted':
                    headers.accepted.append(case)
                elif verdict == 'problem':
                    _blame(plan, case, why, headers)
            headers.growth = max(headers.growth, growth)
            at += batch.count
            say(f'Headers: {at - plan.first:,} of {plan.count:,} read')


def _try_all(plan: Plan, cases: list[int], headers: Headers) -> None:
    starter_left = STARTER_TRIALS
    with Worker(try_case, plan.folder / 'trials.log') as attempt_case:
        for number, case in enumerate(cases, start=1):
            if damaged_file(plan, case).base == STARTER:
                starter_left -= 1
                if starter_left < 0:
                    continue
            try:
                outcome, why = attempt_case(plan.part(case, 1), TRIAL_PATIENCE)
            except Died as death:
                outcome, why = ('problem', str(death)) if death.how == 'error' else ('crashed', str(death))
                headers.crashes.setdefault(_kind(death), []).append(case)
            headers.outcomes[outcome] += 1
            if outcome == 'problem' or 'it gave no reason' in why:
                _blame(plan, case, f'trial: {why}', headers)
            if not number % BATCH:
                say(f'Headers: {number:,} of {len(cases):,} tried')


def _confirm(plan: Plan, headers: Headers) -> None:
    """Let the app's own preflight meet one file of each kind of crash: it must say what happened."""
    for kind, cases in list(headers.crashes.items())[:CONFIRMED]:
        path = damaged_file(plan, cases[0]).write(plan.folder / 'confirmed.gguf')
        try:
            asyncio.run(preflight(path, SETTINGS, lambda share: None))
        except LoadFailed as error:
            headers.confirmed += 1
            if path.name not in str(error):
                _blame(plan, cases[0], f'the preflight does not name the file: {error}', headers)
        else:
            _blame(plan, cases[0], f'the preflight did not crash as the trial did ({kind})', headers)


def _kind(death: Died) -> str:
    """Return what tells one kind of crash from another: the assertion, or the signal alone."""
    if death.how in ('hang', 'error'):
        return death.how
    crash = diagnose(death.code, death.said)
    return f'{crash.how} {crash.detail if crash.cause == "assertion" else ""}'.strip()


def _blame(plan: Plan, case: int, what: str, headers: Headers) -> None:
    file = damaged_file(plan, case)
    path = file.write(plan.keep / f'header-{case}.gguf')
    facts = {'seed': plan.seed, 'case': case, 'changes': file.changes, 'what': what}
    write_down(plan.keep / f'header-{case}.json', facts)
    headers.problems.append(Problem(part='header', case=case, what=what, file=path))


def _case_file(folder: Path) -> Path:
    return folder / 'case.json'


def _case_at_death(folder: Path, first: int) -> int:
    with suppress(OSError, ValueError):
        return int(json.loads(_case_file(folder).read_text()))
    return first
