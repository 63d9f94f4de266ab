"""The door to llama.cpp: loads a model, computes a batch, samples a token.

Its C library ends the process on many kinds of bad input, so everything that crosses over is checked here first.
Only `tokenize` and `count_tokens` may be called from any thread; the rest belongs to the thread that loaded the model.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Self

import numpy as np
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.adapters import Adapters
from inference.drafting import MOST_DRAFT
from inference.errors import ContextLost, DecodeFailed, InvalidRequest, LoadCancelled, LoadFailed, ModelUnloaded
from inference.ggml import native_abort_callback, return_memory
from inference.library import (
    LIBRARY_LOG,
    check_settings,
    context_failure,
    context_params,
    load_failure,
    model_params,
    set_threads,
)
from inference.library_batch import Batch
from inference.prompt_cache import State
from inference.sampler import Sampler, piece_of, read_vocabulary
from inference.scheduler import Work
from inference.settings import LoadSettings

TOKENIZE_LIMIT = 64_000_000
"""Characters; far above any context, far below what overflows the library's 32-bit lengths."""
COUNTED_AT_ONCE = 4096
"""Characters; the library takes quadratic time over a text whose characters a vocabulary lacks: a minute for 1 MB."""


INVALID_BATCH = -1
LIVE = ('n_threads', 'n_threads_batch', 'loras')


class Decoded(Enum):
    """How a batch ended: computed, no room left in the KV cache, or stopped by `abort`."""

    OK = 0
    FULL = 1
    ABORTED = 2


