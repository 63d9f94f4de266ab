"""The honest numbers of a reply: in one line, and all of them."""

from presets.chat import StoredMessage
from webui.words import say
from webui.words.formats import moment, number


def describe_numbers(message: StoredMessage) -> str:
    """Return tokens, rate and wait in a line; the wait for the model is not counted as its reading time."""
    if not message.completion_tokens:
        return ''
    parts = [say('message.tokens', n=message.completion_tokens, count=number(message.completion_tokens))]
    if rate := _decode_rate(message):
        parts.append(_rate(rate))
    if waited := message.queued + message.prefill:
        parts.append(say('message.to-first-token', seconds=number(waited, 2)))
    return ' · '.join(parts)


def list_numbers(message: StoredMessage) -> list[tuple[str, str]]:
    """Return each number with its name; what was not measured is left out."""
    computed, decoded = message.prompt_tokens - message.cached_tokens, _decode_rate(message)
    rows = [
        ('tokens', number(message.completion_tokens)),
        ('prompt', number(message.prompt_tokens)),
        ('cached', number(message.cached_tokens)),
        ('first-token', _seconds(message.queued + message.prefill) if message.prefill else ''),
        ('queued', _seconds(message.queued) if message.queued else ''),
        ('prefill', _rate(computed / message.prefill) if message.prefill else ''),
        ('decode', _rate(decoded) if decoded else ''),
        ('ended', say(f'message.ended-by-{message.finish_reason}') if message.finish_reason else ''),
        ('model', message.model),
        ('preset', message.preset),
        ('written', moment(message.created)),
    ]
    return [(say(f'message.number-{name}'), value) for name, value in rows if value]


def _decode_rate(message: StoredMessage) -> float:
    return (message.completion_tokens - 1) / message.decode if message.decode and message.completion_tokens > 1 else 0.0


def _seconds(seconds: float) -> str:
    return f'{number(seconds, 2)} s'


def _rate(rate: float) -> str:
    return say('message.rate', rate=number(rate, 1))
