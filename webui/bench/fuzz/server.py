"""Random HTTP requests to the real app with a tiny model: none may crash, hang or fill it, and none ends in a 5xx."""

import http.client
import json
import socket
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inference.fuzzing.gguf_file import UINT32, number
from inference.fuzzing.tiny import llama
from webui.bench.fuzz.bodies import LEAVES, MALFORMED, Body, random_body
from webui.bench.fuzz.findings import Plan, Problem, Resources, say
from webui.bench.fuzz.payloads import OPENAI
from webui.launch import RunningApp, start_app

AT_ONCE = 6
PATIENCE = 60.0
"""Seconds until a request counts as hung, and until the model is loaded."""
SETTLED = 10.0
"""Seconds that the app has to become idle after the last request."""
N_CTX = 2048
WARM_SHARE = 3
MOST_KEPT = 4 << 20
REFERENCE = {'messages': [{'role': 'user', 'content': 'the cat sees a dog'}], 'temperature': 0, 'max_tokens': 32}


@dataclass(kw_only=True, slots=True)
class Served:
    """How requests were answered, and by how many bytes the app grew after the first third of them."""

    answers: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    growth: int = 0
    slowest: float = 0.0


def run(plan: Plan) -> Served:
    """Start the app, send it every request of the plan, and see whether it still is what it was."""
    models = plan.folder / 'models'
    models.mkdir(exist_ok=True)
    _tiny(models / 'tiny.gguf')
    served = Served()
    with start_app(plan.folder / 'data', '--models-dir', str(models), '--model', 'tiny') as app:
        _Serving(app, plan, served).all()
    return served


class _Serving:
    """Sends requests to one running app and notes how it takes them."""

    def __init__(self, app: RunningApp, plan: Plan, served: Served) -> None:
        address = urlsplit(app.url)
        self._host, self._port = address.hostname or '', address.port or 80
        self._app, self._plan, self._served = app, plan, served

    def all(self) -> None:
        """Send everything; then the app must be idle, the same process, and say what it said before."""
        self._wait('no model', lambda health: health['engine']['phase'] == 'ready', PATIENCE)
        process, reference = self._app.app_process(), self._reference()
        cases = self._plan.cases
        warm = len(cases) // WARM_SHARE
        self._send(cases[:warm])
        before = Resources.of(process).rss
        self._send(cases[warm:])
        self._wait('busy', lambda health: health['slots']['busy'] + health['slots']['queued'] == 0, SETTLED)
        if self._app.app_process() != process or not process.is_running():
            self._blame(cases[-1], 'the app crashed and was started again')
            return
        self._served.growth = Resources.of(process).rss - before
        if (reply := self._reference()) != reference:
            self._blame(cases[-1], f'the reference reply was {reference!r} and is {reply!r}')

    def _send(self, cases: Sequence[int]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for done, _ in enumerate(threads.map(self._one, cases), start=1):
                if not done % 250:
                    say(f'HTTP: {done:,} of {len(cases):,} sent')

    def _one(self, case: int) -> None:
        body = self._body(case)
        started = time.monotonic()
        try:
            answer, problem = self._exchange(body)
        except TimeoutError:
            answer, problem = 'hang', f'no end within {PATIENCE:.0f} s'
        except OSError as error:
            answer, problem = _silence(body, repr(error))
        self._served.slowest = max(self._served.slowest, time.monotonic() - started)
        self._served.answers[answer] += 1
        if problem:
            self._blame(case, f'{body.mode}: {problem}')

    def _exchange(self, body: Body) -> tuple[str, str]:
        """Send a request; return the kind of answer, and what is wrong with it."""
        with socket.create_connection((self._host, self._port), PATIENCE) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # the server had enough; its answer may be there
                connection.sendall(body.content)
            if body.mode == LEAVES:
                time.sleep(body.seconds)
                return 'left', ''
            if body.mode in MALFORMED:  # or the server waits for what is announced and never comes
                connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection)
            try:
                response.begin()
                content = response.read()
            except http.client.HTTPException as error:
                return _silence(body, repr(error))
        return f'{response.status}', _wrong_with(body, response.status, content)

    def _reference(self) -> str:
        status, content = self._ask('POST', OPENAI, json.dumps(REFERENCE))
        return f'{status} {json.loads(content)["choices"][0]["message"]}'

    def _wait(self, what: str, is_so: Any, patience: float) -> None:
        deadline = time.monotonic() + patience
        health: dict[str, Any] = {}
        while time.monotonic() < deadline:
            health = json.loads(self._ask('GET', '/api/health')[1])
            if is_so(health):
                return
            time.sleep(0.05)
        self._blame(-1, f'{what} after {patience:.0f} s: {health}')

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {'Content-Type': 'application/json'})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _body(self, case: int) -> Body:
        return random_body(self._plan.dice('bodies', case), f'{self._host}:{self._port}')

    def _blame(self, case: int, what: str) -> None:
        path = self._plan.keep / f'body-{case}.http'
        path.write_bytes(self._body(case).content[:MOST_KEPT])
        self._served.problems.append(Problem(part='body', case=case, what=what, file=path))


def _silence(body: Body, error: str) -> tuple[str, str]:
    return 'no answer', '' if body.mode in MALFORMED else f'no answer: {error}'


def _wrong_with(body: Body, status: int, content: bytes) -> str:
    if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return f'{status} {content[:300]!r}'
    if body.mode in MALFORMED:
        return ''
    if status >= http.HTTPStatus.BAD_REQUEST:
        return '' if _is_error(content) else f'{status} without an error in JSON: {content[:300]!r}'
    failed = [line for line in content.splitlines() if line.startswith(b'data: {"error"') and b'server_error' in line]
    return f'the stream ended with {failed[0][:300]!r}' if failed else ''


def _is_error(content: bytes) -> bool:
    with suppress(ValueError, TypeError, KeyError):
        return isinstance(json.loads(content)['error']['message'], str)
    return False


def _tiny(path: Path) -> None:
    """Write a model with a context that is soon full, so that a request without a limit ends."""
    file = llama()
    entry = file.find(b'llama.context_length')
    assert entry
    entry.payload = number(UINT32, N_CTX)
    file.write(path)
