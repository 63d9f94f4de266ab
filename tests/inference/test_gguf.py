"""What a model file's header tells, and what is said about files that are no use."""

import random
import struct
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from inference.catalog import starter_model
from inference.errors import InvalidModelFile
from inference.gguf import check_usable, kind_of, read_header
from inference.gguf_reader import TENSOR_TYPES, ArraySummary
from tests import tiny_encoders as encoders
from tests import tiny_models as tiny


def refusal(path: Path) -> str:
    with pytest.raises(InvalidModelFile) as caught:
        check_usable(read_header(path))
    return str(caught.value)


def test_the_starter_model_is_described() -> None:
    path = starter_model()
    assert path is not None

    header = read_header(path)

    check_usable(header)
    assert (header.architecture, header.quantization, header.parameters) == ('llama', 'Q4_1', 134_515_008)
    assert (header.n_layer, header.n_embd, header.n_ctx_train, header.n_vocab) == (30, 576, 8192, 49_152)
    assert (header.n_head, header.n_head_kv, header.key_length, header.value_length) == (9, 3, 64, 64)
    assert header.chat_template is not None
    assert '<|im_start|>' in header.chat_template
    assert header.size == path.stat().st_size
    assert header.metadata['tokenizer.ggml.tokens'] == ArraySummary(49_152)


def test_a_large_header_is_read_quickly() -> None:
    path = starter_model()
    assert path is not None
    start = time.perf_counter()

    read_header(path)

    assert time.perf_counter() - start < 1


