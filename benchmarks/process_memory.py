"""Memory of a group of processes, each page of a file counted once, whatever else maps it (Linux)."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

KILOBYTES = 1024
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ (?P<offset>\S+) \S+ \d+ *(?P<path>.*)$")
_AMOUNT = re.compile(r"^(?P<name>Rss|Anonymous): +(?P<kilobytes>\d+) kB$")

File = tuple[str, str]
"""A part of a file that is mapped: its path and offset."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of a process that are in memory: its own, and those of files."""

    own: float
    files: Mapping[File, float]

    @property
    def resident(self) -> float:
        return self.own + sum(self.files.values())


def read_memory(smaps: str) -> Memory:
    """From the text of /proc/<pid>/smaps."""
    own, file = 0.0, ("", "")
    files: Counter[File] = Counter()
    for line in smaps.splitlines():
        if amount := _AMOUNT.match(line):
            megabytes = int(amount["kilobytes"]) / KILOBYTES
            if amount["name"] == "Anonymous":
                own += megabytes
                megabytes = -megabytes  # the rest of what is resident is the file's
            files[file] += megabytes  # type: ignore[assignment]  # a Counter of floats
        elif mapping := _MAPPING.match(line):
            file = (mapping["path"], mapping["offset"])
    return Memory(own, {file: size for file, size in files.items() if size > 0})


def shares(memories: Mapping[str, Memory]) -> dict[str, float]:
    """Megabytes of each process: its own, and of each file the part that comes to it if all
    processes of the group that map it share its pages equally."""
    users = Counter(file for memory in memories.values() for file in memory.files)
    return {
        label: memory.own + sum(size / users[file] for file, size in memory.files.items())
        for label, memory in memories.items()
    }
