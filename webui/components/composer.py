"""Where a message is written, and files are attached to it; see composer.js for how it keeps the draft."""

from collections.abc import Callable

from nicegui import events, ui
from pydantic import TypeAdapter, ValidationError

from webui.components.controls import with_keys
from webui.conversation import Conversation
from webui.documents.reader import REASONS, refusal
from webui.documents.refusal import LARGEST_FILE
from webui.measuring import ContextUse
from webui.services import Services
from webui.words import FALLBACK, catalogue, say
from webui.words.formats import number

MEASURED = TypeAdapter(ContextUse)
MOST_FILES = 20
LONG_PASTE = 8000
"""Characters from which on a pasted text becomes a file."""
LITTLE_ROOM = 0.05
"""The share of the context that is little for a reply."""


class Composer(ui.element, component='composer.js'):
    """A growing text field with a button that sends or stops, and files that go with the message.

    `on_measured` gets what the conversation and the draft take of the context, whenever that may have changed.
    """

    def __init__(
        self,
        services: Services,
        *,
        on_stop: Callable[[], None],
        on_measured: Callable[[ContextUse], None],
        on_context: Callable[[], None],
    ) -> None:
        super().__init__()
        self._services, self._on_measured = services, on_measured
        self._conversation: Conversation | None = None
        self._left: Conversation | None = None
        self._props.update(
            words=_words(),
            limits={'largest': LARGEST_FILE, 'most': MOST_FILES, 'paste': LONG_PASTE},
        )
        self.on('stop', on_stop, args=[])
        self.on('context', on_context, args=[])
        self.on('measured', self._take)
        services.host.changed.subscribe(self._follow)
        services.host.adjusted.subscribe(self._follow)

    def show(self, conversation: Conversation) -> None:
        """Write for another chat; its draft comes back."""
        if self._conversation:
            self._conversation.changed.unsubscribe(self._follow)
            self._conversation.replaced.unsubscribe(self._follow)
        # What the browser asks of a chat it has just left finds it, even if it was never saved.
        self._left, self._conversation = self._conversation, conversation
        conversation.changed.subscribe(self._follow)
        conversation.replaced.subscribe(self._follow)
        self._follow()

    def set_text(self, text: str) -> None:
        """Put a suggestion into the field."""
        self.run_method('setText', text)

    def focus(self) -> None:
        """Put the cursor into the field."""
        self.run_method('focus')

    def _follow(self) -> None:
        if not (conversation := self._conversation):
            return
        chat, engine = conversation.chat, self._services.host.engine
        kind = f'{engine.info.name} {engine.info.n_ctx}' if engine else ''
        on_page = (chat.leaf, chat.system_prompt, chat.overflow, chat.sampling.max_tokens, conversation.is_running)
        self._set(
            chatId=chat.id,
            draftKey=chat.id if chat.messages else 'new',
            running=conversation.is_running,
            model=kind,
            # Another subject is measured anew.
            subject=f'{chat.id} {kind} {hash(on_page)}',
        )
        if not engine:
            self._set(warning='', draftTokens='')

    def _take(self, event: events.GenericEventArguments) -> None:
        try:
            use = MEASURED.validate_python(event.args)
        except ValidationError:
            return  # a page from before an update
        self._on_measured(use)
        tokens = say(f'attachment.tokens_{"one" if use.draft == 1 else "other"}', n=number(use.draft))
        self._set(warning=self._warning(use), draftTokens=tokens if use.draft else '')

    def _warning(self, use: ContextUse) -> str:
        assert self._conversation
        if not use.fits:
            may_roll = self._conversation.chat.overflow == 'stop' and bool(use.history)
            key = 'composer.too_long_policy' if may_roll else 'composer.too_long'
            return say(key, tokens=number(use.total), n_ctx=number(use.n_ctx))
        if use.left_out:
            return say('composer.left_out', n=len(use.left_out))
        return (
            say('composer.tight', room=number(use.n_ctx - use.total))
            if use.n_ctx - use.total < LITTLE_ROOM * use.n_ctx
            else ''
        )

    def _set(self, **values: object) -> None:
        if any(self._props.get(name) != value for name, value in values.items()):
            self._props.update(values)
            self.update()


def _words() -> dict[str, str]:
    """Return what composer.js says; it puts in the values that only it knows."""
    names = [name.partition('.') for name in catalogue(FALLBACK)]
    texts = {key: say(f'{part}.{key}') for part, _, key in names if part == 'attachment'}
    texts |= {key: say(f'composer.{key}') for key in SAID_BY_SCRIPT}
    texts |= {f'refused_{why}': refusal(why) for why in REASONS}
    texts['stop'] = with_keys(texts['stop'], 'stop')
    return {**texts, 'refused_too_many': say('attachment.refused_too_many', most=MOST_FILES)}


SAID_BY_SCRIPT = ('message', 'placeholder', 'send', 'queue', 'stop', 'context', 'offline', 'status')
