"""The numbers that are kept of all replies."""

import pytest

from inference.chat import Finished, GenerationRequest, Message, TextDelta, Timings, Usage
from inference.echo import EchoEngine
from inference.errors import InvalidRequest
from inference.metrics import Histogram, Metrics
from inference.settings import SamplingSettings


def asked(text: str, max_tokens: int = 0) -> GenerationRequest:
    messages = (Message(role='user', content=text),)
    return GenerationRequest(messages=messages, sampling=SamplingSettings(max_tokens=max_tokens))


def test_a_histogram_counts_by_the_bound_that_is_not_exceeded() -> None:
    histogram = Histogram([1, 2])
    for value in (0.5, 1, 1.5, 7):
        histogram.observe(value)
    histogram.observe(2, times=3)

    assert (histogram.counts, histogram.total) == ([2, 4, 1], 16)


async def test_the_replies_of_an_engine_add_up() -> None:
    engine = EchoEngine(rate=0)
    for request in (asked('one two three'), asked('one two three'), asked('one two three four', 2)):
        async for _ in engine.generate(request):
            pass
    stopped = engine.generate(asked('word ' * 1000))
    stopped.cancel()
    async for _ in stopped:
        pass
    with pytest.raises(InvalidRequest):
        async for _ in engine.generate(asked('')):
            pass

    metrics = engine.metrics
    assert metrics.requests == {'stop': 2, 'length': 1, 'cancelled': 1, 'error': 1}
    assert (metrics.tokens['prompt_tokens'], metrics.tokens['cached_tokens']) == (3 + 3 + 4 + 1000, 0 + 2 + 3 + 0)
    assert metrics.tokens['completion_tokens'] == 3 + 3 + 2
    assert metrics.cache_hit_rate == 5 / 1010
    assert sum(metrics.ttft.counts) == 3, 'a reply without a token has no first one'
    assert sum(metrics.inter_token.counts) == 2 + 2 + 1


def test_tokens_that_come_together_share_their_time() -> None:
    metrics = Metrics()
    meter = metrics.follow('smol')
    meter.take(TextDelta(text='one'))
    meter.take(TextDelta(text=' two three', tokens=2))
    meter.take(TextDelta(text='held back', tokens=0))
    meter.take(Finished(reason='stop', usage=Usage(completion_tokens=3), timings=Timings(prefill=3)))

    assert sum(metrics.inter_token.counts) == 2
    assert metrics.ttft.total == 3


def test_nothing_was_cached_before_there_was_a_reply() -> None:
    assert Metrics().cache_hit_rate == 0
