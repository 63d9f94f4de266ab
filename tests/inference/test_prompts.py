"""Conversations become tokens once: what was said keeps the tokens it was said with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.chat import GenerationRequest, Message, Role
from inference.prompts import PromptMaker
from inference.runner import ModelRunner
from inference.settings import LoadSettings
from inference.template import CHATML, ChatTemplate
from inference.transcripts import Transcripts
from tests import tiny_models as tiny


@pytest.fixture
def runner(tmp_path: Path, quick: LoadSettings) -> Iterator[ModelRunner]:
    runner = ModelRunner.load(tiny.write_tiny_model(tmp_path / 'm.gguf'), quick, on_progress=lambda share: True)
    yield runner
    runner.close()


@pytest.fixture
def prompts(runner: ModelRunner) -> PromptMaker:
    template, _ = ChatTemplate.load(CHATML, bos=runner.bos, eos=runner.eos)
    return PromptMaker(runner, template)


def conversation(*texts: str) -> GenerationRequest:
    roles: tuple[Role, Role] = ('user', 'assistant')
    messages = tuple(Message(role=roles[number % 2], content=text) for number, text in enumerate(texts))
    return GenerationRequest(messages=messages)


def byte_tokens(text: str) -> list[int]:
    return [byte + 5 for byte in text.encode()]


def test_a_reply_keeps_the_tokens_it_was_said_with(runner: ModelRunner, prompts: PromptMaker) -> None:
    first = prompts.make(conversation('hi'))
    odd = [runner.tokenize('.', add_special=False, parse_special=False)[0], *byte_tokens('.a.'), tiny.FIRST_WORD]
    prompts.remember(first, odd)

    second = prompts.make(conversation('hi', runner.text_of(odd), 'and ?'))

    assert second.tokens[: len(first.tokens) + len(odd)] == [*first.tokens, *odd]


def test_a_reply_that_was_edited_is_read_as_it_is_now(runner: ModelRunner, prompts: PromptMaker) -> None:
    first = prompts.make(conversation('hi'))
    prompts.remember(first, byte_tokens('.abc.'))

    edited = prompts.make(conversation('hi', '.abd.', 'and ?'))

    assert edited.tokens == runner.tokenize(edited.text, add_special=True, parse_special=True)


def test_the_same_conversation_gives_the_same_tokens(prompts: PromptMaker) -> None:
    assert prompts.make(conversation('hi')).tokens == prompts.make(conversation('hi')).tokens


def test_a_vocabulary_that_begins_texts_with_a_space_does_so_once(tmp_path: Path, quick: LoadSettings) -> None:
    path = tiny.write_tiny_model(tmp_path / 'm.gguf', tokenizer__ggml__add_space_prefix=True)
    runner = ModelRunner.load(path, quick, on_progress=lambda share: True)
    plain = '{% for m in messages %}{{ m.content }}{% endfor %}'
    prompts = PromptMaker(runner, ChatTemplate(plain, bos=runner.bos, eos=runner.eos))

    prompts.make(conversation('one'))
    longer = prompts.make(conversation('one', 'two'))

    assert longer.tokens == runner.tokenize('onetwo', add_special=True, parse_special=True)
    runner.close()


def test_the_longest_known_beginning_is_found() -> None:
    known = Transcripts()
    known.add('ab', [1])
    known.add('abcd', [1, 2])
    known.add('abX', [9])

    assert known.beginning('abcdef') == ('abcd', (1, 2))
    assert known.beginning('abc') == ('ab', (1,))
    assert known.beginning('x') == ('', ())


def test_the_texts_that_were_not_used_for_longest_go_first() -> None:
    known = Transcripts(most=6)
    known.add('abc', [1])
    known.add('xyz', [2])
    known.beginning('abc')
    known.add('new', [3])

    assert known.beginning('abc') == ('abc', (1,))
    assert known.beginning('xyz') == ('', ())
