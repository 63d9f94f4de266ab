"""From texts to the tokens that are embedded, and from a query with its documents to what a reranker reads.

Runs on worker threads, beside the engine's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from inference.errors import InvalidRequest
from inference.runner import ModelRunner

LONG_TEXT, FAR_TOO_LONG = 32_768, 1.2
"""Characters from which a text is counted roughly first, and the share of the limit that is refused by that."""
MOST_CHARACTERS = 16
"""For each token, that are looked at of a text which is to be truncated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFormat:
    """How a reranker wants its two texts joined: by the `template` of its file, else by tokens around each."""

    template: str = ''
    begin: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    end: tuple[int, ...] = ()


class EmbeddingPrompts:
    """Tokenizes, and refuses what has more than `limit` tokens or none."""

    def __init__(self, runner: ModelRunner, pair_format: PairFormat, limit: int) -> None:
        self._runner, self._format, self._limit = runner, pair_format, limit

    def texts(self, texts: Sequence[str], *, truncate: bool) -> list[list[int]]:
        """Return the tokens of each text; with `truncate`, the first ones of a long one. Raises InvalidRequest."""
        return [self._text(text, f'Text {number}', truncate) for number, text in enumerate(texts, start=1)]

    def pairs(self, query: str, documents: Sequence[str], *, truncate: bool) -> list[list[int]]:
        """Return the tokens of the query with each document, whose end `truncate` drops. Raises InvalidRequest."""
        if not query:
            raise InvalidRequest('The query is empty. Say what the documents are to be ranked by.')
        return [self._pair(query, text, number, truncate) for number, text in enumerate(documents, start=1)]

    def _text(self, text: str, name: str, truncate: bool) -> list[int]:
        tokens = self._tokens(self._readable(text, name, truncate), name)
        if truncate and len(tokens) > self._limit:
            end = tokens[-1:] if tokens[-1] in self._runner.special else []
            tokens = [*tokens[: self._limit - len(end)], *end]
        self._refuse_too_long(len(tokens), name)
        return tokens

    def _tokens(self, text: str, name: str) -> list[int]:
        # As the cards of many models say, people write the special tokens of the model into their texts.
        tokens = self._runner.tokenize(text, add_special=True, parse_special=True, ends=True) if text else []
        if not tokens:
            raise InvalidRequest(f'{name} is empty, so there is nothing to embed. Leave it out.')
        return tokens

    def _pair(self, query: str, document: str, number: int, truncate: bool) -> list[int]:
        name = f'Document {number} with the query'
        query, document = self._readable(query, name), self._readable(document, name, truncate)
        tokens = self._joined(query, document)
        while truncate and document and len(tokens) > self._limit:
            document = document[: int(len(document) * min(0.95, self._limit / len(tokens)))]
            tokens = self._joined(query, document)
        self._refuse_too_long(len(tokens), name)
        return tokens

    def _joined(self, query: str, document: str) -> list[int]:
        tokenize, form = self._runner.tokenize, self._format
        if form.template:
            texts = {'{query}': query, '{document}': document}
            text = re.sub(r'{query}|{document}', lambda found: texts[found[0]], form.template)
            return tokenize(text, add_special=False, parse_special=True)
        first, second = (tokenize(text, add_special=False, parse_special=False) for text in (query, document))
        return [*form.begin, *first, *form.between, *second, *form.end]

    def _readable(self, text: str, name: str, truncate: bool = False) -> str:
        """Keep from the library what is hopeless anyway, by a rough count: it takes long over long texts."""
        if truncate:
            return text[: MOST_CHARACTERS * self._limit]
        about = self._runner.count_tokens(text, parse_special=True) if len(text) > LONG_TEXT else 0
        if about > FAR_TOO_LONG * self._limit:
            self._refuse_too_long(about, name)
        return text

    def _refuse_too_long(self, n_tokens: int, name: str) -> None:
        if n_tokens > self._limit:
            raise InvalidRequest(
                f'{name} has {n_tokens:,} tokens, but this model takes {self._limit:,} at most. '
                'Send it in smaller parts, or set "truncate" to have its end left out.'
            )
