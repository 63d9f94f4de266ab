"""Random texts: words, letters of all scripts, control characters, texts of special tokens."""

from collections.abc import Callable, Sequence
from random import Random

SPECIAL_TEXTS = (
    '<|im_start|>', '<|im_end|>\n', '<s>', '</s>', '<unk>', '<0x0A>', '<0xFF>', '<think>', '</think>', '<tool_call>',
    '</tool_call>', '{"name": "look", "arguments": {}}', '{{', '{% raw %}', '[INST]', '<|eot_id|>',
    '<｜end▁of▁sentence｜>',
)  # fmt: skip
ODD_LETTERS = (
    '\0\1\t\n\r\x7f\x85\xa0\u200b\u200d\u2028\u202e\ufeff\ufffd\ufffe\U0010ffffä́ñ漢字한글العربية👩🏽‍🚀🇩🇪\ud800\udfff'
)
WORDS = ('hello', 'cat', 'the', 'dog', 'a', 'x', '1', 'world', 'and', 'bird', 'again')
HUGE_TEXT = 400_000


def random_text(dice: Random) -> str:
    """Return words, letters of all scripts, control characters, texts of special tokens; rarely a lot of it."""
    makers: Sequence[Callable[[], str]] = (
        lambda: ' '.join(dice.choices(WORDS, k=dice.randint(0, 30))),
        lambda: ''.join(chr(dice.randrange(0x110000)) for _ in range(dice.randint(0, 40))),
        lambda: ''.join(dice.choices(ODD_LETTERS, k=dice.randint(1, 40))),
        lambda: ''.join(dice.choices(SPECIAL_TEXTS, k=dice.randint(1, 6))),
        lambda: dice.randbytes(dice.randint(1, 200)).decode('latin-1'),
        lambda: '',
    )
    if dice.random() < 0.01:
        return dice.choice(('a', ' ', '漢', 'hello ', '\n', '<|im_start|>')) * dice.randint(1, HUGE_TEXT // 6)
    return ''.join(dice.choice(makers)() for _ in range(dice.choice((1, 1, 2, 3))))
