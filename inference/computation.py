"""How much scratch memory a batch takes: llama.cpp's graph in miniature.

Exact for models of plain layers, with or without experts and sliding windows; near for recurrent layers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inference.graph_memory import Graph
from inference.layers import Layer

_F32, _F16, _I32, _I64 = 4, 2, 4, 8
_MOST_EXPERTS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What is computed at once: tokens, the cells they look at in full and in a window, sequences, rows of scores.

    Without flash attention the scores of all cells are there at once. `casts_kv` is for a cache of f32, which flash
    attention copies; quantized caches are rotated by matrices of these sizes, 0 for none.
    """

    n_tokens: int
    n_kv: int
    n_kv_window: int
    n_outputs: int
    n_sequences: int
    flash_attn: bool
    casts_kv: bool
    rotation_k: int
    rotation_v: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """Elements of one token's vectors: embedding, scores, experts, recurrent layers.

    `gated` networks have a matrix for their gate, unless `up` makes it, too; `fused` makes Q, K and V at once;
    `scans` tells a state space from a short convolution.
    """

    n_embd: int
    n_vocab: int
    n_expert: int
    n_expert_used: int
    n_ff_expert: int
    n_ff_shared: int
    gated: bool
    up: int
    fused: bool
    ssm_inner: int
    ssm_projection: int
    scans: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one device computes: layers, and whether also the embedding, with all inputs, or the scores.

    `copies` is how many batches are under way at once.
    """

    layers: Sequence[Layer]
    embeds: bool
    scores: bool
    copies: int = 1


def compute_buffer(layers: Sequence[Layer], widths: Widths, batch: Batch, part: Part) -> int:
    """Return the bytes that one device needs to compute its `part` of the graph of all `layers`."""
    return _Computation(layers, widths, batch, part).peak()


class _Computation:
    """Builds the graph; sizes are bytes, `_row` those of all tokens' embeddings."""

    def __init__(self, layers: Sequence[Layer], widths: Widths, batch: Batch, part: Part) -> None:
        self._graph = Graph()
        self._widths, self._batch, self._part = widths, batch, part
        self._row = batch.n_tokens * widths.n_embd * _F32
        self._k_places, self._v_places, self._masks = dict[bool, int](), dict[bool, int](), dict[bool, int]()
        self._add_inputs(layers if part.embeds else part.layers)

    def peak(self) -> int:
        part, batch = self._part, self._batch
        if part.embeds:
            self._graph.input(self._row * part.copies)  # for embeddings from outside, such as those of images
            current = self._graph.add(self._row, self._graph.input(batch.n_tokens * _I32 * part.copies))
        else:
            current = self._graph.add(self._row * part.copies)
        shown = list(_shortened(part.layers))
        for index, layer in enumerate(shown):
            current = self._layer(layer, current, is_last=part.scores and index == len(shown) - 1)
        if part.scores:
            current = self._norm(batch.n_outputs * self._widths.n_embd * _F32, current)
            self._graph.add(batch.n_outputs * self._widths.n_vocab * _F32, current)
        return self._graph.peak()

    def _add_inputs(self, layers: Sequence[Layer]) -> None:
        """Add positions, places in the KV cache and masks; with windows there are two of each."""
        batch, attending = self._batch, [layer for layer in layers if layer.k]
        v_width = 1 if batch.flash_attn else max((layer.v for layer in attending), default=0)
        n_tokens = batch.n_tokens * self._part.copies
        for window in sorted({layer.window for layer in attending}):
            self._k_places[window] = self._graph.input(n_tokens * _I64)
            self._v_places[window] = self._graph.input(n_tokens * _I64 * v_width)
            for size in filter(None, (batch.rotation_k, batch.rotation_v)):
                self._graph.input(size * size * _F32 * self._part.copies)
            self._masks[window] = self._graph.input(
                n_tokens * self._n_kv(window) * (_F16 if batch.flash_attn else _F32)
            )
        self._positions = self._graph.input(n_tokens * _I32)
        self._rows = self._graph.input(batch.n_outputs * _I32)

    def _n_kv(self, window: bool) -> int:
        return self._batch.n_kv_window if window else self._batch.n_kv

    def _layer(self, layer: Layer, before: int, *, is_last: bool) -> int:
        graph, row, n_tokens = self._graph, self._row, self._batch.n_tokens
        current = self._norm(row, before)
        parts = [self._attention(layer, current)] if layer.k else []
        parts += [self._recurrence(layer, current)] if layer.state else []
        current = parts[0] if len(parts) == 1 else graph.add(row, *parts, in_place=True)
        if is_last:  # only the rows that are asked for go on
            n_tokens = self._batch.n_outputs
            row = n_tokens * self._widths.n_embd * _F32
            current, before = graph.add(row, current, self._rows), graph.add(row, before, self._rows)
        between = graph.add(row, current, before, in_place=True)
        if not layer.n_ff and not layer.has_experts:
            return between
        current = self._norm(row, between)
        current = (
            self._experts(n_tokens, current) if layer.has_experts else self._network(layer.n_ff, n_tokens, current)
        )
        return graph.add(row, current, between, in_place=True)

    def _norm(self, n_bytes: int, source: int) -> int:
        return self._graph.add(n_bytes, self._graph.add(n_bytes, source, in_place=True), in_place=True)

    def _attention(self, layer: Layer, source: int) -> int:
        graph, batch, fused = self._graph, self._batch, self._widths.fused
        q_bytes, out_bytes, k_bytes, v_bytes = (
            batch.n_tokens * width * _F32
            for width in (layer.n_head * layer.key_length, layer.n_head * layer.value_length, layer.k, layer.v)
        )
        if fused:
            source = graph.add(q_bytes + k_bytes + v_bytes, source)
        q = self._turned(q_bytes, source)
        v = source if fused else graph.add(v_bytes, source)
        v = graph.add(v_bytes, v) if batch.rotation_v else v
        k = self._turned(k_bytes, source)
        graph.add(0, k, self._k_places[layer.window])
        graph.add(0, v, self._v_places[layer.window])
        n_kv, mask = self._n_kv(layer.window), self._masks[layer.window]
        if batch.flash_attn:
            casts = [graph.add(n_kv * width * _F16) for width in (layer.k, layer.v) if batch.casts_kv]
            out = graph.add(out_bytes, q, *casts, mask)
        else:
            scores = batch.n_tokens * n_kv * layer.n_head * _F32
            out = graph.add(scores, graph.add(scores, q), mask, in_place=True)
            out = graph.add(out_bytes, graph.add(out_bytes, out))
        out = graph.add(out_bytes, out) if batch.rotation_v else out
        return graph.add(self._row, out)

    def _turned(self, n_bytes: int, source: int) -> int:
        """Project unless that was done, then turn by the position, not in place; turn once more for quantized K."""
        projected = source if self._widths.fused else self._graph.add(n_bytes, source)
        turned = self._graph.add(n_bytes, projected, self._positions)
        return self._graph.add(n_bytes, turned) if self._batch.rotation_k else turned

    def _network(self, n_ff: int, n_tokens: int, source: int) -> int:
        graph, n_bytes = self._graph, n_tokens * n_ff * _F32
        if self._widths.gated:
            hidden = graph.add(n_bytes, graph.add(n_bytes, source), graph.add(n_bytes, source))
        else:
            both = self._widths.up > n_ff
            hidden = graph.add(n_bytes, graph.add(n_bytes * (2 if both else 1), source), in_place=not both)
        return graph.add(n_tokens * self._widths.n_embd * _F32, hidden)

    def _experts(self, n_tokens: int, source: int) -> int:
        """Choose experts for every token, compute those, add them up; one that all tokens share is added, too."""
        graph, widths = self._graph, self._widths
        used, row = min(widths.n_expert_used, widths.n_expert, _MOST_EXPERTS), n_tokens * widths.n_embd * _F32
        every, chosen, hidden = (
            n_tokens * width * _F32 for width in (widths.n_expert, used, used * widths.n_ff_expert)
        )
        scores = graph.add(every, graph.add(every, source), in_place=True)
        order = graph.add(every, scores)
        weights = graph.add(chosen, scores, order)
        weights = graph.add(chosen, weights, graph.add(n_tokens * _F32, weights), in_place=True)
        both = graph.add(hidden, source, order), graph.add(hidden, source, order)
        experts = graph.add(used * row, graph.add(hidden, *both), order)
        experts = graph.add(used * row, experts, weights, in_place=True)
        total = graph.add(row, experts, experts)
        for _ in range(used - 2):
            total = graph.add(row, total, experts, in_place=True)
        if widths.n_ff_shared:
            total = graph.add(row, total, self._network(widths.n_ff_shared, n_tokens, source), in_place=True)
        return total

    def _recurrence(self, layer: Layer, source: int) -> int:
        """Project, look back with a convolution, scan over the tokens; what lives at once, not each small step."""
        graph, batch = self._graph, self._batch
        inner, state = batch.n_tokens * self._widths.ssm_inner * _F32, batch.n_sequences * layer.state * _F32
        projected = graph.add(batch.n_tokens * self._widths.ssm_projection * _F32, source)
        if self._widths.scans:
            convolved = graph.add(inner, graph.add(inner, projected))
            scanned = graph.add(inner + state, convolved, graph.add(inner, convolved))
            out = graph.add(inner, scanned, projected)
        else:
            looked_back = graph.add(inner + state, graph.add(inner, projected))
            out = graph.add(inner, graph.add(inner, looked_back), projected, in_place=True)
        return graph.add(self._row, out)


def _shortened(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Leave out what repeats: the third of equal layers in a row finds the same gaps as the second."""
    for index, layer in enumerate(layers):
        if index < 2 or index == len(layers) - 1 or not layers[index - 2] == layers[index - 1] == layer:
            yield layer
