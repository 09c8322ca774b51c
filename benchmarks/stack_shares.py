"""Shares of groups of modules in the collapsed stacks that a sampling profiler writes. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_OURS = ("services", "contracts", "benchmarks", "workflows")
_STANDARD_LIBRARY = re.compile(r".*/lib/python\d+\.\d+/(?P<module>[^/]+)")
_INSTALLED = re.compile(r"^.*/(site-packages|lib/python\d+\.\d+)/")
UNKNOWN = "other"
"""What has no file: generated and frozen code."""
_WAITING = ("EpollSelector.select ", "select ", "Condition.wait ", "wait ", "_worker ")
"""Innermost functions of an event loop or thread that waits for work."""
_ALL = 0.97
PACKAGE, DEPTH = 3, 4
"""Our own modules are grouped by packages of so many names: services.orchestrator.agents.models."""


class MalformedStackError(ValueError):
    """A line that is not `frame;frame;... count`."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames from the outermost to the innermost, and the samples in which it was seen."""

    frames: tuple[str, ...]
    samples: int


def working(stacks: Iterable[Stack]) -> list[Stack]:
    """Those that use a processor. A sampler may take a thread for active that waits in a system call."""
    return [stack for stack in stacks if not stack.frames[-1].startswith(_WAITING)]


@dataclass(frozen=True, slots=True)
class Share:
    """Parts of all samples, from 0 to 1: in which a group is innermost, and in which it occurs."""

    group: str
    own: float
    inclusive: float


def read_stacks(text: str) -> list[Stack]:
    """The stacks of a file of collapsed stacks, `frame;frame 12` in each line.

    Lines without a frame are threads that run no Python. Raises MalformedStackError.
    """
    return [_stack(line) for line in text.splitlines() if line.strip() and line[0] != " "]


def _stack(line: str) -> Stack:
    frames, _, samples = line.rpartition(" ")
    if not frames or not samples.isdigit():
        raise MalformedStackError(f"expected `frame;frame count`, got {line[:80]!r}")
    return Stack(tuple(frames.split(";")), int(samples))


def shares(stacks: Sequence[Stack], group_of: Callable[[str], str]) -> list[Share]:
    """The share of each group, the largest inclusive one first; none where there is no sample."""
    total = sum(stack.samples for stack in stacks)
    own, inclusive = Counter[str](), Counter[str]()
    for stack in stacks:
        groups = [group_of(frame) for frame in stack.frames]
        own[groups[-1]] += stack.samples
        for group in set(groups):
            inclusive[group] += stack.samples
    found = [Share(group, own[group] / total, count / total) for group, count in inclusive.items()]
    return sorted(found, key=lambda share: (-share.inclusive, -share.own, share.group))


def group_of(frame: str, root: str = "") -> str:
    """The group of a frame like `read (/path/services/chassis/jetstream/pull.py:12)`.

    Our own modules by their package, others by their distribution or module of the standard library.
    `root` is the folder of our packages.
    """
    found = _FRAME.match(frame)
    file = found["file"] if found else ""
    _, installed, inside = file.rpartition("/site-packages/")
    if installed:
        return inside.split("/")[0].removesuffix(".py")
    parts = file.removeprefix(f"{root}/").split("/") if root else file.split("/")
    if parts[0] in _OURS:
        return ".".join(_package(parts))
    library = _STANDARD_LIBRARY.match(file)
    return library["module"].removesuffix(".py") if library else UNKNOWN


def short_names(stacks: Iterable[Stack], root: str) -> list[Stack]:
    """The stacks with functions instead of lines, files without the folders that they are in."""
    return [
        Stack(tuple(_short(frame, root) for frame in stack.frames), stack.samples)
        for stack in stacks
    ]


def _short(frame: str, root: str) -> str:
    found = _FRAME.match(frame)
    if found is None:
        return frame
    file = _INSTALLED.sub("", found["file"]).removeprefix(f"{root}/")
    return f"{found['function']} ({file})"


def _package(parts: Sequence[str]) -> Sequence[str]:
    """The names of a module's package; of the module itself where it is near the top."""
    *package, file = parts
    return package[:DEPTH] if len(package) >= PACKAGE else [*package, file.removesuffix(".py")]


def top(found: Iterable[Share], count: int, least: float) -> list[Share]:
    """The first `count` that have at least so much of the samples, inclusive.

    Without what every sample goes through and that does nothing itself: the program's entry.
    """
    entries = (share for share in found if share.inclusive < _ALL or share.own >= least)
    return [share for share in entries if share.inclusive >= least][:count]
