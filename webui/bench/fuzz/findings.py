"""What the parts of the fuzzing are given, and what they hand back."""

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Self

import psutil


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The cases `first` to `first + count - 1` of a seed; work is done in `folder`, failing cases go to `keep`."""

    seed: int
    first: int
    count: int
    folder: Path
    keep: Path

    @property
    def cases(self) -> range:
        """The numbers of the cases."""
        return range(self.first, self.first + self.count)

    def part(self, first: int, count: int) -> 'Plan':
        """Return the plan for some of the cases."""
        return replace(self, first=first, count=count)

    def dice(self, kind: str, case: int) -> Random:
        """Return the dice of one case, whatever was thrown before."""
        return Random(f'{self.seed}/{kind}/{case}')  # noqa: S311 (no secret)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A case that ended as none may end; `file` has what is needed to look at it."""

    part: str
    case: int
    what: str
    file: Path | None = None

    def line(self) -> str:
        """Return the problem in one line."""
        where = f' ({self.file})' if self.file else ''
        return f'{self.part} {self.case}: {" ".join(self.what.split())[:300]}{where}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a process holds: bytes of memory, threads, open files (handles on Windows)."""

    rss: int
    threads: int
    files: int

    @classmethod
    def of(cls, process: psutil.Process) -> Self:
        """Look at a process."""
        count_files = getattr(process, 'num_handles' if sys.platform == 'win32' else 'num_fds')
        return cls(rss=process.memory_info().rss, threads=process.num_threads(), files=count_files())


def peak_memory() -> int:
    """Return the most bytes this process ever had in memory."""
    if sys.platform == 'win32':
        peak: int = psutil.Process().memory_info().peak_wset
        return peak
    if sys.platform == 'linux':  # where getrusage tells a new process the peak of the one that started it
        found = re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())
        assert found
        return int(found[1]) << 10
    import resource  # noqa: PLC0415 (not there on Windows)

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def write_down(path: Path, content: Any) -> Path:
    """Write a case as JSON; what JSON does not know is written as Python shows it."""
    path.write_text(json.dumps(content, indent=1, default=repr), encoding='utf-8')
    return path


def say(text: str) -> None:
    """Tell the person at the terminal how far it is."""
    sys.stderr.write(f'{text}\n')