class ModelRunner:
    """A model with its context: does what it is told, decides nothing."""

    def __init__(self, model: Any, path: Path, settings: LoadSettings) -> None:
        self._model, self._path, self._settings = model, path, settings
        self._before_close: list[Callable[[], None]] = []
        self.n_slots = settings.seats(each_costs=_has_state(model) or bool(C.llama_model_n_swa(model)))
        self._most_samples = self.n_slots * (1 + MOST_DRAFT if settings.draft == 'on' else 1)
        self._in_use, self._closed = threading.Lock(), False
        self._abort = ctypes.create_string_buffer(2)
        self._abort_callback = native_abort_callback()
        self._context: Any = None
        self._adapters: Adapters
        self._fingerprint = ''
        self._make_context()
        self.drafts = settings.draft == 'on' and not self.is_exact
        self._vocab = C.llama_model_get_vocab(model)
        self.n_vocab: int = C.llama_vocab_n_tokens(self._vocab)
        self._adds_eos = bool(C.llama_vocab_get_add_eos(self._vocab))
        self.vocabulary = read_vocabulary(model)
        self.pieces, self.ends = self.vocabulary.pieces, self.vocabulary.ends
        self.special = frozenset(t for t in range(self.n_vocab) if self._is_special(t))
        self.n_ctx: int = C.llama_n_ctx_seq(self._context)
        self.n_batch: int = min(C.llama_n_batch(self._context), self.n_ctx)
        self._batch = Batch(self.n_batch)

    @classmethod
    def load(cls, path: Path, settings: LoadSettings, *, on_progress: Callable[[float], bool]) -> Self:
        """Load a model; `on_progress` gets the share done (0 to 1) and returns False to cancel.

        Raises LoadCancelled, or LoadFailed with the library's own reason.
        """
        check_settings(settings)
        C.llama_backend_init()
        LIBRARY_LOG.errors.clear()
        cancelled = False

        def progress(share: float, _: object) -> bool:
            nonlocal cancelled
            cancelled = not on_progress(share)
            return not cancelled

        params = model_params(settings)
        params.progress_callback = C.llama_progress_callback(progress)
        model = C.llama_model_load_from_file(os.fsencode(path), params)
        if cancelled:
            C.llama_model_free(model) if model else None
            raise LoadCancelled
        if not model:
            raise load_failure(path.name)
        if C.llama_vocab_type(C.llama_model_get_vocab(model)) == C.LLAMA_VOCAB_TYPE_NONE:
            C.llama_model_free(model)
            raise LoadFailed(f'{path.name} has no tokenizer, so it cannot read text. Choose a language model.')
        try:
            return cls(model, path, settings)
        except LoadFailed:
            C.llama_model_free(model)
            raise

    @property
    def model(self) -> Any:
        """The library's pointer, for what else is made of the model; see `before_close`."""
        return self._model

    @property
    def is_exact(self) -> bool:
        """Whether the memory of a sequence cannot be cut just anywhere: it holds a state, or a window that moves on."""
        has_window = bool(C.llama_model_n_swa(self._model)) and not self._settings.swa_full
        return _has_state(self._model) or has_window

    @property
    def chat_template(self) -> str | None:
        """The Jinja source that the file brings along."""
        source = C.llama_model_chat_template(self._model, None)
        return source.decode('utf-8', 'replace') if source else None

    @property
    def bos(self) -> str:
        """The text of the token that begins every prompt; empty if the model has none."""
        return self._special_text(C.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> str:
        """The text of the token that ends a text; empty if the model has none."""
        return self._special_text(C.llama_vocab_eos(self._vocab))

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool, ends: bool = False) -> list[int]:
        """Return the token ids of `text`, with what the model wants after every text if it `ends`; on any thread."""
        data = text.encode('utf-8', 'replace')
        if len(data) > TOKENIZE_LIMIT:
            raise InvalidRequest(f'The text has {len(data):,} bytes; at most {TOKENIZE_LIMIT:,} can be read.')
        # NOTE: a space is three bytes inside, each of them a token where a vocabulary has no spaces.
        size = len(data) + 2
        tokens = (C.llama_token * size)()
        count = self._tokenize(data, tokens, add_special, parse_special)
        if count < 0:
            tokens = (C.llama_token * -count)()
            count = self._tokenize(data, tokens, add_special, parse_special)
        # The end that some models want after every text has no place where a reply is to follow.
        open_end = add_special and not ends and self._adds_eos
        ids: list[int] = tokens[: count - open_end]
        return ids

    def count_tokens(self, text: str, *, parse_special: bool) -> int:
        """Return how many tokens `text` has, of a long one about how many, but soon; safe on any thread."""
        pieces = (text[start : start + COUNTED_AT_ONCE] for start in range(0, len(text), COUNTED_AT_ONCE))
        return sum(len(self.tokenize(piece, add_special=False, parse_special=parse_special)) for piece in pieces)

    def text_of(self, tokens: Iterable[int]) -> str:
        """Return the text that tokens make; safe on any thread."""
        return b''.join(self.pieces[token] for token in tokens).decode('utf-8', 'replace')

    def show(self, texts: Iterable[str]) -> None:
        """Let these control tokens have a text of their own, which is empty otherwise; before the first reply."""
        for text in texts:
            tokens = self.tokenize(text, add_special=False, parse_special=True)
            if len(tokens) == 1 and tokens[0] in self.special:
                self.pieces[tokens[0]] = text.encode()

    def keep(self, slot_id: int, length: int) -> int:
        """Drop all but the first `length` tokens of a slot; returns how many really stay.

        A memory that cannot be cut (recurrent, hybrid, sliding window that moved on) is emptied instead.
        """
        self._check_slot(slot_id)
        if length == self.length(slot_id):
            return length
        if length and self.can_cut(slot_id, length) and C.llama_memory_seq_rm(self._memory, slot_id, length, -1):
            return length
        C.llama_memory_seq_rm(self._memory, slot_id, 0, -1)
        return 0

    def can_cut(self, slot_id: int, length: int) -> bool:
        """Return whether `keep` can drop what comes after the first `length` tokens, and nothing else.

        NOTE: a sliding window that has moved past `length` says yes to a cut, but its cells are gone.
        """
        held = self.length(slot_id)
        if _has_state(self._model):
            return length == held
        window: int = C.llama_model_n_swa(self._model)
        first: int = C.llama_memory_seq_pos_min(self._memory, slot_id)
        return length <= held and (not window or first <= max(0, length - window))

    def length(self, slot_id: int) -> int:
        """Return how many tokens of a slot the KV cache holds."""
        self._check_slot(slot_id)
        end: int = C.llama_memory_seq_pos_max(self._memory, slot_id)
        return end + 1

    def copy(self, source: int, target: int, length: int) -> None:
        """Let an empty slot share the first `length` tokens of another one; costs nothing in a unified cache."""
        self._check_slot(source)
        self._check_slot(target)
        if self.is_exact or self.length(target) or length > self.length(source):
            raise DecodeFailed(f'Slot {target} cannot take {length:,} tokens from slot {source}.')
        C.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def state_size(self, slot_id: int) -> int:
        """Return the bytes that `save` would need."""
        self._check_slot(slot_id)
        size: int = C.llama_state_seq_get_size_ext(self._context, slot_id, 0)
        return size

    def save(self, slot_id: int) -> State:
        """Return a copy of what a slot holds."""
        state = np.empty(self.state_size(slot_id), np.uint8)
        written = C.llama_state_seq_get_data_ext(self._context, _bytes_of(state), state.nbytes, slot_id, 0)
        return state[:written]

    def restore(self, slot_id: int, state: State) -> bool:
        """Fill an empty slot with what `save` returned; False, and it stays empty, where there is no room for it."""
        self._check_slot(slot_id)
        if C.llama_state_seq_set_data_ext(self._context, _bytes_of(state), state.nbytes, slot_id, 0):
            return True
        C.llama_memory_seq_rm(self._memory, slot_id, 0, -1)
        return False

    def decode(self, batch: Sequence[Work[Any]]) -> Decoded:
        """Compute a batch. Unless it ended OK, use `keep` with `length` to see what is left of each slot."""
        self._check(batch)
        self._batch.fill(batch)
        LIBRARY_LOG.errors.clear()
        status = C.llama_decode(self._context, self._batch.struct)
        if status in (0, 1, 2):
            return Decoded(status)
        error = DecodeFailed if status == INVALID_BATCH else ContextLost
        raise error(f'llama.cpp could not compute this step (status {status}): {LIBRARY_LOG.reason()}')

    def sample(self, row: int, sampler: Sampler, window: Sequence[int]) -> int:
        """Sample the token that follows row `row` of the last batch; `window` ends with the latest token."""
        return sampler.sample(self._context, row, window)

    def finite_logits(self, row: int) -> bool:
        """Return whether the scores of a row are numbers, which they are not with a broken kernel or file."""
        logits = C.llama_get_logits_ith(self._context, row)
        return bool(logits) and bool(np.isfinite(np.ctypeslib.as_array(logits, (self.n_vocab,))).all())

    def abort(self) -> None:
        """Stop the batch that is being computed, on the CPU within milliseconds; safe on any thread."""
        self._abort[0] = b'\1'

    def clear_abort(self) -> None:
        """Let the next batch run."""
        self._abort[0] = b'\0'

    def adjust(self, settings: LoadSettings) -> bool:
        """Apply threads and LoRA adapters from the next batch on; return whether the model computes differently now.

        Raises LoadFailed or InvalidModelFile for an adapter that does not fit; the others stay as they were.
        """
        adapters = self._adapters.apply(settings.loras)
        changed = adapters != self._fingerprint
        self._fingerprint = adapters
        self._settings = self._settings.model_copy(update={name: getattr(settings, name) for name in LIVE})
        set_threads(self._context, self._settings)
        return changed

    def rebuild(self) -> None:
        """Make a new context in place of one that failed; every slot is empty then. Raises LoadFailed."""
        with self._in_use:
            self._free_context()
            self._make_context()
        self.adjust(self._settings)

    def before_close(self, free: Callable[[], None]) -> None:
        """Call `free` before the model goes: for another context that was made of it."""
        self._before_close.append(free)

    def close(self) -> None:
        """Give the memory back; contexts go before the model, or the library crashes."""
        with self._in_use:
            if self._closed:
                return
            self._closed = True
            for free in self._before_close:
                free()
            self._free_context()
            C.llama_model_free(self._model)
            self._batch.free()
        return_memory()

    def _make_context(self) -> None:
        params = context_params(self._model, self._settings, self.n_slots, n_outputs_max=self._most_samples)
        self._context = C.llama_init_from_model(self._model, params)
        if not self._context:
            raise context_failure(self._path.name, params.n_ctx)
        self._memory, self._fingerprint = C.llama_get_memory(self._context), ''
        self._adapters = Adapters(self._model, self._context, self._path)
        C.llama_set_abort_callback(self._context, self._abort_callback, ctypes.addressof(self._abort))

    def _free_context(self) -> None:
        if self._context:
            self._adapters.close()
            C.llama_free(self._context)
            self._context = None

    def _tokenize(self, data: bytes, tokens: ctypes.Array[ctypes.c_int32], *flags: bool) -> int:
        """Return how many tokens there are, negative if `tokens` is too short for them."""
        with self._in_use:
            if self._closed:
                raise ModelUnloaded
            count: int = C.llama_tokenize(self._vocab, data, len(data), tokens, len(tokens), *flags)
            return count

    def _is_special(self, token: int) -> bool:
        special = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_USER_DEFINED
        return bool(C.llama_vocab_get_attr(self._vocab, token) & special)

    def _special_text(self, token: int) -> str:
        return (
            piece_of(self._vocab, token, special=True).decode('utf-8', 'replace') if 0 <= token < self.n_vocab else ''
        )

    def _check(self, batch: Sequence[Work[Any]]) -> None:
        """Refuse what llama.cpp would answer by ending the process."""
        if not 0 < sum(len(work.tokens) for work in batch) <= self.n_batch:
            raise DecodeFailed(f'A step must have 1 to {self.n_batch} tokens.')
        if sum(work.samples for work in batch) > self._most_samples:
            raise DecodeFailed(f'A step can sample at most {self._most_samples} tokens.')
        for work in batch:
            self._check_slot(work.slot.id)
            if not 0 <= work.samples <= len(work.tokens):
                raise DecodeFailed('A slot can sample after the tokens it has in a step, no more.')
            if not work.tokens or min(work.tokens) < 0 or max(work.tokens) >= self.n_vocab:
                raise DecodeFailed('A step holds a token that the model does not have.')

    def _check_slot(self, slot_id: int) -> None:
        if not 0 <= slot_id < self.n_slots:
            raise DecodeFailed(f'There is no slot {slot_id}.')


def _bytes_of(state: State) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _has_state(model: Any) -> bool:
    """Return whether each sequence has a state of fixed size, as in recurrent and hybrid models."""
    return bool(C.llama_model_is_recurrent(model) or C.llama_model_is_hybrid(model))
