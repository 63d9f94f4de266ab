"""The sampler of one request on the scores of a real, tiny model; llama.cpp's own samplers are the judge."""

import ctypes
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from llama_cpp import llama_cpp as C  # noqa: N812

from inference.chat import TokenChoice
from inference.errors import DecodeFailed, InvalidRequest
from inference.runner import ModelRunner
from inference.sampler import Sampler
from inference.sampling import check_sampling
from inference.scheduler import Request, Slot, Work
from inference.settings import LoadSettings, SamplingSettings
from tests.tiny_models import EOS, FIRST_WORD, write_tiny_model

N_CTX = 1024
PROMPT = '<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n'
LIVELY: dict[str, Any] = {'temperature': 1.5, 'top_k': 40, 'top_p': 1, 'min_p': 0, 'repeat_penalty': 1}
SCHEMA = {
    'type': 'object',
    'properties': {
        'name': {'type': 'string', 'maxLength': 12},
        'age': {'type': 'integer', 'minimum': 0, 'maximum': 120},
        'tags': {'type': 'array', 'items': {'enum': ['red', 'green']}, 'minItems': 1, 'maxItems': 3},
    },
    'required': ['name', 'age', 'tags'],
}


@pytest.fixture(scope='module')
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRunner]:
    """A model that never ends by itself, with room for three slots."""
    path = write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.gguf', endless=True, n_ctx_train=N_CTX)
    settings = LoadSettings(n_ctx=N_CTX, n_threads=1, use_extra_bufts=False)
    runner = ModelRunner.load(path, settings, on_progress=lambda share: True)
    yield runner
    runner.close()


class Chat:
    """A prompt in slot 0, and what follows it."""

    def __init__(self, runner: ModelRunner, before: Sequence[int] = ()) -> None:
        self.runner = runner
        self.tokens = [*before, *runner.tokenize(PROMPT, add_special=True, parse_special=True)]
        self.n_prompt = len(self.tokens)
        runner.keep(0, 0)
        self._row = self._compute(self.tokens, 0)

    @property
    def reply(self) -> list[int]:
        return self.tokens[self.n_prompt :]

    @property
    def text(self) -> str:
        return b''.join(self.runner.pieces[token] for token in self.reply).decode('utf-8', 'replace')

    def sample(self, sampler: Sampler) -> int:
        """Sample a token and compute what follows it."""
        token = self.runner.sample(self._row, sampler, self.tokens)
        self.go_on(token)
        return token

    def native(self, chain: Any) -> int:
        """The same by a chain of llama.cpp alone."""
        token: int = C.llama_sampler_sample(chain, self.runner._context, self._row)
        self.go_on(token)
        return token

    def go_on(self, token: int) -> None:
        self.tokens.append(token)
        self._row = self._compute([token], len(self.tokens) - 1)

    def scores(self) -> np.ndarray[Any, Any]:
        pointer = C.llama_get_logits_ith(self.runner._context, self._row)
        return np.ctypeslib.as_array(pointer, (self.runner.n_vocab,)).copy()

    def _compute(self, tokens: Sequence[int], position: int) -> int:
        request = Request(prompt=tuple(tokens), max_tokens=1)
        self.runner.decode([Work(Slot(0), request, tuple(tokens), position, True)])
        return len(tokens) - 1


def answered(runner: ModelRunner, most: int = 60, before: Sequence[int] = (), **settings: Any) -> Chat:
    """Return a chat with the reply to a prompt, up to its end."""
    chat, sampler = Chat(runner, before), Sampler(SamplingSettings(**settings), runner.vocabulary)
    while len(chat.reply) < most and chat.sample(sampler) not in runner.ends:
        pass
    return chat


def chain_of(runner: ModelRunner, *samplers: Any) -> Any:
    chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
    for sampler in samplers:
        C.llama_sampler_chain_add(chain, sampler)
    return chain


def without_end(runner: ModelRunner) -> Any:
    return biased(runner, dict.fromkeys(runner.ends, -np.inf))


def biased(runner: ModelRunner, bias: dict[int, float]) -> Any:
    biases = (C.llama_logit_bias * len(bias))(*(C.llama_logit_bias(token, value) for token, value in bias.items()))
    return C.llama_sampler_init_logit_bias(runner.n_vocab, len(bias), biases)


