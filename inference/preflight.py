"""A trial of a model in a child process: what crashes there does not crash here.

A C library that meets a file, setting or processor it cannot handle ends its process. So each new combination is
loaded and asked for a few tokens in a child first: `python -m inference.preflight`, a `Trial` as JSON on its input.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger
from pydantic import BaseModel

from inference.crash import Crash, diagnose, explain
from inference.declare import describe
from inference.errors import DecodeFailed, InferenceError, LoadFailed, NotEnoughMemory, PreflightFailed
from inference.gguf import Header, kind_of, read_header, split_parts
from inference.memory import free_memory
from inference.settings import LoadSettings

if TYPE_CHECKING:
    from inference.runner import ModelRunner

ROOT = Path(__file__).parents[1]
PROMPT_TOKENS = 40
"""More than one, because the code for prompts differs from the code for single tokens, and crashes apart from it."""
PATIENCE, SLOWEST_DISK = 120.0, 20e6
"""Seconds a child may say nothing, and bytes a second that it may read meanwhile; the first tokens read the file."""
KEPT_ERRORS, LONGEST_LINE, LAST_LINES = 64 << 10, 1 << 20, 30


class Trial(BaseModel):
    """What the child is to try."""

    path: Path
    settings: LoadSettings


class Outcome(BaseModel):
    """What the child says last: nothing if all went well, else the code of its error and the message."""

    code: str = ''
    message: str = ''


class _Nonsense(InferenceError):
    """What the model computes are no numbers."""

    code = 'nonsense'


async def preflight(
    path: Path, settings: LoadSettings, on_progress: Callable[[float], None], *, patience: float | None = None
) -> None:
    """Load a model and decode with it in a child process; `on_progress` gets the share loaded.

    A child that says nothing for `patience` seconds is ended. So it is if the call is cancelled. Raises LoadFailed or
    NotEnoughMemory with the library's reason, PreflightFailed if the child died or what it computed is nonsense.
    """
    trial, size = Trial(path=path, settings=as_tried(settings)), _size(path)
    free, oom_kills = free_memory(), _oom_kills()
    end = await _run(trial, on_progress, patience or PATIENCE + size / SLOWEST_DISK)
    match end.outcome:
        case Outcome(code='') if end.code == 0:
            return
        case Outcome(code=NotEnoughMemory.code, message=message):
            raise NotEnoughMemory(message)
        case Outcome(code=DecodeFailed.code, message=message):
            raise PreflightFailed(message)
        case Outcome(code=_Nonsense.code):
            crash = Crash(cause='nonsense', how='')
        case Outcome(code=str(code), message=message) if code:
            raise LoadFailed(message)
        case _ if end.timed_out:
            crash = Crash(cause='timeout', how='')
        case _:
            crash = diagnose(end.code, end.errors, oom_killed=_oom_kills() > oom_kills)
    logger.debug('The trial of {} said last:\n{}', path.name, '\n'.join(end.errors.splitlines()[-LAST_LINES:]))
    memory = f'The file has {_gib(size)}; {_gib(free)} of memory were free before.'
    raise PreflightFailed(
        explain(path.name, crash, settings, memory),
        may_be_repacking=settings.use_extra_bufts and crash.may_be_repacking,
        lasts=crash.cause != 'killed',
    )


def as_tried(settings: LoadSettings) -> LoadSettings:
    """Return the settings a trial is made with: as many slots as the next power of two, so that it holds for fewer."""
    return settings.model_copy(update={'n_slots': 1 << (settings.n_slots - 1).bit_length()})


def verdict_scope(settings: LoadSettings) -> str:
    """Return the settings that a verdict holds for as text: those that cannot make a load crash are left out."""
    live = {setting.name for setting in describe(LoadSettings) if not setting.needs_reload}
    return as_tried(settings).model_dump_json(exclude=live - {'n_slots'} | {'draft'})


@dataclass(frozen=True, kw_only=True, slots=True)
class _End:
    """How a child ended; `outcome` is None if it could not say any more."""

    code: int
    outcome: Outcome | None
    errors: str
    timed_out: bool


async def _run(trial: Trial, on_progress: Callable[[float], None], patience: float) -> _End:
    child = await asyncio.create_subprocess_exec(
        sys.executable, '-m', 'inference.preflight', cwd=ROOT, limit=LONGEST_LINE,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin and child.stdout and child.stderr
    errors = asyncio.create_task(_tail(child.stderr))
    outcome, timed_out = None, False
    try:
        child.stdin.write(trial.model_dump_json().encode())
        child.stdin.close()
        outcome = await _follow(child.stdout, on_progress, patience)
        async with asyncio.timeout(patience):
            await child.wait()
    except TimeoutError:
        timed_out = True
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        said = await errors
    return _End(code=await child.wait(), outcome=outcome, errors=said, timed_out=timed_out)


async def _follow(lines: asyncio.StreamReader, on_progress: Callable[[float], None], patience: float) -> Outcome | None:
    """Pass the child's progress on and return the outcome it told, if any. Raises TimeoutError."""
    outcome = None
    while line := await _line(lines, patience):
        match _read(line):
            case float(share):
                on_progress(share)
            case Outcome() as said:
                outcome = said
    return outcome


