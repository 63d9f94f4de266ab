"""A trial of a model in a child process: what crashes there does not crash here.

A C library that meets a file, setting or processor it cannot handle ends its process. So each new combination is
loaded and asked for a few tokens in a child first: `python -m inference.preflight`, a `Trial` as JSON on its input.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from loguru import logger
from pydantic import BaseModel

from inference.errors import DecodeFailed, InferenceError, LoadFailed, PreflightFailed
from inference.settings import LoadSettings

ROOT = Path(__file__).parents[1]
PROMPT_TOKENS = 40
"""More than one, because the code for prompts differs from the code for single tokens, and crashes apart from it."""
DONE = 'done'
REFUSED, NONSENSE = 3, 4
"""How the child ends when the library says no, and when it computes something that cannot be right."""


class Trial(BaseModel):
    """What the child is to try."""

    path: Path
    settings: LoadSettings


async def preflight(path: Path, settings: LoadSettings, on_progress: Callable[[float], None]) -> None:
    """Load a model and decode with it in a child process; `on_progress` gets the share loaded.

    Cancelling the call ends the child. Raises LoadFailed with the library's reason, PreflightFailed if the
    child died or what it computed is nonsense.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable, '-m', 'inference.preflight', cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin and child.stdout and child.stderr
    try:
        child.stdin.write(Trial(path=path, settings=settings).model_dump_json().encode())
        child.stdin.close()
        said, errors = await asyncio.gather(_follow(child.stdout, on_progress), child.stderr.read())
        code = await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if code == REFUSED:
        raise LoadFailed(said)
    if code != 0 or said != DONE:
        raise PreflightFailed(_explain(path, code, said, errors.decode(errors='replace')))


async def _follow(lines: asyncio.StreamReader, on_progress: Callable[[float], None]) -> str:
    """Pass the child's progress on and return the last thing it said that is not progress."""
    last = ''
    async for line in lines:
        try:
            message = json.loads(line)
        except ValueError:  # a graphics driver that talks
            continue
        if isinstance(message, float):
            on_progress(message)
        else:
            last = message
    return last


def _explain(path: Path, code: int, said: str, errors: str) -> str:
    if said and said != DONE:
        return said
    how = f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code & 0xFFFFFFFF:#x}'
    detail = next((line for line in reversed(errors.splitlines()) if line.strip()), '')
    return (
        f'A trial load of {path.name} in a separate process crashed ({how}), so it was not loaded here. '
        'Try fewer GPU layers or a shorter context; if it stays, the file or this build of llama.cpp is to blame.'
        + (f' It last said: {detail.strip()[:200]}' if detail else '')
    )


def main() -> None:
    """Run the trial that the parent asks for; the parent reads JSON lines."""
    _be_killed_first()
    logger.remove()
    logger.add(sys.stderr, format='{message}')
    trial = Trial.model_validate_json(sys.stdin.read())
    try:
        attempt(trial)
    except InferenceError as error:
        _say(str(error))
        sys.exit(NONSENSE if isinstance(error, DecodeFailed) else REFUSED)
    _say(DONE)


def attempt(trial: Trial) -> None:
    from inference.runner import Decoded, ModelRunner  # noqa: PLC0415 (the parent must not load the library for this)
    from inference.scheduler import Request, Slot, Work  # noqa: PLC0415

    runner = ModelRunner.load(trial.path, trial.settings, on_progress=_report)
    runner.tokenize('Hello', add_special=True, parse_special=True)
    prompt = [token % runner.n_vocab for token in range(1, min(PROMPT_TOKENS, runner.n_batch) + 1)]
    slot: Slot[Request] = Slot(0)
    request = Request(prompt=prompt, max_tokens=2)
    for tokens, position in ((prompt, 0), (prompt[:1], len(prompt)), (prompt[:1], len(prompt) + 1)):
        decoded = runner.decode([Work(slot, request, tokens, position, samples=True)])
        if decoded is not Decoded.OK or not runner.finite_logits(len(tokens) - 1):
            raise DecodeFailed(
                f'{trial.path.name} loads, but computes nonsense. The file is damaged, or this build of llama.cpp '
                'does not get on with this processor. Download the file again, or switch off weight repacking.'
            )
    runner.close()


def _report(share: float) -> bool:
    _say(round(float(share), 3))
    return True


def _say(message: str | float) -> None:
    sys.stdout.write(json.dumps(message) + '\n')
    sys.stdout.flush()


def _be_killed_first() -> None:
    """Tell Linux to end this process, not the app, when memory runs out; other systems have no such file."""
    score = Path('/proc/self/oom_score_adj')
    with suppress(OSError):
        score.write_text('1000')


if __name__ == '__main__':
    main()