def native_reply(runner: ModelRunner, *samplers: Any, before: Sequence[int] = ()) -> list[int]:
    """Return what a chain of llama.cpp samples, which has seen the prompt as llama-server lets it."""
    chat, chain = Chat(runner, before), chain_of(runner, *samplers)
    for token in chat.tokens:
        C.llama_sampler_accept(chain, token)
    for _ in range(60):
        chat.native(chain)
    C.llama_sampler_free(chain)
    return chat.reply


def test_bias_and_penalties_are_those_of_llama_cpp(runner: ModelRunner) -> None:
    settings: dict[str, Any] = {'repeat_penalty': 1.3, 'frequency_penalty': 0.2, 'presence_penalty': 0.1, 'seed': 5}
    bias = {FIRST_WORD: -2.0, FIRST_WORD + 3: 4.0, 40: 3.0}

    ours = answered(runner, **LIVELY | settings, repeat_last_n=20, logit_bias=bias, ignore_eos=True).reply

    theirs = native_reply(
        runner,
        biased(runner, bias),
        without_end(runner),
        C.llama_sampler_init_penalties(runner.n_vocab, 20, 1.3, 0.2, 0.1),
        C.llama_sampler_init_top_k(40),
        C.llama_sampler_init_temp(1.5),
        C.llama_sampler_init_dist(5),
    )
    assert ours == theirs
    assert len(set(ours)) > 10


@pytest.mark.parametrize(
    ('settings', 'init', 'arguments'),
    [
        ({'mirostat': 'v1', 'mirostat_tau': 3, 'mirostat_eta': 0.2}, 'mirostat', (0, 7, 3, 0.2, 100)),
        ({'mirostat': 'v2', 'mirostat_tau': 2}, 'mirostat_v2', (7, 2, 0.1)),
        ({'adaptive_target': 0.4, 'adaptive_decay': 0.5}, 'adaptive_p', (0.4, 0.5, 7)),
        ({}, 'dist', (7,)),
    ],
)
def test_whatever_selects_samples_what_that_of_llama_cpp_does(
    runner: ModelRunner, settings: dict[str, Any], init: str, arguments: tuple[Any, ...]
) -> None:
    if init == 'mirostat':
        arguments = (runner.n_vocab, *arguments[1:])
    first = [] if 'mirostat' in init else [C.llama_sampler_init_top_k(40)]
    selector = getattr(C, f'llama_sampler_init_{init}')(*arguments)

    ours = answered(runner, **LIVELY | settings, seed=7, ignore_eos=True).reply

    assert ours == native_reply(runner, without_end(runner), *first, C.llama_sampler_init_temp(1.5), selector)
    assert len(set(ours)) > 5


def test_dry_is_that_of_llama_cpp_and_sees_the_prompt(runner: ModelRunner) -> None:
    """Its window is all of the context: llama.cpp itself takes -1 for nothing."""
    settings: dict[str, Any] = {'temperature': 0, 'repeat_penalty': 1, 'ignore_eos': True}
    said = answered(runner, most=12, **settings).tokens
    breakers = (ctypes.c_char_p * 1)(b'"')

    ours = answered(runner, before=said, **settings, dry_multiplier=5, dry_sequence_breakers=('"',)).reply

    dry = C.llama_sampler_init_dry(runner.vocabulary.pointer, 5, 1.75, 2, N_CTX, breakers, 1)
    assert ours == native_reply(runner, without_end(runner), dry, C.llama_sampler_init_greedy(), before=said)
    assert ours[:12] != said[-12:]
    assert answered(runner, before=said, **settings).reply[:12] == said[-12:]


def test_the_same_seed_gives_the_same_text(runner: ModelRunner) -> None:
    def text(**settings: Any) -> str:
        return answered(runner, **LIVELY, **settings).text

    for more in ({}, {'xtc_probability': 0.5}, {'mirostat': 'v2'}, {'json_schema': json.dumps(SCHEMA)}):
        assert text(seed=1, **more) == text(seed=1, **more)
        assert text(seed=1, **more) != text(seed=2, **more)


def test_a_bias_forces_and_forbids(runner: ModelRunner) -> None:
    assert set(answered(runner, temperature=1, logit_bias={40: 100}, repeat_penalty=1).reply) == {40}
    assert FIRST_WORD in answered(runner, temperature=0).reply
    assert FIRST_WORD not in answered(runner, temperature=0, logit_bias={FIRST_WORD: -100}).reply


def test_a_reply_that_must_not_end_does_not(runner: ModelRunner) -> None:
    bias = {EOS: 100.0}

    assert answered(runner, temperature=1, logit_bias=bias).reply == [EOS]
    assert len(answered(runner, temperature=1, logit_bias=bias, ignore_eos=True).reply) == 60


