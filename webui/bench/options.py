"""Option values that several benchmarks take."""

import argparse
from pathlib import Path

from inference.catalog import Catalog, ModelFile
from inference.errors import InvalidModelFile, ModelNotFound


def numbers(text: str) -> tuple[int, ...]:
    """Read a list such as `64,2048`."""
    try:
        found = tuple(int(part) for part in text.split(','))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of whole numbers such as 64,2048")
    return found


def find_model(path: Path | None) -> ModelFile:
    """Return the model in a file; without a path, say how to name one."""
    if path is None:
        raise ModelNotFound('The starter model is not installed. Name a model file with --model.')
    if not path.is_file():
        raise ModelNotFound(f'There is no file {path}. Name a model file with --model.')
    catalog = Catalog([], [path])
    catalog.scan()
    if not catalog.chat_models:
        raise InvalidModelFile(catalog.problems.get(path, f'{path} is not a model to chat with.'))
    return catalog.chat_models[0]
