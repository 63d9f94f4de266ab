"""What a reply asks to have called."""

import json
from collections.abc import Sequence

from nicegui import ui

from inference.chat import ToolCall
from webui.components.region import Region


class ToolCalls(Region):
    """A small block for each call, with its name and arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._arguments: list[ui.label] = []

    def show(self, calls: Sequence[ToolCall]) -> None:
        """Show these calls; those that are there already change in place."""
        for call in calls[len(self._arguments) :]:
            with self, ui.element('div').classes('tool-call').props('data-testid=tool-call'):
                with ui.element('div').classes('tool-name'):
                    ui.icon('sym_o_build')
                    ui.label(call.name)
                self._arguments.append(ui.label().classes('tool-arguments'))
        for label, call in zip(self._arguments, calls, strict=True):
            label.set_text(_readable(call.arguments))
            label.set_visibility(bool(call.arguments))


def _readable(arguments: str) -> str:
    """Return the JSON with a line for each part, or the text as it is while it is not complete."""
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return arguments
