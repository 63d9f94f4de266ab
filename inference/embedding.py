"""The second door to llama.cpp: reads texts for vectors and scores, in a context of its own beside the one that writes.

The context is made when it is needed, for texts as long as they come. A causal model reads a long text in pieces; an
encoder sees all of it at once, and the library ends the process where its context is not made for that.
All of it belongs to the thread that loaded the model.
"""

import ctypes
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.embedding_prompts import PairFormat
from inference.errors import DecodeFailed, InvalidRequest, LoadFailed, ModelUnloaded, NotEnoughMemory
from inference.ggml import native_abort_callback
from inference.gguf import Header, Pooling, pooling_of
from inference.library import LIBRARY_LOG, context_params
from inference.library_batch import Batch
from inference.memory import free_memory
from inference.runner import ModelRunner
from inference.scheduler import Request, Slot, Work
from inference.settings import LoadSettings
from inference.vectors import Vectors

POOLING_TYPES: dict[Pooling, int] = {
    'mean': C.LLAMA_POOLING_TYPE_MEAN,
    'cls': C.LLAMA_POOLING_TYPE_CLS,
    'last': C.LLAMA_POOLING_TYPE_LAST,
    'rank': C.LLAMA_POOLING_TYPE_RANK,
}
ABORTED = 2
MOST_SEQUENCES = 32
MOST_TOKENS, FIRST_TOKENS, FEWEST_TOKENS = 512, 32, 8
"""Tokens of a piece: at most, as long as the rate is not known, and at least."""
SCORE_BYTES = 128 << 20
"""What the scores of a piece may take: the library makes room for the whole vocabulary at each token."""
GIVE_PROBABILITIES = ('qwen3', 'qwen3vl')
"""Architectures whose rerankers end in a softmax."""

Piece = list[Work[Request]]


class EmbeddingJob:
    """Texts on their way to vectors: `done` of them are there, of the next one `position` tokens were read."""

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        self.texts = texts
        self.rows: Vectors = np.zeros((len(texts), 0), np.float32)
        self.done = self.position = 0
        self._stop = ctypes.create_string_buffer(2)

    @property
    def is_done(self) -> bool:
        """Whether every text has its row."""
        return self.done == len(self.texts)

    @property
    def is_stopped(self) -> bool:
        """Whether nobody wants the rest."""
        return self._stop[0] != b'\0'

    @property
    def stop_address(self) -> int:
        """What the library looks at while it computes."""
        return ctypes.addressof(self._stop)

    def stop(self) -> None:
        """End also the piece that is being computed, on the CPU within milliseconds; safe on any thread."""
        self._stop[0] = b'\1'

    def take(self, piece: 'Piece', rows: Vectors, pooling: Pooling) -> None:
        """Give each text of the piece its row; that of one which comes in parts is made of the rows of its parts."""
        if not self.rows.size:
            self.rows = np.zeros((len(self.texts), rows.shape[1]), np.float32)
        for number, (work, row) in enumerate(zip(piece, rows, strict=True), start=self.done):
            if pooling == 'mean':
                self.rows[number] += row * np.float32(len(work.tokens) / len(self.texts[number]))
            elif pooling != 'cls' or not work.position:
                self.rows[number] = row
        last = piece[-1]  # a part is alone in its piece
        self.position = last.position + len(last.tokens)
        if self.position == len(self.texts[self.done + len(piece) - 1]):
            self.done, self.position = self.done + len(piece), 0


