"""What comes of reading texts without writing any: vectors, and scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.errors import InvalidRequest

Vectors = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Embeddings:
    """A row of `vectors` for each text, of length 1; `prompt_tokens` is what was read, all texts together."""

    vectors: Vectors
    prompt_tokens: int

    def shortened(self, dimensions: int) -> Vectors:
        """Return the first numbers of each vector, again of length 1; models trained for it keep most of the sense."""
        most = self.vectors.shape[1]
        if dimensions > most:
            raise InvalidRequest(f'{dimensions:,} dimensions were asked for, but vectors of this model have {most:,}.')
        return self.vectors if dimensions == most else unit_vectors(self.vectors[:, :dimensions])


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """How well each document answers the query, from 0 to 1, in their order; higher is better."""

    scores: tuple[float, ...]
    prompt_tokens: int


def unit_vectors(rows: Vectors) -> Vectors:
    """Return the rows scaled to length 1, so that a product of two is the cosine between them; 0 stays 0."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(lengths, lengths, 1)).astype(np.float32)
