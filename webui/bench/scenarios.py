"""What `bench serve` does with each server: the same requests, and the numbers that came of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

from webui.bench.client import Call, Reply, When
from webui.bench.servers import Server

FILLER = 'The sailor looked at the waves and thought about the long way home, and the wind began to turn. '
TASK = 'Write a very long story about the sea, with many chapters. Never stop.'
SAMPLING = {'temperature': 0.8, 'top_k': 40, 'top_p': 0.95, 'min_p': 0.05, 'repeat_penalty': 1, 'ignore_eos': True}
"""With temperature 0 a small model repeats itself, which drafting would profit from."""
SHORT, QUESTION, FEW = 64, 128, 8
"""Tokens of a short prompt, of a second question, and of a reply that only has to be there."""
GREETINGS = 5
BEGUN, ENOUGH = 20, 4000
"""Tokens after which a reply is well under way, and more than any of these lasts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alone:
    """One reply: seconds to the first token, and tokens a second after it."""

    ttft: float
    rate: float
    prompt_tokens: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """Replies at once: all their tokens a second, and the rate of the slowest as a share of the fastest's."""

    rate: float
    evenness: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The answer to another question: tokens that are new, that were in the cache, that were computed; and how soon."""

    ttft: float
    new: int
    cached: int
    computed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """A long first turn, a second one, and a third after other conversations came between."""

    first: Alone
    second: Turn
    later: Turn


class Asker:
    """One server and what it is asked. No two prompts begin alike, so that no cache helps where it is not measured."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._numbers = count(1)
        self._per_word, self._overhead = 1.3, 30.0

    def calibrate(self) -> None:
        """Learn how many tokens a word of the prompts has, and the template around them; warms up, too."""
        few, many = 20, 220
        sizes = [_prompt_tokens(self._ask(self._call(self._words(words), FEW))) for words in (few, many)]
        self._per_word = (sizes[1] - sizes[0]) / (many - few)
        self._overhead = sizes[0] - few * self._per_word

    def alone(self, size: int, tokens: int) -> Alone:
        """One reply to a prompt of about `size` tokens."""
        return _alone(self._ask(self._call(self._prompt(size), tokens)))

    def together(self, number: int, tokens: int) -> Together:
        """So many replies at once."""
        replies = self._server.ask(*(self._call(self._prompt(SHORT), tokens) for _ in range(number)))
        seconds = max(reply.arrivals[-1] for reply in replies) - min(reply.started for reply in replies)
        rates = [reply.rate for reply in replies]
        return Together(rate=sum(reply.tokens for reply in replies) / seconds, evenness=min(rates) / max(rates))

    def talk(self, size: int, tokens: int, others: int) -> Talk:
        """A conversation of three turns; before the third one, `others` have theirs."""
        messages = [_user(self._prompt(size))]
        first = self._go_on(messages, tokens)
        second = self._go_on(messages, FEW)
        turns = [When(call=at, ended=True) if at >= 0 else None for at in range(-1, others - 1)]
        self._server.ask(*(self._call(self._prompt(SHORT), FEW, start=turn) for turn in turns))
        later = self._go_on(messages, FEW)
        return Talk(first=_alone(first), second=_turn(second, first), later=_turn(later, second))

    def pause(self, size: int) -> float:
        """The longest pause of one reply, in seconds, while a prompt of another is read."""
        long = self._call(self._prompt(size), FEW, start=When(call=0, events=BEGUN))
        writing = self._call(self._prompt(SHORT), ENOUGH, leave=When(call=1, events=1))
        (reply, read) = self._server.ask(writing, long)
        moments = [moment for moment in reply.arrivals if moment < read.arrivals[0]]
        before = max(at for at, moment in enumerate(moments) if moment <= read.started)
        return max(b - a for a, b in pairwise([*moments[before:], read.arrivals[0]]))

    def stop(self, size: int, prefill_seconds: float) -> tuple[float, float, float]:
        """How long the only slot stays taken by a client that left: in mid-reply, and while its prompt was read.

        The third number are the seconds of one token.
        """
        usual = min(self._ask(self._greeting()).ttft for _ in range(GREETINGS))
        reply, after_reply = self._leave(SHORT, When(call=0, events=BEGUN))
        _, after_prefill = self._leave(size, When(call=0, seconds=prefill_seconds / 2))
        step = (reply.arrivals[-1] - reply.arrivals[0]) / (len(reply.arrivals) - 1)
        return max(0.0, after_reply.ttft - usual), max(0.0, after_prefill.ttft - usual), step

    def _leave(self, size: int, when: When) -> tuple[Reply, Reply]:
        leaving = self._call(self._prompt(size), ENOUGH, leave=when)
        (left, next_one) = self._server.ask(leaving, self._greeting(start=when))
        return left, next_one

    def _greeting(self, start: When | None = None) -> Call:
        """Return what takes next to no time to read."""
        return self._call(f'{next(self._numbers)}. Hello', FEW, start=start)

    def _go_on(self, messages: list[dict[str, str]], tokens: int) -> Reply:
        """Have the conversation answered, and add the answer and another question to it."""
        reply = self._ask(Call(body=_body(messages, tokens, next(self._numbers))))
        messages += [{'role': 'assistant', 'content': reply.text}, _user(self._prompt(QUESTION))]
        return reply

    def _ask(self, call: Call) -> Reply:
        (reply,) = self._server.ask(call)
        return reply

    def _call(self, text: str, tokens: int, start: When | None = None, leave: When | None = None) -> Call:
        return Call(body=_body([_user(text)], tokens, next(self._numbers)), start=start, leave=leave)

    def _prompt(self, size: int) -> str:
        return self._words(max(1, int((size - self._overhead) / self._per_word)))

    def _words(self, number: int) -> str:
        filler = (FILLER * (number // 19 + 1)).split()
        return f'{next(self._numbers)}. {" ".join(filler[:number])} {TASK}'


def _body(messages: Sequence[dict[str, str]], tokens: int, seed: int) -> dict[str, Any]:
    stream = {'stream': True, 'stream_options': {'include_usage': True}}
    return {'messages': list(messages), 'max_tokens': tokens, 'seed': seed, **stream, **SAMPLING}


def _user(text: str) -> dict[str, str]:
    return {'role': 'user', 'content': text}


def _alone(reply: Reply) -> Alone:
    return Alone(ttft=reply.ttft, rate=reply.rate, prompt_tokens=_prompt_tokens(reply), tokens=reply.tokens)


def _turn(reply: Reply, before: Reply) -> Turn:
    return Turn(
        ttft=reply.ttft,
        new=_prompt_tokens(reply) - _prompt_tokens(before) - before.tokens,
        cached=int(reply.timings['cache_n']),
        computed=int(reply.timings['prompt_n']),
    )


def _prompt_tokens(reply: Reply) -> int:
    return int(reply.timings['cache_n'] + reply.timings['prompt_n'])
