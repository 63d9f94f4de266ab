"""`/metrics`: what Prometheus and its like read, in their text format."""

from collections.abc import Iterator
from typing import get_args

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from inference.chat import FinishReason
from inference.engine import EngineStatus
from inference.metrics import FAILED, Histogram, Metrics
from webui.services import Services

MEDIA_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
TOKENS = {
    'prompt_tokens': 'Tokens of prompts',
    'cached_tokens': 'Tokens of prompts that did not have to be computed',
    'completion_tokens': 'Tokens of replies, reasoning included',
    'reasoning_tokens': 'Tokens of reasoning',
    'drafted_tokens': 'Tokens that were guessed ahead',
    'accepted_tokens': 'Tokens that were guessed right',
}


class MetricsApi:
    """The numbers of all replies since the app was started."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Return the path."""
        router = APIRouter(tags=['System'])
        router.get('/metrics', response_class=PlainTextResponse)(self.metrics)
        return router

    async def metrics(self) -> PlainTextResponse:
        """Tell counters, gauges and histograms; times in seconds."""
        host = self._services.host
        status = host.engine.status if host.engine else EngineStatus(slots=0, busy=0, queued=0)
        return PlainTextResponse(exposition(host.metrics, status), media_type=MEDIA_TYPE)


def exposition(metrics: Metrics, status: EngineStatus) -> str:
    """Return all numbers in Prometheus' text format."""
    return '\n'.join([*_counters(metrics), *_gauges(metrics, status), *_histograms(metrics), ''])


def _counters(metrics: Metrics) -> Iterator[str]:
    yield from _head('requests_total', 'counter', 'Replies that ended, by the reason')
    for reason in (*get_args(FinishReason), FAILED):
        yield f'chatbot_requests_total{{reason="{reason}"}} {metrics.requests[reason]}'
    for name, meaning in TOKENS.items():
        yield from _head(f'{name}_total', 'counter', meaning)
        yield f'chatbot_{name}_total {metrics.tokens[name]}'


def _gauges(metrics: Metrics, status: EngineStatus) -> Iterator[str]:
    gauges = {
        'cache_hit_rate': ('Share of prompt tokens that did not have to be computed', metrics.cache_hit_rate),
        'slots': ('Replies that can be made at once', status.slots),
        'slots_busy': ('Replies that are being made', status.busy),
        'queue_length': ('Requests that wait for a slot', status.queued),
        'kv_cells': ('Tokens that the KV cache has room for', status.n_cells),
        'kv_cells_used': ('Tokens in the KV cache', status.cells),
        'idle_chats': ('Idle chats kept in RAM', status.cached_chats),
        'idle_chats_bytes': ('RAM that idle chats take', status.cache_bytes),
        'idle_chats_limit_bytes': ('RAM that idle chats may take', status.cache_limit),
    }
    for name, (meaning, value) in gauges.items():
        yield from _head(name, 'gauge', meaning)
        yield f'chatbot_{name} {value}'


def _histograms(metrics: Metrics) -> Iterator[str]:
    yield from _histogram('time_to_first_token_seconds', 'From the request to the first token', metrics.ttft)
    yield from _histogram('inter_token_seconds', 'From one token of a reply to the next', metrics.inter_token)


def _histogram(name: str, meaning: str, histogram: Histogram) -> Iterator[str]:
    yield from _head(name, 'histogram', meaning)
    count = 0
    for bound, more in zip([*histogram.bounds, '+Inf'], histogram.counts, strict=True):
        count += more
        yield f'chatbot_{name}_bucket{{le="{bound}"}} {count}'
    yield f'chatbot_{name}_sum {histogram.total}'
    yield f'chatbot_{name}_count {count}'


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f'# HELP chatbot_{name} {meaning}.'
    yield f'# TYPE chatbot_{name} {kind}'
