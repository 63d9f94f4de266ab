"""Diagrams are drawn by Mermaid, which NiceGUI brings along, in a frame where it can do nothing else.

What it reads is untrusted, and it is a large program. So it runs in a document of an origin of its own, without
network, cookies or a way to the page; that shows what comes back as a picture, in which nothing acts.
"""

from pathlib import Path

import nicegui
from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PATH = '/diagrams'
MERMAID = Path(nicegui.__file__).parent / 'elements' / 'mermaid' / 'dist'
FRAME = Path(__file__).parent / 'static' / 'diagrams'
POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def install(app: FastAPI) -> None:
    """Serve the frame and the program in it; both are the same for everybody, so they need no access code."""
    app.mount(PATH, _Files(directory=FRAME))


class _Files(StaticFiles):
    def __init__(self, *, directory: Path) -> None:
        super().__init__(directory=directory)
        self.all_directories = [directory, MERMAID]

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers['Content-Security-Policy'] = POLICY
        response.headers['X-Frame-Options'] = 'SAMEORIGIN'
        # The frame is of no origin, so everything is foreign to it.
        response.headers['Access-Control-Allow-Origin'] = '*'
        response.headers['Cache-Control'] = 'no-cache'
        return response
