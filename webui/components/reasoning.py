"""What the model thought before it answered, in a block above the answer that folds."""

from nicegui import ui

from presets.chat import StoredMessage
from webui.components.controls import set_class
from webui.components.progress import describe_seconds
from webui.components.region import Region
from webui.components.streaming import StreamingMarkdown
from webui.words import say


class Reasoning(Region):
    """Open while the model thinks, folded when the answer begins; of a stored message, drawn when it is unfolded."""

    def __init__(self, message: StoredMessage, *, running: bool) -> None:
        super().__init__()
        self._message = message
        self._drawn = running
        with self, ui.element('details').classes('reasoning').props('data-testid=reasoning') as self._block:
            with ui.element('summary'):
                self._title = ui.label()
            with ui.element('div').classes('reasoning-text'):
                self._thoughts = StreamingMarkdown()
        self._block.on('toggle', self._draw, args=[])
        self._set_thinking(running)
        if running:
            self._thoughts.append(message.reasoning)

    def extend(self, text: str) -> None:
        """Append streamed text; a model that goes on thinking after it began to answer does not unfold it again."""
        if self._is_thinking:
            self._thoughts.append(text)
        elif self._drawn:
            self._thoughts.set_content(self._message.reasoning)

    def fold(self) -> None:
        """Close the text: the answer begins, or the reply ended."""
        if self._is_thinking:
            self._thoughts.finish()
            self._set_thinking(False)

    @property
    def _is_thinking(self) -> bool:
        return 'open' in self._block.props

    def _set_thinking(self, thinking: bool) -> None:
        self._block.props(add='open' if thinking else '', remove='' if thinking else 'open')
        set_class(self._block, 'thinking', thinking)
        self._title.set_text(
            say('message.thinking') if thinking else describe_thinking(self._message.reasoning_seconds)
        )

    def _draw(self) -> None:
        if not self._drawn:
            self._drawn = True
            self._thoughts.set_content(self._message.reasoning)


def describe_thinking(seconds: float) -> str:
    """Say how long the model thought; 0 seconds are unknown, as after a crash."""
    if not seconds:
        return say('message.thoughts')
    if seconds < 1:
        return say('message.thought-moment')
    return say('message.thought-for', time=describe_seconds(seconds))
