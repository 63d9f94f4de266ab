"""A step of the scheduler as llama.cpp takes it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as C  # noqa: N812 (the name of its language)

from inference.scheduler import Work


class Batch:
    """A `llama_batch` with views on its arrays."""

    def __init__(self, size: int) -> None:
        self.struct = C.llama_batch_init(size, 0, 1)
        view = np.ctypeslib.as_array
        self._token, self._pos = view(self.struct.token, (size,)), view(self.struct.pos, (size,))
        self._output = view(self.struct.logits, (size,))
        self._seq_id = [self.struct.seq_id[row] for row in range(size)]
        view(self.struct.n_seq_id, (size,))[:] = 1

    def fill(self, batch: Sequence[Work[Any]]) -> None:
        start = 0
        for work in batch:
            end = start + len(work.tokens)
            if end - start == 1:  # by far the most, and slices cost more than what they hold
                self._token[start], self._pos[start] = work.tokens[0], work.position
                self._output[start], self._seq_id[start][0] = work.samples, work.slot.id
                start = end
                continue
            self._token[start:end] = work.tokens
            self._pos[start:end] = np.arange(work.position, work.position + len(work.tokens))
            self._output[start:end] = 0
            self._output[end - work.samples : end] = 1
            for row in range(start, end):
                self._seq_id[row][0] = work.slot.id
            start = end
        self.struct.n_tokens = start

    def free(self) -> None:
        C.llama_batch_free(self.struct)
