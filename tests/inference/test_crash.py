"""What killed a process is told from its exit code and its last lines; the same on every system, with values of all."""

from typing import get_args

import pytest

from inference.crash import LAST_WORDS, Cause, Crash, diagnose, explain
from inference.settings import LoadSettings

ABORTED = (
    f'load_tensors: offloading\n{LAST_WORDS}/build/vendor/llama.cpp/ggml/src/ggml.c:42: GGML_ASSERT(a == b) failed\n'
)
FAILED = 'GGML_ASSERT(a == b) failed (ggml.c:42)'
CAUGHT = 'OSError: exception:'  # how ctypes tells Python of what Windows caught
PRINTED = r'C:\build\ggml\src\ggml-cpu\repack.cpp:7: GGML_ASSERT(ne % 8 == 0) failed'
THROWN = "terminate called after throwing an instance of 'std::runtime_error'\n  what():  Unexpected empty grammar\n"
BAD_ALLOC = "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"


@pytest.mark.parametrize(
    ('code', 'said', 'cause', 'how', 'detail'),
    [
        (-4, '', 'illegal instruction', 'signal SIGILL', ''),
        (0xC000001D, '', 'illegal instruction', 'exit code 0xc000001d', ''),
        (0xC000001D - (1 << 32), '', 'illegal instruction', 'exit code 0xc000001d', ''),
        (1, f'{CAUGHT} illegal instruction', 'illegal instruction', 'exit code 0x1', f'{CAUGHT} illegal instruction'),
        (-11, 'load_tensors: done\n\n', 'bad memory access', 'signal SIGSEGV', 'load_tensors: done'),
        (0xC0000005, '', 'bad memory access', 'exit code 0xc0000005', ''),
        (1, f'{CAUGHT} access violation at 8', 'bad memory access', 'exit code 0x1', f'{CAUGHT} access violation at 8'),
        (0xC00000FD, '', 'bad memory access', 'exit code 0xc00000fd', ''),
        (-8, '', 'bad memory access', 'signal SIGFPE', ''),
        (-7, '', 'unreadable file', 'signal SIGBUS', ''),
        (0xC0000006, '', 'unreadable file', 'exit code 0xc0000006', ''),
        (-6, ABORTED, 'assertion', 'signal SIGABRT', FAILED),
        (0xC0000409, PRINTED, 'assertion', 'exit code 0xc0000409', 'GGML_ASSERT(ne % 8 == 0) failed (repack.cpp:7)'),
        (3, '', 'assertion', 'exit code 0x3', ''),
        (-6, THROWN, 'assertion', 'signal SIGABRT', 'Unexpected empty grammar'),
        (-6, BAD_ALLOC, 'out of memory', 'signal SIGABRT', 'std::bad_alloc'),
        (0xC000012D, '', 'out of memory', 'exit code 0xc000012d', ''),
        (-6, f'cudaMalloc failed: out of memory\n{ABORTED}', 'out of memory', 'signal SIGABRT', FAILED),
        (1, 'MemoryError', 'out of memory', 'exit code 0x1', 'MemoryError'),
        (-9, '', 'killed', 'signal SIGKILL', ''),
        (-15, '', 'killed', 'signal SIGTERM', ''),
        (0xC000013A, '', 'killed', 'exit code 0xc000013a', ''),
        (1, 'ImportError: no llama_cpp', 'unknown', 'exit code 0x1', 'ImportError: no llama_cpp'),
        (-12, '', 'unknown', 'signal 12', ''),
        (0, '', 'unknown', 'exit code 0x0', ''),
    ],
)  # fmt: skip
def test_the_cause_is_told(code: int, said: str, cause: Cause, how: str, detail: str) -> None:
    assert diagnose(code, said) == Crash(cause=cause, how=how, detail=detail)


def test_a_kill_for_lack_of_memory_is_told_from_another() -> None:
    assert diagnose(-9, '', oom_killed=True).cause == 'out of memory'
    assert diagnose(-11, '', oom_killed=True).cause == 'bad memory access', 'another process was killed then'


@pytest.mark.parametrize(
    ('crash', 'may_be'),
    [
        (diagnose(-4, ''), True),
        (diagnose(-11, ''), True),
        (Crash(cause='nonsense', how=''), True),
        (diagnose(-6, PRINTED), True),
        (diagnose(-6, ABORTED), False),
        (diagnose(-9, '', oom_killed=True), False),
        (diagnose(-7, ''), False),
        (Crash(cause='timeout', how=''), False),
    ],
)
def test_repacked_weights_are_suspected_only_where_they_can_be_to_blame(crash: Crash, may_be: bool) -> None:
    assert crash.may_be_repacking is may_be
    repacked, plain = (explain('m.gguf', crash, LoadSettings(use_extra_bufts=on)) for on in (True, False))
    assert ('Switch off "Repack weights for this CPU".' in repacked) is may_be
    assert 'Repack weights' not in plain


@pytest.mark.parametrize('cause', get_args(Cause))
def test_every_cause_has_words_and_a_way_out(cause: Cause) -> None:
    said = explain('m.gguf', Crash(cause=cause, how='signal SIGX', detail='a last line'), LoadSettings())

    assert said.startswith('A trial load of m.gguf in a separate process ')
    assert '(signal SIGX), so it was not loaded here. ' in said
    assert said.count('. ') >= 1


def test_what_was_free_is_told_where_memory_may_be_the_cause() -> None:
    free = 'The file has 4.1 GiB; 3.0 GiB of memory were free before.'

    assert f'here. {free} Choose a shorter context' in explain(
        'm', diagnose(-9, '', oom_killed=True), LoadSettings(), free
    )
    assert free in explain('m', diagnose(-9, ''), LoadSettings(), free)
    assert free not in explain('m', diagnose(-11, ''), LoadSettings(), free)


def test_settings_that_are_likely_to_blame_are_named() -> None:
    odd = LoadSettings(kv_overrides=('a.b=int:1',), type_k='q4_0')

    assert 'Take "Metadata overrides" and "K cache type" back first.' in explain('m', diagnose(-6, ABORTED), odd)
    assert 'It last said: GGML_ASSERT(a == b) failed (ggml.c:42)' in explain('m', diagnose(-6, ABORTED), odd)
    assert 'back first' not in explain('m', diagnose(-6, ABORTED), LoadSettings())