class EmbeddingContext:
    """Texts of up to `limit` tokens to vectors; with a reranker, pairs of query and document to scores."""

    def __init__(self, runner: ModelRunner, header: Header, settings: LoadSettings) -> None:
        self._runner, self._header, self._settings = runner, header, settings
        self._abort_callback = native_abort_callback()
        trained: int = C.llama_model_n_ctx_train(runner.model)
        self.limit = max(1, min(settings.n_ctx, trained) if settings.n_ctx > 0 else trained)
        affordable = SCORE_BYTES // (4 * runner.n_vocab)
        self._at_once = _padded(min(self.limit, max(FEWEST_TOKENS, min(MOST_TOKENS, affordable))))
        has_state = C.llama_model_is_recurrent(runner.model) or C.llama_model_is_hybrid(runner.model)
        self._n_seq_max = 1 if has_state else MOST_SEQUENCES
        self._context: Any = None
        self._batch: Batch | None = None
        self._pooling = self.pooling
        self._in_pieces, self._is_stale, self._room, self._n_batch = False, False, 0, 0
        self._rate = 0.0
        runner.before_close(self.close)

    @property
    def pooling(self) -> Pooling:
        """How the vectors of a text become one: as set, else as the model was trained, else their mean."""
        own, chosen = pooling_of(self._header), self._settings.pooling
        if own == 'rank':
            return own
        return chosen if chosen != 'model' else own if own != 'none' else 'mean'

    def check(self) -> None:
        """Refuse a model that the library would end the process over. Raises InvalidRequest; safe on any thread."""
        model = self._runner.model
        is_projected = any(tensor.name == 'dense_2.weight' for tensor in self._header.tensors)
        as_wide = C.llama_model_n_embd_out(model) == C.llama_model_n_embd(model)
        if C.llama_model_has_encoder(model) or not (as_wide or is_projected):
            raise InvalidRequest(
                f'Models of the architecture {self._header.architecture} cannot make vectors here. '
                'Name an embedding model in "model".'
            )

    def step(self, job: EmbeddingJob, seconds: float) -> None:
        """Compute the next piece of a job: as many texts as take about so long, or the next part of a long one.

        Between the parts of one text no other job may have its turn. Raises DecodeFailed, LoadFailed, ModelUnloaded.
        """
        if job.is_stopped:
            raise ModelUnloaded
        if not job.position:
            self._make_room(max(map(len, job.texts)))
            C.llama_memory_clear(C.llama_get_memory(self._context), True)
        piece = self._next_piece(job, self._budget(seconds))
        job.take(piece, self._compute(piece, job), self._pooling)

    def scores(self, rows: Vectors) -> tuple[float, ...]:
        """Return what a reranker's rows say as probabilities; of several labels the first one is «relevant»."""
        said = [float(row[0]) for row in rows]
        if self._header.architecture in GIVE_PROBABILITIES:
            return tuple(said)
        return tuple((1 + math.tanh(score / 2)) / 2 for score in said)

    def adjust(self, settings: LoadSettings) -> None:
        """Use another pooling and other threads, from the next text on; the rest needs a reload."""
        live = settings.model_dump(include={'pooling', 'n_threads', 'n_threads_batch'})
        self._settings, self._is_stale = self._settings.model_copy(update=live), True

    def close(self) -> None:
        """Give the memory back; what comes next makes a new context."""
        context, self._context, self._room = self._context, None, 0
        if context:
            C.llama_free(context)
        if self._batch:
            self._batch.free()
            self._batch = None

    def _make_room(self, longest: int) -> None:
        """Have a context for texts of `longest` tokens."""
        if self._is_stale or not self._context:
            self._open(self._at_once, self._at_once)
        if longest > self._room:
            size = _padded(min(self.limit, 1 << (longest - 1).bit_length()))
            self._open(size, self._at_once if self._in_pieces else size)

    def _open(self, n_ctx: int, n_batch: int) -> None:
        self.close()
        self._require_memory(n_ctx, n_batch)
        params = context_params(self._runner.model, self._settings, 1)
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, n_batch, n_batch
        params.n_seq_max, params.n_outputs_max = self._n_seq_max, 0
        params.embeddings, params.pooling_type = True, POOLING_TYPES[self.pooling]
        LIBRARY_LOG.errors.clear()
        self._context = C.llama_init_from_model(self._runner.model, params)
        if not self._context:
            raise LoadFailed(f'llama.cpp could not prepare to embed {n_ctx:,} tokens: {LIBRARY_LOG.reason()}')
        # One computation a batch: the library pools what it computes at once, and no further.
        self._n_batch = min(C.llama_n_batch(self._context), C.llama_n_ubatch(self._context))
        self._batch = Batch(self._n_batch)
        self._in_pieces = bool(C.llama_get_memory(self._context)) and C.llama_get_causal_attn(self._context)
        self._room = C.llama_n_ctx_seq(self._context) if self._in_pieces else self._n_batch
        self._pooling, self._is_stale = self.pooling, False

    def _require_memory(self, n_ctx: int, n_batch: int) -> None:
        """The library takes what it needs and is ended by the system where that is not there."""
        model = self._runner.model
        n_head, n_head_kv = max(1, C.llama_model_n_head(model)), C.llama_model_n_head_kv(model)
        scores = 2 * n_batch * self._runner.n_vocab * 4
        attention = n_batch * n_ctx * (n_head + 1) * 4
        kv_cache = 4 * n_ctx * C.llama_model_n_layer(model) * C.llama_model_n_embd(model) * n_head_kv // n_head
        need, free = scores + attention + kv_cache, free_memory()
        if need > free:
            raise NotEnoughMemory(
                f'To embed {n_ctx:,} tokens at once about {need >> 20:,} MiB of memory are needed, but {free >> 20:,} '
                'are free. Send the text in smaller parts.'
            )

    def _next_piece(self, job: EmbeddingJob, budget: int) -> Piece:
        first = job.texts[job.done]
        if self._in_pieces and (job.position or len(first) > budget):
            return [_work(0, first[job.position : job.position + budget], job.position)]
        piece, n_tokens = [_work(0, first, 0)], len(first)
        for number in range(job.done + 1, min(len(job.texts), job.done + self._n_seq_max)):
            n_tokens += len(job.texts[number])
            if n_tokens > budget:
                break
            piece.append(_work(len(piece), job.texts[number], 0))
        return piece

    def _budget(self, seconds: float) -> int:
        """Return how many tokens are computed in that time."""
        wanted = int(self._rate * seconds) if self._rate else FIRST_TOKENS
        return min(self._at_once, max(FEWEST_TOKENS, wanted))

    def _compute(self, piece: Piece, job: EmbeddingJob) -> Vectors:
        """Return a row for each part of the piece: a vector, or the scores of a reranker."""
        self._check(piece)
        assert self._batch
        self._batch.fill(piece)
        C.llama_set_abort_callback(self._context, self._abort_callback, job.stop_address)
        LIBRARY_LOG.errors.clear()
        started, n_tokens = time.perf_counter(), sum(len(work.tokens) for work in piece)
        status = C.llama_decode(self._context, self._batch.struct)
        if status:
            self._fail(status)
        rows = np.stack([self._row(work.slot.id) for work in piece])
        if not np.isfinite(rows).all():
            raise DecodeFailed('The model computed no numbers for this text. Download its file again.')
        if n_tokens >= FEWEST_TOKENS:
            self._rate = n_tokens / (time.perf_counter() - started)
        return rows

    def _check(self, piece: Piece) -> None:
        """Refuse what llama.cpp would answer by ending the process."""
        tokens = [token for work in piece for token in work.tokens]
        if not self._context or not 0 < len(tokens) <= self._n_batch or len(piece) > self._n_seq_max:
            raise DecodeFailed(f'A step must have 1 to {self._n_batch} tokens of {self._n_seq_max} texts at most.')
        if min(tokens) < 0 or max(tokens) >= self._runner.n_vocab:
            raise DecodeFailed('A text holds a token that the model does not have.')
        if any(not work.tokens or work.position + len(work.tokens) > self.limit for work in piece):
            raise DecodeFailed(f'A text must have 1 to {self.limit:,} tokens.')

    def _fail(self, status: int) -> None:
        if status == ABORTED:
            raise ModelUnloaded
        self.close()
        raise DecodeFailed(f'llama.cpp could not embed this text (status {status}): {LIBRARY_LOG.reason()}')

    def _row(self, number: int) -> Vectors:
        width_of = C.llama_model_n_cls_out if self._pooling == 'rank' else C.llama_model_n_embd_out
        row = C.llama_get_embeddings_seq(self._context, number)
        if not row:
            raise DecodeFailed('llama.cpp computed nothing for this text. Load the model again.')
        return np.ctypeslib.as_array(row, (width_of(self._runner.model),)).copy()


