"""Chats as people have them, made up: Markdown with code, in the app's own files, the same ones every time."""

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, count
from pathlib import Path

from presets.chat import Chat, StoredMessage
from presets.migrations import CURRENT
from presets.storage import encode

VOCABULARY = 20_000
SHORTEST, LONGEST = 2, 14
"""Messages of a chat among many."""
QUESTION, REPLY = 200, 1_800
"""Characters of a message, on average; together about what a thousand messages of a megabyte have."""
SYLLABLES = 'ba ne ro ti su ka me lo vi da pe no ri tu sa ke mo li va du gra sten pol tri con ver fla mik'.split()  # noqa: SIM905
ENDING = 'This is where it ends.'
CODE = """```python
def {a}_{b}(values: list[int], {c}: int = {number}) -> int:
    \"\"\"Return the {d} of {e}.\"\"\"
    total = 0
    for value in values:  # one {f} after the other
        total += value * {c} if value > {number} else len('{a} {d}')
    return total
```"""


class Writing:
    """Words with the frequencies of a language, and sentences, Markdown and chats of them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (no secret)
        names = random.Random(0)  # noqa: S311 (the vocabulary is the same for every seed)
        self._words = sorted({''.join(names.choices(SYLLABLES, k=names.randint(1, 4))) for _ in range(VOCABULARY)})
        names.shuffle(self._words)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._words) + 1)))

    def words(self, number: int) -> list[str]:
        """Return words, the common ones more often."""
        return self._random.choices(self._words, cum_weights=self._weights, k=number)

    def sentence(self) -> str:
        """Return a sentence of a usual length."""
        return f'{" ".join(self.words(self._random.randint(6, 18))).capitalize()}.'

    def markdown(self, size: int) -> str:
        """Return about so many characters with headings, emphasis, lists, tables and code."""
        parts: list[str] = []
        while (written := sum(map(len, parts))) < size:
            parts.append(self._block() if size - written > len(CODE) else self.sentence())
        return '\n\n'.join(parts)

    def messages(self, number: int) -> Iterator[StoredMessage]:
        """Yield questions and replies in turn, each of a length of its own."""
        for place in range(number):
            spread = self._random.uniform(0.2, 1.8)
            if place % 2:
                yield StoredMessage(
                    role='assistant', content=self.markdown(round(REPLY * spread)), finish_reason='stop'
                )
            else:
                yield StoredMessage(role='user', content=self.markdown(round(QUESTION * spread)))

    def some(self, least: int, most: int) -> int:
        """Return a number."""
        return self._random.randint(least, most)

    def word_of(self, text: str) -> str:
        """Return one of the words of a text, of those that are long enough to be looked for."""
        words: list[str] = re.findall(r'[a-z]{4,}', text.lower())
        return self._random.choice(words)

    def _block(self) -> str:
        a, b, c, d, e, f = self.words(6)
        match self._random.randint(0, 7):
            case 0:
                return f'## {a.capitalize()} {b} {c}'
            case 1:
                return CODE.format(a=a, b=b, c=c, d=d, e=e, f=f, number=self._random.randint(2, 99))
            case 2:
                return '\n'.join(f'- **{word}**: {self.sentence()}' for word in (a, b, c))
            case 3:
                return f'| {a} | {b} |\n|---|--:|\n| {c} | {d} |\n| {e} | {f} |'
            case _:
                marked = f'{self.sentence()} *{a.capitalize()}* is `{b}`, see [{c}](https://example.org/{d}).'
                return ' '.join([self.sentence(), marked, self.sentence()])


def long_chat(title: str, number: int, *, seed: int) -> Chat:
    """Return a chat of so many messages whose last paragraph is known; a full context costs it its old messages."""
    chat = Chat(title=title, overflow='roll')
    for message in Writing(seed).messages(number):
        chat.append(message)
    chat.messages[chat.leaf or ''].content += f'\n\n{ENDING}'
    return chat


def write_chats(folder: Path, number: int, *, seed: int = 1) -> list[str]:
    """Fill a folder with chats, an hour between one and the next; return a word of each, to look for.

    Nothing is synced to the disk, which would take most of the time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writing, said = Writing(seed), []
    for age in range(1, number + 1):
        chat = Chat(title=' '.join(writing.words(4)).capitalize())
        for message in writing.messages(writing.some(SHORTEST, LONGEST)):
            chat.append(message)
        write_chat(folder, chat, datetime.now(UTC) - timedelta(hours=age))
        said.append(writing.word_of(message.content))
    return said


def write_chat(folder: Path, chat: Chat, updated: datetime) -> None:
    """Write one chat in the form that the app's store reads."""
    head = chat.model_copy(update={'created': updated, 'updated': updated}).model_dump(mode='json')
    messages = head.pop('messages').values()
    tables = {
        'meta': {'1': {'version': CURRENT}},
        'chat': {'1': head},
        'messages': dict(zip(map(str, count(1)), messages, strict=False)),
    }
    (folder / f'{chat.id}.json').write_bytes(encode(tables))
