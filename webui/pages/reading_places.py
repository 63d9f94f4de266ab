"""Where a person was in each chat, kept for their browser."""

from typing import Any

from nicegui import app

from webui.components.transcript import Place

KEY = 'places'
MOST_CHATS = 200
"""Chats whose place is kept; the file is written as a whole."""


class ReadingPlaces:
    """A chat that was left at its end has no place: it is opened at its end, wherever that is then."""

    def of(self, chat_id: str) -> Place | None:
        """Return where the chat was left."""
        match self._stored().get(chat_id):
            case [str(message_id), int(offset)]:
                return Place(message_id=message_id, offset=offset)
        return None

    def keep(self, chat_id: str, place: Place | None) -> None:
        """Note where the reader is."""
        places = {known: value for known, value in self._stored().items() if known != chat_id}
        if place:
            places[chat_id] = [place.message_id, place.offset]
        if place or len(places) != len(self._stored()):
            app.storage.user[KEY] = dict(list(places.items())[-MOST_CHATS:])

    def _stored(self) -> dict[str, Any]:
        places = app.storage.user.get(KEY, {})
        return places if isinstance(places, dict) else {}
