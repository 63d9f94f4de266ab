"""An engine beside the one that chats: loaded when a program asks for vectors or scores, gone when nobody does."""

import asyncio
from collections.abc import Awaitable, Callable

from loguru import logger

from inference.engine import Engine

KEEP_SECONDS = 300.0
"""How long a model stays that nobody asks for."""


class SideEngine:
    """Keeps one engine, of the model that was asked for last; `open_engine` loads the one of an id."""

    def __init__(self, open_engine: Callable[[str], Awaitable[Engine]], keep_seconds: float = KEEP_SECONDS) -> None:
        self._open_engine, self._keep_seconds = open_engine, keep_seconds
        self._turn = asyncio.Lock()
        self._engine: Engine | None = None
        self._leaving: asyncio.Task[None] | None = None
        self.model_id = ''

    async def get(self, model_id: str) -> Engine:
        """Return the model's engine, loaded if need be; another one finishes first. Raises what the load fails of."""
        async with self._turn:
            if not self._engine or model_id != self.model_id:
                await self._unload()
                self._engine, self.model_id = await self._open_engine(model_id), model_id
            self._stay()
            return self._engine

    async def close(self) -> None:
        """End what runs and give the memory back."""
        if self._leaving:
            self._leaving.cancel()
        async with self._turn:
            if self._engine:
                await self._engine.close()
            self._engine = None

    def _stay(self) -> None:
        if self._leaving:
            self._leaving.cancel()
        self._leaving = asyncio.create_task(self._leave(), name='unload an embedding model')

    async def _leave(self) -> None:
        await asyncio.sleep(self._keep_seconds)
        if self._engine:
            await self._engine.idle()
        async with self._turn:
            await self._unload()

    async def _unload(self) -> None:
        """Let the engine finish, then close it."""
        if self._engine:
            await self._engine.idle()
            engine, self._engine = self._engine, None
            await engine.close()
            logger.info('Unloaded {}', self.model_id)
