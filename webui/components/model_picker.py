"""The model: a menu to pick one, its load state in the top line, and its facts in the sidebar."""

from nicegui import ui

from inference.catalog import ModelFile
from inference.engine import EngineInfo
from webui.components.controls import icon_button, text_button
from webui.components.region import Region
from webui.model_host import LoadState
from webui.services import Services
from webui.words import formats, say

DOTS = {'ready': 'ready', 'failed': 'failed', 'checking': 'busy', 'loading': 'busy', 'empty': ''}
MILLION, BILLION = 10**6, 10**9


class ModelPicker(Region):
    """A button with the model and its state; its menu loads, cancels and unloads."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self.classes('middle-part')
        with self, ui.button(color=None).props('flat dense').classes('model-button') as button:
            button.props['data-testid'] = 'model-picker'
            self._dot = ui.element('span').classes('dot')
            self._label = ui.label().classes('label')
            ui.icon('sym_o_expand_more')
            with ui.menu().props('anchor="bottom middle" self="top middle" role=dialog') as menu:
                menu.props['aria-label'] = say('model.models')
                self._menu = ui.element('div').classes('model-menu').props('data-testid=model-manager')
        self._drawn = ''
        self.show()
        services.host.changed.subscribe(self.show)
        services.catalog_changed.subscribe(self._draw_menu)

    def show(self) -> None:
        """Follow the load state."""
        state = self._services.host.state
        self._dot.classes(replace=f'dot {DOTS[state.phase]}')
        self._label.set_text(describe_state(self._services, state))
        drawn = f'{state.phase} {state.model_id}'
        if drawn != self._drawn:
            self._drawn = drawn
            self._draw_menu()
        elif state.is_busy:
            self._bar.style(f'width: {state.progress:.0%}')

    def _draw_menu(self) -> None:
        services, state = self._services, self._services.host.state
        self._menu.clear()
        with self._menu:
            if state.is_busy:
                self._draw_progress()
            LoadProblem(services)
            for model in services.catalog.models:
                self._draw_model(model, state)
            for path, reason in services.catalog.problems.items():
                with ui.element('div').classes('model-row').props('data-testid=model-problem'):
                    ui.icon('sym_o_error', color='negative')
                    with ui.element('div').classes('grow'):
                        ui.label(path.name).classes('name ellipsis')
                        ui.label(reason).classes('small muted')
            folder = services.config.models_folders[0]
            ui.label(say('model.folder', folder=folder)).classes('small muted q-pa-sm')

    def _draw_progress(self) -> None:
        with ui.element('div').classes('q-pa-sm').props('data-testid=load-progress'):
            with ui.element('div').classes('load-progress'):
                self._bar = ui.element('div').style('width: 0')
            text_button(say('common.cancel'), self._services.host.unload)

    def _draw_model(self, model: ModelFile, state: LoadState) -> None:
        host, loaded = self._services.host, state.phase == 'ready' and state.model_id == model.id
        with ui.element('div').classes('model-row').props('data-testid=model-row'):
            ui.element('span').classes(f'dot {DOTS[state.phase] if state.model_id == model.id else ""}')
            with ui.element('div').classes('grow'):
                ui.label(model.name).classes('name ellipsis')
                ui.label(describe_model(model)).classes('small muted ellipsis')
            if loaded:
                text_button(say('model.unload'), host.unload, testid='unload')
            elif model.kind == 'chat' and not (state.is_busy and state.model_id == model.id):
                text_button(say('model.load'), lambda: host.load(model.id), testid='load')


class LoadProblem(Region):
    """Why the latest load failed, and what can be done about it."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._host = services.host
        self._drawn = ''
        self.show()
        services.host.changed.subscribe(self.show)

    def show(self) -> None:
        """Follow the load state."""
        error = self._host.state.error
        if error == self._drawn:
            return
        self._drawn = error
        self.clear()
        if error:
            with self, ui.element('div').classes('failure small').props('role=alert'):
                ui.label(error).classes('failure-text').props('data-testid=toast-error')
                with ui.element('div').classes('failure-actions'):
                    if self._host.can_insist:
                        text_button(say('model.insist'), lambda: self._host.load_again(insist=True), testid='insist')
                    if self._host.can_retry:
                        text_button(say('model.retry'), lambda: self._host.load_again(retry=True), testid='retry')


class ModelCard(Region):
    """The loaded model with its size, quantization, context and memory."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self.classes('model-card').props('data-testid=model-card')
        self._drawn: object = None
        self.show()
        services.host.changed.subscribe(self.show)
        services.host.adjusted.subscribe(self.show)

    def show(self) -> None:
        """Follow the loaded engine."""
        host = self._services.host
        cache = host.engine.status.cache_limit if host.engine else 0
        if self._drawn == (host.engine, host.state.phase, cache):
            return
        self._drawn = host.engine, host.state.phase, cache
        self.clear()
        with self:
            if not host.engine:
                ui.label(describe_state(self._services, host.state)).classes('muted')
                return
            info = host.engine.info
            with ui.element('div').classes('row no-wrap items-center'):
                ui.label(info.name).classes('name ellipsis col')
                icon_button('eject', say('model.unload_this'), host.unload)
            with ui.element('div').classes('facts'):
                for name, value in _facts(info, cache):
                    ui.label(name)
                    ui.label(value)
            for warning in info.warnings:
                ui.label(warning).classes('warning-text')


def describe_state(services: Services, state: LoadState) -> str:
    """Say in a few words what the model does."""
    name = next((model.name for model in services.catalog.models if model.id == state.model_id), state.model_id)
    match state.phase:
        case 'ready':
            return services.host.engine.info.name if services.host.engine else name
        case 'checking' if state.progress:
            return say('model.checking_share', name=name, share=formats.percent(state.progress))
        case 'checking':
            return say('model.checking', name=name)
        case 'loading':
            return say('model.loading', name=name, share=formats.percent(state.progress))
        case 'failed':
            return say('model.failed', name=name)
        case 'empty':
            return say('model.empty')


def describe_model(model: ModelFile) -> str:
    """Return parameters, quantization, size and context of a file in one line."""
    header = model.header
    parts = [
        '' if model.kind == 'chat' else say(f'model.kind_{model.kind}'),
        _count(header.parameters),
        header.quantization,
        formats.size(header.size),
        say('model.context', tokens=formats.number(header.n_ctx_train)),
    ]
    return ' · '.join(part for part in parts if part)


def _facts(info: EngineInfo, cache: int) -> list[tuple[str, str]]:
    facts = [
        (say('model.fact_size'), formats.size(info.size) if info.size else ''),
        (say('model.fact_quantization'), info.quantization),
        (say('model.fact_context'), formats.number(info.n_ctx)),
        (say('model.fact_memory'), formats.size(info.memory) if info.memory else ''),
        (say('model.fact_cache'), say('model.up_to', size=formats.size(cache)) if cache else ''),
    ]
    return [(name, value) for name, value in facts if value]


def _count(parameters: int) -> str:
    """Return a number of parameters as model names have it, such as 7.6B."""
    if parameters >= BILLION:
        return f'{formats.number(parameters / BILLION, 1)}B'
    return f'{formats.number(parameters / MILLION)}M'