def test_the_likelihoods_are_those_before_anything_was_done(runner: ModelRunner) -> None:
    settings = SamplingSettings(n_probs=3, logit_bias={FIRST_WORD: -100, 40: 50}, top_k=1)
    chat, sampler = Chat(runner), Sampler(settings, runner.vocabulary)
    scores = chat.scores().astype(np.float64)
    expected = scores - np.log(np.exp(scores).sum())

    token = chat.sample(sampler)

    assert token == 40
    choice = sampler.choice
    assert isinstance(choice, TokenChoice)
    assert (choice.chosen.token, choice.chosen.piece) == (40, runner.pieces[40])
    assert choice.chosen.logprob == pytest.approx(expected[40], abs=1e-4)
    assert choice.top[0].token == FIRST_WORD
    assert [one.logprob for one in choice.top] == pytest.approx(sorted(expected)[:-4:-1], abs=1e-4)
    sampler.observe(41)
    assert sampler.choice is None


def test_likelihoods_are_told_only_if_someone_asks(runner: ModelRunner) -> None:
    silent, asked = (Sampler(SamplingSettings(), runner.vocabulary, choices=choices) for choices in (False, True))
    Chat(runner).sample(silent)
    Chat(runner).sample(asked)

    assert silent.choice is None
    assert asked.choice
    assert asked.choice.top == ()


def test_what_was_observed_counts_like_what_was_sampled(runner: ModelRunner) -> None:
    settings: dict[str, Any] = {'temperature': 0, 'repeat_penalty': 1.5, 'dry_multiplier': 2, 'ignore_eos': True}
    expected = answered(runner, most=40, **settings).reply
    chat, sampler = Chat(runner), Sampler(SamplingSettings(**settings), runner.vocabulary)
    sampler.prime(chat.tokens)

    for token in expected[:25]:
        sampler.observe(token)
        chat.go_on(token)

    assert [chat.sample(sampler) for _ in range(15)] == expected[25:]


def test_the_rows_of_a_draft_are_sampled_one_after_the_other(runner: ModelRunner) -> None:
    """Three slots stand in for three rows of one."""
    settings: dict[str, Any] = LIVELY | {'seed': 4, 'repeat_penalty': 1.3, 'dry_multiplier': 1}
    settings['grammar'] = 'root ::= .*'
    expected = answered(runner, most=3, **settings).reply
    prompt = runner.tokenize(PROMPT, add_special=True, parse_special=True)
    for slot in range(3):
        runner.keep(slot, 0)
    drafts = [(*prompt, *expected[:count]) for count in range(3)]
    runner.decode([Work(Slot(n), Request(prompt=d, max_tokens=1), d, 0, True) for n, d in enumerate(drafts)])
    rows = [sum(map(len, drafts[: number + 1])) - 1 for number in range(3)]
    sampler = Sampler(SamplingSettings(**settings), runner.vocabulary)

    found = [runner.sample(row, sampler, tokens) for row, tokens in zip(rows, drafts, strict=True)]

    assert found == expected
    for slot in range(3):
        runner.keep(slot, 0)


def test_a_row_without_scores_is_an_error(runner: ModelRunner) -> None:
    Chat(runner)

    with pytest.raises(DecodeFailed, match='no scores'):
        runner.sample(999, Sampler(SamplingSettings(), runner.vocabulary), [])


def test_scores_that_are_no_numbers_are_an_error(runner: ModelRunner) -> None:
    for broken in (np.nan, np.inf):
        chat, sampler = Chat(runner), Sampler(SamplingSettings(), runner.vocabulary)
        pointer = C.llama_get_logits_ith(runner._context, chat._row)
        np.ctypeslib.as_array(pointer, (runner.n_vocab,))[17] = broken

        with pytest.raises(DecodeFailed, match='no numbers'):
            chat.sample(sampler)


def test_a_closed_sampler_samples_no_more(runner: ModelRunner) -> None:
    chat, sampler = Chat(runner), Sampler(SamplingSettings(), runner.vocabulary)
    sampler.close()
    sampler.close()

    with pytest.raises(DecodeFailed, match='is over'):
        chat.sample(sampler)
    with pytest.raises(DecodeFailed, match='no token'):
        Sampler(SamplingSettings(), runner.vocabulary).observe(runner.n_vocab)


