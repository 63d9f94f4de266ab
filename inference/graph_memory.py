"""The memory that the tensors of a computation need when space is used again: ggml's allocator in miniature."""

from collections import Counter

_ALIGNMENT = 32


class Graph:
    """Tensors in the order they are computed; `peak` tells what they need. A tensor is known by its number."""

    def __init__(self) -> None:
        self._inputs: list[tuple[int, int]] = []
        self._nodes: list[tuple[int, int, tuple[int, ...], bool]] = []
        self._count = 0

    def input(self, n_bytes: int) -> int:
        """Add something that is there before the computation; without a use it stays to the end."""
        self._inputs.append((self._next(), n_bytes))
        return self._count

    def add(self, n_bytes: int, *sources: int, in_place: bool = False) -> int:
        """Add a tensor; `in_place` says that it may take the place of a source that nothing needs after it."""
        self._nodes.append((self._next(), n_bytes, sources, in_place))
        return self._count

    def peak(self) -> int:
        """Place every tensor the way of ggml: in the best fitting gap, else at the end."""
        uses = Counter(source for _, _, sources, _ in self._nodes for source in sources)
        space, places = _Space(), dict[int, tuple[int, int]]()
        for tensor, n_bytes in self._inputs:
            places[tensor] = space.take(_aligned(n_bytes))
        for tensor, n_bytes, sources, in_place in self._nodes:
            size = _aligned(n_bytes)
            reused = [one for one in sources if in_place and uses[one] == 1 and places.get(one, (0, -1))[1] == size]
            places[tensor] = places.pop(reused[0]) if reused else space.take(size)
            uses.subtract(sources)
            for source in {tensor, *sources} & places.keys():
                if not uses[source]:
                    space.free(*places.pop(source))
        return space.end

    def _next(self) -> int:
        self._count += 1
        return self._count


class _Space:
    """Memory with gaps, as offset and size; the last gap has no end."""

    def __init__(self) -> None:
        self._gaps = [(0, 1 << 200)]  # headers may promise anything
        self.end = 0

    def take(self, size: int) -> tuple[int, int]:
        fitting = [gap for gap in self._gaps[:-1] if gap[1] >= size]
        gap = min(fitting, key=lambda gap: gap[1]) if fitting else self._gaps[-1]
        offset, length = gap
        at = self._gaps.index(gap)
        self._gaps[at : at + 1] = [(offset + size, length - size)] if length > size else []
        self.end = max(self.end, offset + size)
        return offset, size

    def free(self, offset: int, size: int) -> None:
        merged: list[tuple[int, int]] = []
        for start, length in sorted([*self._gaps, (offset, size)]):
            if merged and sum(merged[-1]) == start:
                merged[-1] = merged[-1][0], merged[-1][1] + length
            else:
                merged.append((start, length))
        self._gaps = merged


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
