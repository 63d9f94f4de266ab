"""The model: a menu to pick one, its load state in the top line, and its facts in the sidebar."""

from nicegui import ui

from inference.catalog import ModelFile
from inference.engine import EngineInfo
from webui.components.controls import icon_button, text_button
from webui.components.region import Region
from webui.model_host import LoadState
from webui.services import Services

DOTS = {'ready': 'ready', 'failed': 'failed', 'checking': 'busy', 'loading': 'busy', 'empty': ''}


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
            with ui.menu().props('anchor="bottom middle" self="top middle"'):
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
            if state.error:
                ui.label(state.error).classes('failure small').props('data-testid=toast-error')
            for model in services.catalog.models:
                self._draw_model(model, state)
            for path, reason in services.catalog.problems.items():
                with ui.element('div').classes('model-row').props('data-testid=model-problem'):
                    ui.icon('sym_o_error', color='negative')
                    with ui.element('div').classes('grow'):
                        ui.label(path.name).classes('name ellipsis')
                        ui.label(reason).classes('small muted')
            folder = services.config.models_folders[0]
            ui.label(f'GGUF files in {folder} appear here by themselves.').classes('small muted q-pa-sm')

    def _draw_progress(self) -> None:
        with ui.element('div').classes('q-pa-sm').props('data-testid=load-progress'):
            with ui.element('div').classes('load-progress'):
                self._bar = ui.element('div').style('width: 0')
            text_button('Cancel', self._services.host.unload)

    def _draw_model(self, model: ModelFile, state: LoadState) -> None:
        host, loaded = self._services.host, state.phase == 'ready' and state.model_id == model.id
        with ui.element('div').classes('model-row').props('data-testid=model-row'):
            ui.element('span').classes(f'dot {DOTS[state.phase] if state.model_id == model.id else ""}')
            with ui.element('div').classes('grow'):
                ui.label(model.name).classes('name ellipsis')
                ui.label(describe_model(model)).classes('small muted ellipsis')
            if loaded:
                text_button('Unload', host.unload, testid='unload')
            elif model.kind == 'chat' and not (state.is_busy and state.model_id == model.id):
                text_button('Load', lambda: host.load(model.id), testid='load')


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
                icon_button('eject', 'Unload the model', host.unload)
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
        case 'checking':
            return f'Checking {name}' + (f', {state.progress:.0%}' if state.progress else '')
        case 'loading':
            return f'Loading {name}, {state.progress:.0%}'
        case 'failed':
            return f'{name} failed to load'
        case 'empty':
            return 'No model loaded'


def describe_model(model: ModelFile) -> str:
    """Return parameters, quantization, size and context of a file in one line."""
    header = model.header
    use = {'chat': '', 'embedding': 'for embeddings', 'reranker': 'ranks documents'}[model.kind]
    parts = [
        use,
        _count(header.parameters),
        header.quantization,
        _bytes(header.size),
        f'{header.n_ctx_train:,} context',
    ]
    return ' · '.join(part for part in parts if part)


def _facts(info: EngineInfo, cache: int) -> list[tuple[str, str]]:
    facts = [
        ('Size', _bytes(info.size)),
        ('Quantization', info.quantization),
        ('Context', f'{info.n_ctx:,}'),
        ('Memory', _bytes(info.memory)),
        ('Cache of idle chats', f'up to {_bytes(cache)}' if cache else ''),
    ]
    return [(name, value) for name, value in facts if value]


def _bytes(count: int) -> str:
    if count >= 1 << 30:
        return f'{count / (1 << 30):.1f} GB'
    return f'{count / (1 << 20):.0f} MB' if count else ''


def _count(parameters: int) -> str:
    return f'{parameters / 1e9:.1f}B' if parameters >= 1e9 else f'{parameters / 1e6:.0f}M'