STYLES: list[dict[str, Any]] = [
    {'temperature': 0},
    {'temperature': 0, 'repeat_penalty': 1.5, 'dry_multiplier': 1},
    {'temperature': 1, 'top_k': 0, 'top_p': 1, 'min_p': 0},
    {'temperature': 3, 'top_k': 200},
    {'top_k': 0, 'typical_p': 0.5, 'xtc_probability': 0.5},
    {'mirostat': 'v1'},
    {'mirostat': 'v2', 'ignore_eos': True},
    {'adaptive_target': 0.3, 'dry_multiplier': 1},
    {'top_n_sigma': 1, 'dynatemp_range': 1},
]


@pytest.mark.parametrize('style', STYLES, ids=str)
def test_a_reply_is_json_of_its_schema_and_ends(runner: ModelRunner, style: dict[str, Any]) -> None:
    for seed in range(4):
        chat = answered(runner, most=300, json_schema=json.dumps(SCHEMA), seed=seed, **style)

        found = json.loads(chat.text)
        assert chat.reply[-1] in runner.ends
        assert list(found) == ['name', 'age', 'tags']
        assert len(found['name']) <= 12
        assert 0 <= found['age'] <= 120
        assert set(found['tags']) <= {'red', 'green'}
        assert 1 <= len(found['tags']) <= 3


@pytest.mark.parametrize('grammar', ['root ::= " the"+ [a-z ]{4,9} ("." | "!")', 'root ::= [0-9]+ ("," [0-9]+){2,}'])
def test_the_likeliest_token_that_a_grammar_allows_is_that_of_llama_cpp(runner: ModelRunner, grammar: str) -> None:
    """It asks the grammar about every token first; here that is done only where it has to be."""
    theirs = C.llama_sampler_init_grammar(runner.vocabulary.pointer, grammar.encode(), b'root')
    chat, chain = Chat(runner), chain_of(runner, theirs, C.llama_sampler_init_greedy())
    while len(chat.reply) < 20 and chat.native(chain) not in runner.ends:
        pass
    C.llama_sampler_free(chain)

    ours = answered(runner, most=20, temperature=0, repeat_penalty=1, grammar=grammar)

    assert ours.reply == chat.reply


def test_requests_with_the_same_grammar_do_not_meet(runner: ModelRunner) -> None:
    settings = SamplingSettings(temperature=0, grammar='root ::= "ab" "cd"')
    first, second = (Sampler(settings, runner.vocabulary) for _ in range(2))

    texts = [runner.pieces[Chat(runner).sample(sampler)] for sampler in (first, first, second, first, second)]

    assert texts == [b'a', b'b', b'a', b'c', b'b']


def test_a_grammar_ends_the_reply_and_only_where_it_may(runner: ModelRunner) -> None:
    grammar = 'root ::= "yes" | "yess"'
    assert answered(runner, grammar=grammar, logit_bias={EOS: 100.0}).text == 'yes'
    assert answered(runner, grammar=grammar, ignore_eos=True).text == 'yess'

    chat, sampler = Chat(runner), Sampler(SamplingSettings(grammar='root ::= "a"', ignore_eos=True), runner.vocabulary)
    assert not sampler.must_end
    chat.sample(sampler)
    assert sampler.must_end
    assert chat.sample(sampler) in runner.ends
    assert chat.sample(sampler) in runner.ends


def test_a_grammar_can_name_tokens(runner: ModelRunner) -> None:
    reply = answered(runner, most=9, temperature=0, grammar='root ::= <|im_start|> !<|im_start|>{2} <[265]> <s>').reply

    assert (reply[0], reply[3], reply[4]) == (3, 265, 1)
    assert 3 not in reply[1:3]


def test_a_grammar_starts_after_its_trigger(runner: ModelRunner) -> None:
    """The trigger ends in the middle of a token; the rest of the token is the first that the grammar reads."""
    plain = answered(runner, temperature=0).text
    assert plain.startswith(' hello, the cat sees')

    def triggered(grammar: str, *triggers: str) -> str:
        return answered(runner, temperature=0, grammar=grammar, grammar_triggers=triggers).text

    assert triggered('root ::= "at" "!"', 'e c') == ' hello, the cat!'
    assert triggered('root ::= "!"', 'cat', 'sees') == ' hello, the cat!'
    assert triggered('root ::= "!"', 'sees', 'hello') == ' hello!'
    assert triggered('root ::= "!"', 'unheard of') == plain


