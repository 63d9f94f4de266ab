"""What a reply waits for before its first word."""

import time
from collections.abc import Callable

from nicegui import ui

from inference.chat import PromptProgress
from webui.components.region import Region
from webui.conversation import Conversation
from webui.words import say
from webui.words.formats import number, percent

SURE_AFTER = 1.0
"""Seconds of reading after which its pace says when it will end."""


class Progress(Region):
    """A line with a progress bar; it goes with the first word."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._label: ui.label | None = None
        self._bar: ui.element | None = None

    def show(self, conversation: Conversation, model_state: str, model_progress: float) -> None:
        """Say what is being waited for: the model, the queue, or the end of the prompt."""
        progress = conversation.progress
        if conversation.state == 'waiting':
            place = say('message.place', place=conversation.place) if conversation.place else ''
            self._say(place or model_state or say('message.waiting-for-model'), model_progress)
        elif conversation.state == 'prefill' and progress and progress.done < progress.total:
            self._say_reading(progress)
        elif conversation.state == 'prefill':
            self._say(say('message.first-word'), 0)
        else:
            self.end()

    def end(self) -> None:
        """There is nothing to wait for any more."""
        if self._label:
            self.clear()
            self._label = self._bar = self._began = None

    def _say_reading(self, progress: PromptProgress) -> None:
        done, total = progress.done - progress.cached, progress.total - progress.cached
        share = done / max(1, total)
        if left := self._time_left(done, total):
            self._say(say('message.reading-left', share=percent(share), n=number(total), left=left), share)
        else:
            self._say(say('message.reading', share=percent(share), n=number(total)), share)

    def _time_left(self, done: int, total: int) -> str:
        """Estimate from the pace so far; empty until that is known."""
        self._began = self._began or (self._clock(), done)
        since, already = self._clock() - self._began[0], done - self._began[1]
        if since < SURE_AFTER or already <= 0:
            return ''
        return describe_seconds((total - done) * since / already)

    def _say(self, text: str, share: float) -> None:
        if not self._label or not self._bar:
            with self, ui.element('div').classes('waiting').props('data-testid=waiting'):
                ui.element('span').classes('pulse')
                self._label = ui.label()
                self._bar = ui.element('progress').props('max=1')
        self._label.set_text(text)
        self._bar.set_visibility(share > 0)
        if self._bar.props.get('value') != round(share, 3):
            self._bar.props['value'] = round(share, 3)
            self._bar.props['aria-label'] = text


def describe_seconds(seconds: float) -> str:
    """Return a stretch of time as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    return say('message.minutes', minutes=minutes, seconds=rest) if minutes else say('message.seconds', n=rest)