async def _line(lines: asyncio.StreamReader, patience: float) -> bytes:
    # NOTE: not `wait_for`, which loses a cancel that comes while there is a line.
    async with asyncio.timeout(patience):
        return await lines.readline()


def _read(line: bytes) -> float | Outcome | None:
    with suppress(ValueError):  # a graphics driver that talks
        message = json.loads(line)
        return message if isinstance(message, float) else Outcome.model_validate(message)
    return None


async def _tail(stream: asyncio.StreamReader) -> str:
    """Return the end of what a child says on its standard error."""
    kept = b''
    while chunk := await stream.read(KEPT_ERRORS):
        kept = (kept + chunk)[-KEPT_ERRORS:]
    return kept.decode('utf-8', 'replace')


def _oom_kills() -> int:
    """Return how many processes Linux has killed because memory ran out; 0 on other systems."""
    with suppress(OSError, ValueError):
        for line in Path('/proc/vmstat').read_text().splitlines():
            if line.startswith('oom_kill '):
                return int(line.split()[1])
    return 0


def _size(path: Path) -> int:
    with suppress(OSError):
        return sum(part.stat().st_size for part in split_parts(path))
    return 0


def _gib(n_bytes: int) -> str:
    return f'{n_bytes / 2**30:.1f} GiB'


def main() -> None:
    """Run the trial that the parent asks for; the parent reads JSON lines."""
    die_quietly()
    logger.remove()
    logger.add(sys.stderr, format='{message}')
    trial = Trial.model_validate_json(sys.stdin.read())
    try:
        attempt(trial)
    except InferenceError as error:
        _say(Outcome(code=error.code, message=str(error)).model_dump())
    else:
        _say(Outcome().model_dump())


def attempt(trial: Trial) -> None:
    """Load a model and compute with it, in this process. Raises InferenceError."""
    from inference.runner import ModelRunner  # noqa: PLC0415 (the parent must not load the library for this)

    with closing(ModelRunner.load(trial.path, trial.settings, on_progress=_report)) as runner:
        runner.tokenize('Hello', add_special=True, parse_special=True)
        header = read_header(trial.path)
        if kind_of(header) == 'chat':
            _try_writing(trial, runner)
        else:
            _try_reading(trial, runner, header)


def _try_writing(trial: Trial, runner: 'ModelRunner') -> None:
    from inference.runner import Decoded  # noqa: PLC0415
    from inference.scheduler import Request, Slot, Work  # noqa: PLC0415

    prompt = [token % runner.n_vocab for token in range(1, min(PROMPT_TOKENS, runner.n_batch) + 1)]
    slot: Slot[Request] = Slot(0)
    request = Request(prompt=prompt, max_tokens=2)
    for tokens, position in ((prompt, 0), (prompt[:1], len(prompt)), (prompt[:1], len(prompt) + 1)):
        decoded = runner.decode([Work(slot, request, tokens, position, samples=True)])
        if decoded is not Decoded.OK or not runner.finite_logits(len(tokens) - 1):
            raise _Nonsense


def _try_reading(trial: Trial, runner: 'ModelRunner', header: Header) -> None:
    from inference.embedding import EmbeddingContext, EmbeddingJob  # noqa: PLC0415

    context = EmbeddingContext(runner, header, trial.settings)
    text = [token % runner.n_vocab for token in range(1, min(PROMPT_TOKENS, context.limit) + 1)]
    job = EmbeddingJob([text, text[:1]])
    while not job.is_done:
        context.step(job, seconds=1)


def _report(share: float) -> bool:
    _say(round(float(share), 3))
    return True


def _say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + '\n')
    sys.stdout.flush()


def die_quietly() -> None:
    """Let Linux end this process, not the app, when memory runs out; no crash dump of a whole model, no dialog."""
    with suppress(OSError):
        Path('/proc/self/oom_score_adj').write_text('1000')
    if sys.platform == 'win32':
        import ctypes  # noqa: PLC0415 (nothing but this needs it)

        ctypes.windll.kernel32.SetErrorMode(0x8003)
    else:
        import resource  # noqa: PLC0415 (not there on Windows)

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == '__main__':
    main()