def test_a_token_with_the_trigger_has_to_go_on_by_the_grammar(runner: ModelRunner) -> None:
    text = answered(runner, temperature=0, grammar='root ::= "ow!"', grammar_triggers=['e c']).text

    assert ' cat' not in text
    assert 'e c' not in text or text.endswith('e cow!')
    assert 'the c' not in text or text.endswith('the cow!')


def test_a_trigger_may_be_written_in_pieces(runner: ModelRunner) -> None:
    sampler = Sampler(
        SamplingSettings(temperature=0, grammar='root ::= "1"', grammar_triggers=('<é🙂>',)), runner.vocabulary
    )
    chat = Chat(runner)
    for byte in '<<é<é🙂>'.encode():
        token = runner.pieces.index(bytes((byte,)))
        sampler.observe(token)
        chat.go_on(token)

    assert runner.pieces[chat.sample(sampler)] == b'1'
    assert sampler.must_end


def test_before_its_trigger_a_reply_may_end(runner: ModelRunner) -> None:
    chat = answered(runner, grammar='root ::= "1"', grammar_triggers=['x'], logit_bias={EOS: 100.0})

    assert chat.reply == [EOS]


def test_a_grammar_waits_while_it_is_told_to(runner: ModelRunner) -> None:
    chat, sampler = Chat(runner), Sampler(SamplingSettings(temperature=0, grammar='root ::= "1"'), runner.vocabulary)
    sampler.grammar_waits = True
    assert [runner.pieces[chat.sample(sampler)] for _ in range(3)] == [b' hello', b',', b' the']
    assert not sampler.must_end

    sampler.observe(runner.pieces.index(b' cat'))
    sampler.grammar_waits = False

    assert runner.pieces[chat.sample(sampler)] == b'1'
    assert sampler.must_end


def test_a_forced_token_that_the_grammar_forbids_is_an_error(runner: ModelRunner) -> None:
    """llama.cpp ends the process."""
    sampler = Sampler(SamplingSettings(grammar='root ::= "1"'), runner.vocabulary)

    with pytest.raises(InvalidRequest, match='its grammar forbids'):
        sampler.observe(FIRST_WORD)


def test_a_grammar_that_grows_without_bounds_ends_its_reply(runner: ModelRunner) -> None:
    grammar = 'root ::= a\na ::= "x" a b | "x" a c | "x"\nb ::= "y"\nc ::= "y"'
    never = {runner.pieces.index(b'y'): -1000.0}

    with pytest.raises(InvalidRequest, match='in too many ways'):
        answered(runner, most=200, temperature=0, grammar=grammar, ignore_eos=True, logit_bias=never)


@pytest.mark.parametrize(
    ('settings', 'says'),
    [
        ({'logit_bias': {290_000: 1}}, r'\(logit_bias\) names the token 290000, but .* end at 2\d\d'),
        ({'mirostat': 'v1', 'adaptive_target': 0.5}, 'Set mirostat to off or adaptive_target to -1'),
        ({'grammar': 'root ::= "a"', 'json_schema': '{}'}, 'not both'),
        ({'grammar_triggers': ['a']}, 'neither a grammar nor a JSON schema'),
        ({'grammar_triggers': ['a', ''], 'grammar': 'root ::= "a"'}, 'trigger is empty'),
        ({'grammar': 'root ::= [a'}, 'The grammar has a mistake in line 1'),
        ({'grammar': 'root ::= <|nobody|>'}, r'the token <\|nobody\|>, which this model does not have'),
        ({'grammar': 'root ::= <[4000]>'}, 'which this model does not have'),
        ({'json_schema': 'x'}, 'The JSON schema is not JSON'),
        ({'json_schema': '{"type": 1}'}, 'The JSON schema cannot be used'),
        ({'json_schema': '{"$ref": "#"}'}, 'The JSON schema cannot be used, because of the grammar'),
        ({'grammar': r'root ::= [\U00110000]'}, 'has no tokens for'),
    ],
)
def test_what_a_model_cannot_follow_is_refused_before_anything_runs(
    runner: ModelRunner, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        check_sampling(SamplingSettings.model_validate(settings), runner.vocabulary)


@pytest.mark.parametrize('style', [*STYLES, {'json_schema': '{}'}, {'grammar': 'root ::= ""'}], ids=str)
def test_what_a_model_can_follow_is_not_refused(runner: ModelRunner, style: dict[str, Any]) -> None:
    check_sampling(SamplingSettings.model_validate(style), runner.vocabulary)
