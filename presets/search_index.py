"""The texts of all chats in an SQLite file, for the search: only a cache, made anew when anything is wrong with it.

Each text is a row whose number says its chat and its place there; place 0 is the title. SQLite's full-text index keeps
where each word is, not the texts once more. A Python whose SQLite lacks it looks through the texts instead.
"""

import os
import sqlite3
import unicodedata
from collections.abc import Mapping
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

from presets.search_text import Term, contains, fold
from presets.storage import Stamp

VERSION = f'1, Unicode {unicodedata.unidata_version}'
"""Changes with what `fold` makes of a text: the words of a text that is removed must be those it came with."""
_BITS = 20
_PLACES = 1 << _BITS
"""Texts that one chat may have."""

_TABLES = """
CREATE TABLE about (version TEXT NOT NULL);
CREATE TABLE chat (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, changed INTEGER, size INTEGER);
CREATE TABLE message (number INTEGER PRIMARY KEY, id TEXT NOT NULL, text TEXT NOT NULL);
"""
_WORDS = """
CREATE VIRTUAL TABLE words USING fts5(
  text, content = '', columnsize = 0, prefix = '1 2 3', tokenize = "unicode61 remove_diacritics 0"
);
"""
_MATCHES = 'SELECT rowid >> 20, group_concat(rowid) FROM words WHERE words MATCH ? GROUP BY rowid >> 20'
_SCANNED = 'SELECT number >> 20, group_concat(number) FROM message WHERE has(text) GROUP BY number >> 20'
_DELETE = "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)"


class SearchIndex:
    """One connection, for one thread. Its methods raise `sqlite3.Error` for a damaged file or a full disk."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, or make it anew; None keeps all in memory."""
        self._path = path
        self.has_words = has_full_text()
        try:
            self._connection = self._connect()
            self._check()
        except sqlite3.Error:
            self.remove_file()
            self._connection = self._connect()
            self._create()

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def remove_file(self) -> None:
        """Close the file and remove it, whatever is in it."""
        with suppress(AttributeError, sqlite3.Error):
            self._connection.close()
        if self._path:
            for end in ('', '-wal', '-shm', '-journal'):
                with suppress(OSError):
                    self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def stamps(self) -> dict[str, Stamp]:
        """Return of each chat which state of its file is in the index."""
        rows = self._connection.execute('SELECT id, changed, size FROM chat')
        return {chat_id: (changed, size) for chat_id, changed, size in rows}

    def put(self, chat_id: str, stamp: Stamp, texts: Mapping[str, str]) -> None:
        """Replace a chat's texts, which are named by message id, the title by ''; only what changed is written."""
        first = self._number(chat_id, stamp) << _BITS
        known = self._texts(first)
        for key, (number, text) in known.items():
            if texts.get(key) != text:
                self._remove(number, text)
        free = count(max((number for number, _ in known.values()), default=first) + 1)
        for key, text in texts.items():
            if key not in known:
                self._add(next(free) if key else first, key, text)
            elif known[key][1] != text:
                self._add(known[key][0], key, text)

    def remove(self, chat_id: str) -> None:
        """Forget a chat."""
        for (number,) in self._connection.execute('SELECT number FROM chat WHERE id = ?', (chat_id,)).fetchall():
            for place, text in self._texts(number << _BITS).values():
                self._remove(place, text)
            self._connection.execute('DELETE FROM chat WHERE number = ?', (number,))

    def commit(self) -> None:
        """Keep what was put and removed."""
        self._connection.commit()

    def matches(self, term: Term) -> dict[str, str]:
        """Return by chat the numbers of the texts with the term in them, in order and joined by commas.

        A common word is in so many texts that only the numbers that are wanted should become numbers in Python.
        """
        if self.has_words:
            rows = self._connection.execute(_MATCHES, (_expression(term),))
        else:
            self._connection.create_function('has', 1, lambda text: contains(fold(text), term), deterministic=True)
            rows = self._connection.execute(_SCANNED)
        found = dict(rows.fetchall())
        chats = self._connection.execute('SELECT number, id FROM chat').fetchall()
        return {chat_id: found[number] for number, chat_id in chats if number in found}

    def text(self, number: int) -> tuple[str, str]:
        """Return the message id of a text, '' for the title, and the text."""
        row = self._connection.execute('SELECT id, text FROM message WHERE number = ?', (number,)).fetchone()
        return (str(row[0]), str(row[1])) if row else ('', '')

    def _connect(self) -> sqlite3.Connection:
        if self._path:
            with suppress(OSError):  # SQLite gives its other files the rights of this one
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path or ':memory:', check_same_thread=False)
        try:
            connection.execute('PRAGMA journal_mode = WAL')
            connection.execute('PRAGMA synchronous = NORMAL')
            connection.execute('PRAGMA secure_delete = ON')
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _check(self) -> None:
        tables = {name for (name,) in self._connection.execute('SELECT name FROM sqlite_master')}
        versions = self._connection.execute('SELECT version FROM about').fetchall()
        if versions != [(VERSION,)] or ('words' in tables) != self.has_words:
            raise sqlite3.DatabaseError('the index is of another version')
        self._connection.execute('SELECT count(*) FROM chat, (SELECT 1 FROM message LIMIT 1)').fetchall()

    def _create(self) -> None:
        self._connection.executescript(_TABLES + (_WORDS if self.has_words else ''))
        self._connection.execute('INSERT INTO about VALUES (?)', (VERSION,))
        self._connection.commit()

    def _number(self, chat_id: str, stamp: Stamp) -> int:
        self._connection.execute(
            'INSERT INTO chat (id, changed, size) VALUES (?, ?, ?)'
            ' ON CONFLICT (id) DO UPDATE SET changed = excluded.changed, size = excluded.size',
            (chat_id, *stamp),
        )
        row = self._connection.execute('SELECT number FROM chat WHERE id = ?', (chat_id,)).fetchone()
        return int(row[0])

    def _texts(self, first: int) -> dict[str, tuple[int, str]]:
        rows = self._connection.execute(
            'SELECT id, number, text FROM message WHERE number BETWEEN ? AND ?', (first, first + _PLACES - 1)
        )
        return {key: (number, text) for key, number, text in rows}

    def _add(self, number: int, key: str, text: str) -> None:
        self._connection.execute('INSERT INTO message (number, id, text) VALUES (?, ?, ?)', (number, key, text))
        if self.has_words:
            self._connection.execute('INSERT INTO words (rowid, text) VALUES (?, ?)', (number, fold(text)))

    def _remove(self, number: int, text: str) -> None:
        self._connection.execute('DELETE FROM message WHERE number = ?', (number,))
        if self.has_words:
            self._connection.execute(_DELETE, (number, fold(text)))


def has_full_text() -> bool:
    """Say whether this Python's SQLite has its full-text index."""
    with closing(sqlite3.connect(':memory:')) as connection:
        try:
            connection.execute('CREATE VIRTUAL TABLE words USING fts5(text)')
        except sqlite3.OperationalError:
            return False
    return True


def numbers(found: str) -> list[int]:
    """Return the numbers that `SearchIndex.matches` told."""
    return [int(number) for number in found.split(',')]


def is_title(number: int) -> bool:
    """Say whether the text with this number is a chat's title."""
    return number % _PLACES == 0


def in_title(found: str) -> bool:
    """Say whether the title is among the numbers that `SearchIndex.matches` told."""
    return is_title(int(found.split(',', 1)[0]))


def _expression(term: Term) -> str:
    """Return the term in the language of the full-text index; words are letters and digits, so nothing is escaped."""
    return f'"{" ".join(term.words)}"' + ('' if term.exact else ' *')