def test_tensors_are_where_the_official_reader_finds_them(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(tmp_path / 'tiny.gguf')

    ours = [(tensor.name, tensor.n_elements, tensor.n_bytes) for tensor in read_header(path).tensors]

    assert ours == [(tensor.name, tensor.n_elements, tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors]


def test_all_tensor_types_of_the_official_package_are_known() -> None:
    official = {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}

    assert official.items() <= TENSOR_TYPES.items()


def test_short_arrays_are_kept_and_long_ones_counted(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(
        tmp_path / 'tiny.gguf',
        general__languages=['en', 'de'],
        llama__attention__head_count_kv=[2, 0],
        test__numbers=list(range(2000)),
    )

    header = read_header(path)

    assert header.metadata['general.languages'] == ('en', 'de')
    assert header.metadata['test.numbers'] == ArraySummary(2000)
    assert header.n_head_kv == (2, 0)


def test_without_a_file_type_the_quantization_is_that_of_most_weights(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(tmp_path / 'tiny.gguf', dtype=np.float16, general__file_type=999)

    assert read_header(path).quantization == 'F16'


def test_without_a_name_or_a_template_the_file_still_works(tmp_path: Path) -> None:
    header = read_header(tiny.write_tiny_model(tmp_path / 'plain.gguf', template=None, name=''))

    check_usable(header)
    assert (header.name, header.chat_template) == ('plain', None)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert 'no file' in refusal(tmp_path / 'nowhere.gguf')
    assert 'folder' in refusal(tmp_path)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'empty'),
        (b'GG', 'not a GGUF file'),
        (b'<!DOCTYPE html><title>Sign in</title>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0', 'git lfs pull'),
        (b'PK\x03\x04 archive', 'zip'),
        (b'GGUF' + struct.pack('<I', 1) + bytes(32), 'version 1'),
        (b'GGUF' + struct.pack('<I', 99) + bytes(32), 'version 99'),
        (b'GGUF' + struct.pack('>I', 3) + bytes(32), 'big-endian'),
        (b'GGUF' + struct.pack('<I', 3), 'ends in the middle'),
        (b'GGUF' + struct.pack('<IQQ', 3, 0, 0), 'no architecture'),
    ],
)
def test_something_else_under_a_models_name_is_recognized(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tiny.write_not_gguf(tmp_path / 'model.gguf', content))


def test_a_truncated_download_tells_how_much_is_missing(tmp_path: Path) -> None:
    message = refusal(tiny.write_truncated(tmp_path / 'model.gguf', missing=1000))

    assert '1,000 bytes are missing' in message
    assert 'Download or copy it again' in message


def test_a_file_that_ends_within_its_header_is_refused(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(tmp_path / 'model.gguf')
    path.write_bytes(path.read_bytes()[:3000])

    assert 'damaged or incomplete' in refusal(path)


@pytest.mark.parametrize('n_keys', [10_000, 1 << 40, (1 << 64) - 1])
def test_a_header_that_announces_more_than_there_is_is_refused(tmp_path: Path, n_keys: int) -> None:
    assert 'damaged' in refusal(tiny.write_lying_header(tmp_path / 'model.gguf', n_keys=n_keys))
    assert 'damaged' in refusal(tiny.write_lying_header(tmp_path / 'model.gguf', n_tensors=n_keys, n_keys=0))


@pytest.mark.parametrize('count', [1 << 20, 1 << 50, (1 << 64) - 1])
def test_a_vocabulary_larger_than_the_file_is_refused(tmp_path: Path, count: int) -> None:
    assert 'more than the file can hold' in refusal(tiny.write_lying_vocabulary(tmp_path / 'model.gguf', count=count))


def test_a_huge_sparse_file_that_lies_is_refused_at_once(tmp_path: Path) -> None:
    path = tiny.write_lying_vocabulary(tmp_path / 'model.gguf', count=1 << 34)
    with path.open('r+b') as file:
        file.truncate(1 << 38)
    start = time.perf_counter()

    assert 'far more than a model needs' in refusal(path)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ('old', 'new', 'words'),
    [
        (b'llama.block_count\x04', b'llama.block_count\x63', 'unknown value type 99'),
        (b'llama.block_count', b'llama.block\xff\xfeount', 'not readable text'),
        (b'llama.block_count\x04', b'llama.block_count\x06', '"llama.block_count" should be a count'),
        (b'test.vocab_size', b'llama.vocab_siz', 'occurs twice'),
        (b'block_count' + struct.pack('<II', 4, 2), b'block_count' + struct.pack('<II', 4, 1 << 30), 'at most 512'),
    ],
)
def test_a_damaged_key_is_refused(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    path = tiny.write_tiny_model(tmp_path / 'model.gguf', llama__vocab_siz=1, test__vocab_size=1)
    path.write_bytes(path.read_bytes().replace(old, new))

    assert words in refusal(path)


@pytest.mark.parametrize(
    ('at', 'value', 'words'),
    [
        (0, struct.pack('<I', 9), '9 dimensions'),
        (4, struct.pack('<Q', 1 << 63), 'impossible shape'),
        (4, struct.pack('<Q', 0), 'impossible shape'),
        (20, struct.pack('<I', 77), 'unknown type 77'),
        (20, struct.pack('<I', 12), 'impossible shape'),
        (24, struct.pack('<Q', 7), 'instead of 0'),
    ],
)
def test_a_damaged_tensor_entry_is_refused(tmp_path: Path, at: int, value: bytes, words: str) -> None:
    path = tiny.write_tiny_model(tmp_path / 'model.gguf')
    content = bytearray(path.read_bytes())
    start = content.index(b'token_embd.weight') + len(b'token_embd.weight') + at
    content[start : start + len(value)] = value
    path.write_bytes(content)

    assert words in refusal(path)


@pytest.mark.parametrize('alignment', [0, 3, 1 << 31])
def test_an_absurd_alignment_is_refused(tmp_path: Path, alignment: int) -> None:
    path = tiny.write_tiny_model(tmp_path / 'model.gguf', general__alignmend=32)
    old, new = b'general.alignmend' + struct.pack('<II', 4, 32), b'general.alignment' + struct.pack('<II', 4, alignment)
    path.write_bytes(path.read_bytes().replace(old, new))

    assert 'damaged' in refusal(path)


def test_what_is_no_chat_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'model.gguf'

    assert 'only a vocabulary' in refusal(tiny.write_vocabulary_only(path))
    assert 'projector' in refusal(tiny.write_projector(path))
    assert 'LoRA adapter' in refusal(tiny.write_adapter(path))
    assert 'no tokenizer' in refusal(tiny.write_tiny_model(path, tokenizer=False))
    assert 'encoder-decoder' in refusal(tiny.write_tiny_model(path, architecture='t5'))
    assert 'diffusion' in refusal(tiny.write_tiny_model(path, architecture='llada'))
    assert 'the layer that scores' in refusal(encoders.write_reranker(path, head=False))
    assert 'the layer that scores' in refusal(
        encoders.write_reranker(path, bert__classifier__output_labels=['good', 'bad'])
    )


def test_what_a_model_is_for_stands_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / 'model.gguf'

    assert kind_of(read_header(tiny.write_tiny_model(path))) == 'chat'
    assert kind_of(read_header(tiny.write_tiny_model(path, llama__pooling_type=0))) == 'chat'
    assert kind_of(read_header(tiny.write_tiny_model(path, llama__attention__causal=False))) == 'embedding'
    assert kind_of(read_header(tiny.write_tiny_model(path, llama__pooling_type=3))) == 'embedding'
    assert kind_of(read_header(encoders.write_encoder(path, pooling=None))) == 'embedding'
    assert kind_of(read_header(encoders.write_reranker(path))) == 'reranker'


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'block_count': 0}, 'announces no layers'),
        ({'block_count': 513}, '"llama.block_count" should be a count of at most 512'),
        ({'nextn_predict_layers': 3}, '"nextn_predict_layers" should be a count of at most 2'),
        ({'expert_count': 4}, 'uses 0 of 4 experts'),
        ({'expert_count': 4, 'expert_used_count': 5}, 'uses 5 of 4 experts'),
        ({'expert_count': 4, 'expert_used_count': [2, 9]}, 'uses 9 of 4 experts'),
        ({'expert_used_count': 2}, 'uses 2 of 0 experts'),
        ({'expert_count': 1025, 'expert_used_count': 2}, '"expert_count" should be a count of at most 1,024'),
        ({'expert_group_count': 1}, '0 experts in 1 groups'),
        ({'expert_count': 4, 'expert_used_count': 2, 'expert_group_count': 3}, '4 experts in 3 groups'),
        ({'expert_count': 4, 'expert_used_count': 2, 'expert_group_count': 2}, 'uses 0 of 2 groups'),
        ({'rope__scaling__type': 'odd'}, "in a way called 'odd'"),
        ({'rope__dimension_count': 15}, 'must be even'),
        ({'attention__layer_norm_rms_epsilon': -1.0}, 'must not be below 0'),
        ({'attention__layer_norm_rms_epsilon': float('nan')}, 'must not be below 0'),
    ],
    ids=str,
)
def test_what_llama_cpp_would_end_the_process_for_is_refused_before(
    tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    path = tiny.write_tiny_model(tmp_path / 'model.gguf', **{f'llama__{key}': value for key, value in values.items()})

    message = refusal(path)

    assert words in message
    assert 'model.gguf is damaged or incomplete' in message


def test_one_expert_means_none_where_the_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / 'model.gguf'
    one: dict[str, Any] = {'expert_count': 1, 'expert_used_count': 0}

    for architecture in ('hunyuan-dense', 'hunyuan_vl'):
        values = {f'{architecture}__{key}': value for key, value in ({'block_count': 2} | one).items()}
        check_usable(read_header(tiny.write_tiny_model(path, architecture=architecture, **values)))


def test_weights_of_a_type_nothing_computes_with_are_refused(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(tmp_path / 'model.gguf', dtype=np.float64)

    assert 'has the type F64, with which no model computes' in refusal(path)


def test_a_tensor_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = tiny.write_tiny_model(tmp_path / 'model.gguf')
    path.write_bytes(path.read_bytes().replace(b'blk.1.ffn_up.weight', b'blk.0.ffn_up.weight'))

    assert 'occurs twice' in refusal(path)


def test_a_split_model_counts_as_one(tmp_path: Path) -> None:
    parts = tiny.write_split_model(tmp_path)
    whole = read_header(tiny.write_tiny_model(tmp_path / 'whole.gguf'))

    header = read_header(parts[0])

    check_usable(header)
    assert header.parts == parts
    assert header.parameters == whole.parameters
    assert header.size == sum(part.stat().st_size for part in parts)


def test_a_missing_part_of_a_split_model_is_named(tmp_path: Path) -> None:
    parts = tiny.write_split_model(tmp_path)
    parts[1].unlink()

    assert parts[1].name in refusal(parts[0])


def test_a_damaged_part_of_a_split_model_is_named(tmp_path: Path) -> None:
    parts = tiny.write_split_model(tmp_path)
    parts[2].write_bytes(parts[2].read_bytes()[:-500])

    assert refusal(parts[0]).startswith(parts[2].name)


def test_a_later_part_alone_is_refused(tmp_path: Path) -> None:
    assert 'part 2 of 3' in refusal(tiny.write_split_model(tmp_path)[1])


def test_a_renamed_first_part_is_refused(tmp_path: Path) -> None:
    path = tiny.write_split_model(tmp_path)[0].rename(tmp_path / 'mine.gguf')

    assert 'was renamed' in refusal(path)


def test_random_damage_never_does_worse_than_a_refusal(tmp_path: Path) -> None:
    dice = random.Random(7)
    path = tiny.write_tiny_model(tmp_path / 'model.gguf')
    sound = path.read_bytes()
    header_end = sound.index(b'output.weight') + 64
    messages, start = [], time.perf_counter()

    for _ in range(500):
        content = bytearray(sound)
        for _ in range(dice.choice((1, 1, 2, 8))):
            content[dice.randrange(header_end)] = dice.randrange(256)
        path.write_bytes(content[: dice.choice((len(content), dice.randrange(header_end)))])
        try:
            check_usable(read_header(path))
        except InvalidModelFile as error:
            messages.append(str(error))

    assert len(messages) > 250
    assert all(message.startswith('model.gguf') and message.endswith('.') for message in messages)
    assert time.perf_counter() - start < 30
