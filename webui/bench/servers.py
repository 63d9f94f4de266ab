"""The servers that `bench serve` compares, and the client program that asks them."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inference.catalog import Catalog, ModelFile, starter_model
from webui.bench import client
from webui.bench.client import Call, Plan, Reply
from webui.config import AppConfig
from webui.launch import CannotLaunch, start_app

PATIENCE, END_PATIENCE, POLL = 120.0, 10.0, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Something that answers `/v1/chat/completions`."""

    name: str
    host: str
    port: int

    def ask(self, *calls: Call) -> list[Reply]:
        """Have the calls made by the client program. Raises CannotLaunch where one is refused."""
        plan = Plan(host=self.host, port=self.port, calls=list(calls))
        done = subprocess.run(
            [sys.executable, '-I', client.__file__], input=json.dumps(asdict(plan)), capture_output=True, text=True,
            encoding='utf-8', check=False,
        )  # fmt: skip
        if done.returncode:
            raise CannotLaunch(f'Asking {self.name} failed: {done.stderr.strip()[-200:]}')
        replies = [Reply(**reply) for reply in json.loads(done.stdout)]
        for reply in replies:
            if reply.error:
                raise CannotLaunch(f'{self.name} refused a request: {reply.error}')
        return replies


@contextlib.contextmanager
def app(data_dir: Path, model: ModelFile, settings: dict[str, Any]) -> Iterator[Server]:
    """Run this app with a model until the block ends."""
    config = AppConfig(data_dir=data_dir, models_dir=model.path.parent)
    with start_app(
        data_dir, '--models-dir', str(config.models_dir), '--model', _id_of(model, config),
        '--load-settings', json.dumps(settings), '--log-level', 'WARNING',
    ) as running:  # fmt: skip
        address = urlsplit(running.url)
        host, port = address.hostname or '', address.port or 0
        _wait('the app', host, port, '/api/health')
        yield Server(name='the app', host=host, port=port)


@contextlib.contextmanager
def llama_server(program: Path, model: ModelFile, log: Path, *options: str) -> Iterator[Server]:
    """Run llama-server with its defaults, but for `options`, until the block ends."""
    host, port = '127.0.0.1', _free_port()
    command = [str(program), '-m', str(model.path), '--host', host, '--port', str(port), *options]
    with log.open('wb') as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait('llama-server', host, port, '/health', process)
        yield Server(name='llama-server', host=host, port=port)
    finally:
        process.terminate()
        try:
            process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _id_of(model: ModelFile, config: AppConfig) -> str:
    """Return the id that the app will give to the model, which may know more of that name."""
    catalog = Catalog(config.models_folders, [path for path in [starter_model()] if path])
    catalog.scan()
    return next(one.id for one in catalog.models if one.path.samefile(model.path))


def _wait(name: str, host: str, port: int, path: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once a server has its model loaded."""
    deadline = time.monotonic() + PATIENCE
    status, body = 0, b''
    while time.monotonic() < deadline and b'"failed"' not in body and not (process and process.poll() is not None):
        status, body = _get(host, port, path)
        if status == http.HTTPStatus.OK:
            return
        time.sleep(POLL)
    raise CannotLaunch(f'{name} did not load the model: {body.decode(errors="replace") or "it said nothing"}')


def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Return status and body, zero and nothing from a server that does not listen (yet)."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request('GET', path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b''
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])
