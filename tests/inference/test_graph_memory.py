"""Placing tensors so that space is used again, as ggml does."""

from inference.graph_memory import Graph

KIB = 1024


def test_a_tensor_is_kept_as_long_as_something_needs_it() -> None:
    graph = Graph()
    first = graph.add(KIB)
    second = graph.add(KIB, first)
    graph.add(KIB, graph.add(KIB, second), first)
    assert graph.peak() == 3 * KIB, 'two at a time and the first'

    graph.add(KIB, second)
    assert graph.peak() == 4 * KIB


def test_the_place_of_what_is_done_with_is_used_again() -> None:
    graph = Graph()
    current = graph.add(KIB)
    for _ in range(10):
        current = graph.add(KIB, current)

    assert graph.peak() == 2 * KIB


def test_in_place_takes_no_place_of_its_own_unless_the_source_is_needed_later() -> None:
    graph = Graph()
    source = graph.add(KIB)
    result = graph.add(KIB, source, in_place=True)
    assert graph.peak() == KIB

    graph.add(KIB, result, source, in_place=True)
    assert graph.peak() == 2 * KIB


def test_inputs_are_there_from_the_beginning_and_small_ones_fill_gaps() -> None:
    graph = Graph()
    large, small = graph.input(4 * KIB), graph.input(KIB)
    after = graph.add(10 * KIB, large)
    graph.add(3 * KIB, after, small)

    assert graph.peak() == 15 * KIB
