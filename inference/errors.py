"""What can go wrong between a model file and a reply.

InferenceError
├── InvalidModelFile        the file cannot be used as a model
├── ModelNotFound           no model has this id
├── LoadFailed              the file is sound, but it could not be loaded
│   ├── NotEnoughMemory     ... because it does not fit
│   ├── PreflightFailed     ... because a trial in a child process crashed
│   └── LoadCancelled       ... because someone said so
├── NoModelLoaded           a reply was asked for and there is nothing to make it
├── ContextLengthExceeded   the prompt does not fit into the context
├── InvalidTemplate         the chat template cannot render these messages
├── InvalidRequest          the messages or settings make no sense
├── DecodeFailed            the library gave up in the middle of a reply
│   └── ContextLost         ... and what it had in memory cannot be used any more
└── ModelUnloaded           the model went away in the middle of a reply

Each message says what happened, why, and the way out; it is written for the person at the screen.
"""


class InferenceError(Exception):
    """The root: catch this to catch all of them."""

    code = 'inference_error'


class InvalidModelFile(InferenceError):
    """Not GGUF, damaged, unsupported, or without what a chat needs."""

    code = 'invalid_model_file'


class ModelNotFound(InferenceError):
    """The catalogue has no model of this id."""

    code = 'model_not_found'


class LoadFailed(InferenceError):
    """The library refused to load the model."""

    code = 'load_failed'


class NotEnoughMemory(LoadFailed):
    """The weights, the KV cache and the compute buffers do not fit into what is free."""

    code = 'not_enough_memory'


class PreflightFailed(LoadFailed):
    """The trial load in a child process died; loading here would take the app down with it.

    `may_be_repacking` says whether a trial without repacked weights is worth its time, `lasts` whether another like
    this one would end the same.
    """

    code = 'preflight_failed'

    def __init__(self, message: str, *, may_be_repacking: bool = False, lasts: bool = True) -> None:
        super().__init__(message)
        self.may_be_repacking, self.lasts = may_be_repacking, lasts


class LoadCancelled(LoadFailed):
    """Loading was stopped on request."""

    code = 'load_cancelled'

    def __init__(self) -> None:
        super().__init__('Loading was cancelled.')


class NoModelLoaded(InferenceError):
    """A reply was asked for while no model is loaded."""

    code = 'no_model_loaded'

    def __init__(self, message: str = 'No model is loaded. Pick one in the model menu first.') -> None:
        super().__init__(message)


class ContextLengthExceeded(InferenceError):
    """The prompt leaves no room for a reply."""

    code = 'context_length_exceeded'

    def __init__(self, *, prompt_tokens: int, n_ctx: int) -> None:
        super().__init__(
            f'The conversation has {prompt_tokens:,} tokens but the context holds {n_ctx:,}. '
            'Load the model with a larger context length, shorten the message, or start a new chat.'
        )
        self.prompt_tokens = prompt_tokens
        self.n_ctx = n_ctx


class InvalidTemplate(InferenceError):
    """The model's chat template failed on these messages."""

    code = 'invalid_template'


class InvalidRequest(InferenceError):
    """The request cannot be answered as it is."""

    code = 'invalid_request'


class DecodeFailed(InferenceError):
    """llama.cpp could not go on with this request."""

    code = 'decode_failed'


class ContextLost(DecodeFailed):
    """The context is broken, for instance because the GPU went away; it has to be made again."""

    code = 'context_lost'


class ModelUnloaded(InferenceError):
    """The model was unloaded or replaced before the reply was complete."""

    code = 'model_unloaded'

    def __init__(self) -> None:
        super().__init__('The model was unloaded while this reply was written. Load a model and try again.')
