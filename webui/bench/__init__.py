"""Benchmarks, each of which prints a table and ends with one line of JSON."""

from webui.bench.command import main

__all__ = ['main']
