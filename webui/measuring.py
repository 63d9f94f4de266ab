"""How much of the context a chat and what is typed in it take, told apart by what it is."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from inference.chat import GenerationRequest, clean_text
from inference.engine import Engine
from presets.chat import Attachment, Chat, StoredMessage
from webui.turns import fenced, turns_from


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextUse:
    """Tokens of the next prompt, whose parts add up to all of it; what the template adds is part of the history, or of
    the system prompt where there is none.

    `attachments` are those of the whole conversation. `reply_room` is kept free by leaving out the messages
    `left_out`; where none may be left out, it is 0, and the reply gets what there is. What does not fit is not
    answered, and only counted roughly if it is far too long.
    """

    system: int = 0
    history: int = 0
    attachments: int = 0
    draft: int = 0
    reply_room: int = 0
    n_ctx: int
    left_out: tuple[str, ...] = ()
    fits: bool = True

    @property
    def total(self) -> int:
        """Tokens of the whole prompt."""
        return self.system + self.history + self.attachments + self.draft


class ContextMeter:
    """Measures one chat, and remembers the tokens of its attachments for each engine."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._counts: WeakKeyDictionary[Engine, dict[str, int]] = WeakKeyDictionary()

    async def measure(self, engine: Engine, draft: str, attachments: Sequence[Attachment]) -> ContextUse:
        """Return what the chat takes with a draft. Raises InferenceError where the engine cannot read it."""
        chat, draft = self._chat, clean_text(draft).strip()
        typed = StoredMessage(role='user', content=draft, attachments=list(attachments))
        messages = [*chat.path(), typed]
        turns = await asyncio.to_thread(turns_from, chat.system_prompt, messages)
        n_system = 1 if turns and turns[0].message.role == 'system' else 0
        if len(turns) == n_system:
            return ContextUse(system=await engine.count_tokens(chat.system_prompt), n_ctx=engine.info.n_ctx)
        request = GenerationRequest(
            messages=tuple(turn.message for turn in turns), sampling=chat.sampling, overflow=chat.overflow
        )
        size = await engine.measure(request)
        left_out = tuple(unseen for place in size.left_out for unseen in turns[place].ids)
        files = [file for message in messages if message.id not in left_out for file in message.attachments]
        counts = sum(size.counts[:n_system]), await self._count(engine, files), await engine.count_tokens(draft)
        system, n_files, n_draft, rest = _shares(size.tokens, counts)
        begins = all(message is typed for message in messages)  # there is no history the rest could be part of
        return ContextUse(
            system=system + (rest if begins else 0),
            history=0 if begins else rest,
            attachments=n_files,
            draft=n_draft,
            reply_room=size.reply,
            n_ctx=size.n_ctx,
            left_out=left_out,
            fits=size.fits,
        )

    async def _count(self, engine: Engine, files: Iterable[Attachment]) -> int:
        counts = self._counts.setdefault(engine, {})
        total = 0
        for file in files:
            if file.id not in counts:
                counts[file.id] = await engine.count_tokens(fenced(file))
            total += counts[file.id]
        return total


def _shares(total: int, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return the counts, made smaller where they are more than the total, and what is left of it."""
    shares: list[int] = []
    for count in counts:
        shares.append(min(count, total - sum(shares)))
    return (*shares, total - sum(shares))
