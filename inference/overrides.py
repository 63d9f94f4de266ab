"""The settings that are small languages of their own: metadata, tensor placement, adapters."""

import math
import re
from dataclasses import dataclass

from inference.errors import LoadFailed
from inference.gguf import Header

LONGEST_KEY, LONGEST_TEXT, LONGEST_PATTERN = 127, 127, 256
"""Bytes; the library has fixed fields for the first two."""
_AMBIGUOUS = re.compile(r'\(\?(?![:=!])|\[\[|--|&&|~~|\|\|')
"""What Python and llama.cpp read in different ways, or only one of them."""
_INT64 = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, slots=True)
class MetadataOverride:
    """A value that replaces the one of the file."""

    key: str
    value: bool | int | float | str


@dataclass(frozen=True, slots=True)
class TensorOverride:
    """Tensors whose name the pattern finds are kept on a device."""

    pattern: str
    device: str


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """A LoRA file and its strength."""

    file: str
    scale: float


def metadata_overrides(entries: tuple[str, ...], header: Header | None = None) -> tuple[MetadataOverride, ...]:
    """Read KEY=TYPE:VALUE entries; with a header they must fit the values it has. Raises LoadFailed."""
    found = tuple(map(_metadata_override, entries))
    for number, override in enumerate(found):
        if override.key in [other.key for other in found[:number]]:
            raise LoadFailed(f'"Metadata overrides" names {override.key} twice. Keep one of the two.')
        there = header.metadata.get(override.key) if header else None
        if there is not None and type(there) is not type(override.value):
            kind = {bool: 'bool', int: 'int', float: 'float', str: 'str'}.get(type(there), '')
            way_out = f'Write {override.key}={kind}:…' if kind else 'A list cannot be replaced; take the entry out'
            raise LoadFailed(
                f'"Metadata overrides": {entries[number]} has not the type of the value in the file. {way_out}.'
            )
    return found


def tensor_overrides(entries: tuple[str, ...]) -> tuple[TensorOverride, ...]:
    """Read PATTERN=DEVICE entries. Raises LoadFailed."""
    return tuple(map(_tensor_override, entries))


def adapter_specs(entries: tuple[str, ...]) -> tuple[AdapterSpec, ...]:
    """Read FILE or FILE=SCALE entries; a file name may have an equals sign of its own. Raises LoadFailed."""
    return tuple(map(_adapter_spec, entries))


def experts_below(n_layers: int) -> str:
    """Return a pattern for the names of the expert tensors in the first `n_layers` layers."""
    return rf'blk\.{_numbers_below(n_layers)}\.ffn_(up|down|gate|gate_up)_(ch|)exps'


def _metadata_override(entry: str) -> MetadataOverride:
    key, equals, typed = entry.partition('=')
    kind, colon, text = typed.partition(':')
    if not (equals and colon and key.strip()) or '\0' in entry or len(key.encode()) > LONGEST_KEY:
        raise _wrong(entry, 'is not KEY=TYPE:VALUE')
    return MetadataOverride(key.strip(), _value(entry, kind.strip(), text))


def _value(entry: str, kind: str, text: str) -> bool | int | float | str:
    match kind:
        case 'int' if re.fullmatch(r'\s*[+-]?\d{1,19}\s*', text) and int(text) in _INT64:
            return int(text)
        case 'float' if (number := _number(text)) is not None:
            return number
        case 'bool' if text.strip() in ('true', 'false'):
            return text.strip() == 'true'
        case 'str' if len(text.encode()) <= LONGEST_TEXT:
            return text
        case 'int' | 'float' | 'bool':
            raise _wrong(entry, f'has no {kind} after the colon')
        case 'str':
            raise _wrong(entry, f'is too long, at most {LONGEST_TEXT} bytes can be set')
    raise _wrong(entry, 'has an unknown type')


def _wrong(entry: str, why: str) -> LoadFailed:
    return LoadFailed(
        f'"Metadata overrides": {entry!r} {why}. The types are int, float, bool (true or false) and str, '
        'for instance qwen3moe.expert_used_count=int:4.'
    )


def _tensor_override(entry: str) -> TensorOverride:
    pattern, equals, device = entry.rpartition('=')
    if not (equals and pattern and device.strip()):
        raise LoadFailed(f'"Tensor placement": {entry!r} is not PATTERN=DEVICE, such as ffn_.*_exps=CPU.')
    if problem := _pattern_problem(pattern):
        raise LoadFailed(
            f'"Tensor placement": the pattern {pattern!r} {problem}. It is a regular expression as in JavaScript.'
        )
    return TensorOverride(pattern, device.strip())


def _pattern_problem(pattern: str) -> str:
    """Tell what llama.cpp's regular expressions (ECMAScript) could not do with; empty if nothing."""
    if '\0' in pattern or len(pattern.encode()) > LONGEST_PATTERN:
        return 'is too long'
    if _AMBIGUOUS.search(pattern):
        return 'is not plain enough for llama.cpp'
    try:
        re.compile(pattern)
    except re.error as error:
        return f'is wrong: {error.msg}'
    return ''


def _adapter_spec(entry: str) -> AdapterSpec:
    file, equals, text = entry.rpartition('=')
    scale = _number(text)
    if not equals or scale is None:
        file, scale = entry, 1.0
    if not file.strip() or '\0' in file:
        raise LoadFailed(f'"LoRA adapters": {entry!r} names no file. Write FILE or FILE=SCALE.')
    return AdapterSpec(file.strip(), scale)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _numbers_below(limit: int) -> str:
    """Return a pattern for the decimal numbers from 0 to `limit` - 1: shorter ones, then those with a smaller digit."""
    digits = str(limit)
    patterns = ['[0-9]' if length == 1 else '[1-9]' + '[0-9]' * (length - 1) for length in range(1, len(digits))]
    for place, digit in enumerate(digits):
        least = 1 if place == 0 and len(digits) > 1 else 0
        if int(digit) > least:
            patterns.append(f'{digits[:place]}[{least}-{int(digit) - 1}]' + '[0-9]' * (len(digits) - place - 1))
    return f'({"|".join(patterns)})'
