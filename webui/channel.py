"""What pages hear of an open chat."""

from nicegui import Event

from presets.chat import StoredMessage


class Channel:
    """The events of one open chat, all on the event loop.

    A reply that is written emits `reasoned` and `extended` with the text that was added, and `called` when its tool
    calls changed; `marked` says that other messages than before are left out of what the model reads. `added` brings a
    message below the end of the path on screen; `replaced` says that the path is another one, or that a message of it
    changed, such as a finished reply that goes on. `changed` is for the state and the small things around, and
    `queue_changed` for the messages that wait.
    """

    def __init__(self) -> None:
        self.added = Event[StoredMessage]()
        self.reasoned = Event[StoredMessage, str]()
        self.extended = Event[StoredMessage, str]()
        self.called = Event[StoredMessage]()
        self.marked = Event[[]]()
        self.finished = Event[StoredMessage]()
        self.changed = Event[[]]()
        self.replaced = Event[[]]()
        self.queue_changed = Event[[]]()
