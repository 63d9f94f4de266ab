"""What is kept of each reply besides its text."""

from loguru import logger

from inference.chat import Finished, decode_rate, prefill_rate


def log_reply(model: str, reply: Finished) -> None:
    """Write one line per request: tokens, the cache's share, times in seconds, rates in tokens a second."""
    usage, timings = reply.usage, reply.timings
    logger.info(
        '{}: prompt {} (cached {}), completion {}, queued {:.2f} s, first token {:.2f} s, '
        'prefill {:.0f} tok/s, decode {:.1f} tok/s, {}',
        model, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, timings.queued, timings.ttft,
        prefill_rate(usage, timings), decode_rate(usage, timings), reply.reason,
    )  # fmt: skip
