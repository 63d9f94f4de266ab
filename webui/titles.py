"""Titles that the model makes in a free moment, by going on with the conversation it has in memory anyway."""

import re
from typing import Literal

from inference.chat import Finished, GenerationRequest, Message, TextDelta, clean_text
from inference.engine import Engine
from inference.errors import InferenceError
from inference.settings import SamplingSettings
from presets.chat import Chat
from webui.turns import turns_from

Titling = Literal['never', 'line', 'model']
"""How a chat that nobody named is called: by when it began, by how its first question begins, or by the model."""

REQUEST = (
    'Summarize the conversation above in a title of at most six words, in its language. Answer with the title only.'
)
SAMPLING = SamplingSettings(temperature=0.2, max_tokens=24, reasoning='off')
FREE_SECONDS = 1.0
"""How long after a reply a title is asked for: who goes on at once is not disturbed, and the engine has kept what it
knows of the chat, which some models' memories could not be cut back to."""
LONGEST = 60
"""Characters."""
_SENTENCES = re.compile(r'[!?]\s+\S|[.]\s+[A-Z]')
_INTRODUCTION = re.compile(r'(?:\W*(?:chat|conversation)?\s*(?:title|titel)\s*:)+', re.IGNORECASE)
_AROUND = ' \t*_`~>"\'“”„«»‘’‚–—-'


async def suggest_title(engine: Engine, chat: Chat) -> str:
    """Return what the model would call the chat, '' if it does not come to that.

    The prompt begins like that of the next turn, so that little is computed, and nothing is lost that the next turn
    needs. Any other request ends this one.
    """
    turns = turns_from(chat.system_prompt, chat.path())
    if not turns or turns[-1].message.role != 'assistant':
        return ''
    messages = (*(turn.message for turn in turns), Message(role='user', content=REQUEST))
    request = GenerationRequest(messages=messages, sampling=SAMPLING, overflow=chat.overflow, gives_way=True)
    text: list[str] = []
    complete = False
    try:
        async with engine.generate(request) as generation:
            async for event in generation:
                if isinstance(event, TextDelta):
                    text.append(event.text)
                elif isinstance(event, Finished):
                    complete = event.reason == 'stop'
    except InferenceError:
        return ''
    lines = ''.join(text).strip().splitlines()
    return clean_title('\n'.join(lines if complete else lines[:-1]))


def clean_title(text: str) -> str:
    """Return the title in a model's answer, without what models put around it: its first line that may be one.

    That is no greeting, nor the request in other letters, which small models are fond of.
    """
    for line in clean_text(text).splitlines():
        introduced = _INTRODUCTION.match(line)
        named = line[introduced.end() :] if introduced else line
        title = ' '.join(named.lstrip(f'#{_AROUND}').rstrip(f'.{_AROUND}').split())
        if any(character.isalnum() for character in title) and not title.endswith(':'):
            return '' if _SENTENCES.search(title) or _repeats(title) else _shortened(title)
    return ''


def starting_title(chat: Chat) -> str:
    """Return when the chat began, as the clock here tells it."""
    return f'{chat.created.astimezone():%Y-%m-%d %H:%M}'


def _shortened(title: str) -> str:
    """Cut a long title at the end of a word."""
    if len(title) <= LONGEST:
        return title
    words = title[:LONGEST].rpartition(' ')[0] or title[: LONGEST - 1]
    return f'{words.rstrip(",;:")}…'


def _repeats(title: str) -> bool:
    """Return whether a title is a part of what was asked, of more than a word or two."""
    letters = _letters(title)
    return len(letters) > LONGEST // 4 and letters in _letters(REQUEST)


def _letters(text: str) -> str:
    return ''.join(filter(str.isalnum, text.casefold()))
