"""A part of the page that is drawn apart from the rest."""

from nicegui import ui


class Region(ui.element, component='region.js'):
    """A plain container, but a Vue component of its own: what changes in it does not draw its surroundings again.

    Everything outside such a component belongs to one render function for the whole page.
    """