def pair_format(model: Any) -> PairFormat:
    """Return how the model wants query and document joined; without a template of its own as BERT and its kin do."""
    template = C.llama_model_chat_template(model, b'rerank')
    if template:
        return PairFormat(template=template.decode('utf-8', 'replace'))
    vocab = C.llama_model_get_vocab(model)
    bos, sep, eos = C.llama_vocab_bos(vocab), C.llama_vocab_sep(vocab), C.llama_vocab_eos(vocab)
    begin = [bos] if C.llama_vocab_get_add_bos(vocab) else []
    ends = [eos if eos >= 0 else sep] if C.llama_vocab_get_add_eos(vocab) else []
    seps = [sep] if C.llama_vocab_get_add_sep(vocab) else []
    there = range(C.llama_vocab_n_tokens(vocab))

    def known(tokens: list[int]) -> tuple[int, ...]:
        return tuple(token for token in tokens if token in there)

    return PairFormat(begin=known(begin), between=known([*ends, *seps]), end=known(ends or seps))


def _padded(n_tokens: int) -> int:
    """The library ends the process where it cannot share a batch out evenly among the sequences."""
    return -(-n_tokens // MOST_SEQUENCES) * MOST_SEQUENCES


def _work(number: int, tokens: Sequence[int], position: int) -> Work[Request]:
    return Work(Slot(number), Request(prompt=tokens, max_tokens=0), tokens, position, samples=len(tokens))
