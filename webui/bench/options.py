"""Option values that several benchmarks take."""

import argparse


def numbers(text: str) -> tuple[int, ...]:
    """Read a list such as `64,2048`."""
    try:
        found = tuple(int(part) for part in text.split(','))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of whole numbers such as 64,2048")
    return found
