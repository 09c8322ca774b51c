"""Which workflows' folders have changed on disk, told soon after it happened."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

log = logging.getLogger(__name__)

QUIET_MS = 100
"""How long nothing more may happen before a change is told: editors write in several steps."""
LONGEST_MS = 400
LOOK_MS = 500
"""How often one looks without having heard of anything: what the system forgot to tell is found."""
POLL_SECONDS = 0.3
"""How often, where the system tells nothing at all."""
_PASSED_BY = ("__pycache__", "node_modules")

Stamp = frozenset[tuple[str, int, int, int]]


class Watch:
    """Remembers how the folders below `root` were when they were looked at last.

    That something happened is only a reason to look: so nothing is lost between the first load and
    the first look, while `root` is away, or where the system cannot tell.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = stamps(root)

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """The names of the folders that changed, came or went; for ever."""
        async with aclosing(self._stirrings()) as stirrings:
            async for _ in stirrings:
                before, self._seen = self._seen, await asyncio.to_thread(stamps, self._root)
                if changed := differing(before, self._seen):
                    yield changed

    async def _stirrings(self) -> AsyncGenerator[None, None]:
        told = False
        while True:
            try:
                async with aclosing(self._heard()) as heard:
                    async for _ in heard:
                        yield
            except (OSError, RuntimeError) as deaf:  # no such folder, or no more watches to be had
                if not told:
                    log.warning("changes are looked for, not heard of", extra={"why": str(deaf)})
                told = True
            await asyncio.sleep(POLL_SECONDS)
            yield

    async def _heard(self) -> AsyncGenerator[None, None]:
        """Ends when another folder is in the place of the one that is watched."""
        watched = _identity(self._root)
        stirred = awatch(
            self._root,
            step=QUIET_MS,
            debounce=LONGEST_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
        )
        async with aclosing(stirred):
            async for _ in stirred:
                yield
                if _identity(self._root) != watched:
                    return


def stamps(root: Path) -> Mapping[str, Stamp]:
    """What the system knows of each folder's files without opening them."""
    try:
        folders = [path for path in root.iterdir() if path.is_dir() and path.name[0] != "."]
    except OSError:  # not there
        return {}
    return {folder.name: frozenset(_stamped(folder)) for folder in folders}


def differing(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> frozenset[str]:
    return frozenset(
        name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
    )


def _stamped(folder: Path) -> list[tuple[str, int, int, int]]:
    found = []
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if name not in _PASSED_BY and name[0] != "."]
        for name in names:
            file = Path(place, name)
            try:
                known = file.stat()
            except OSError:  # gone meanwhile, or a link to nowhere
                continue
            found.append((str(file), known.st_ino, known.st_mtime_ns, known.st_size))
    return found


def _identity(path: Path) -> tuple[int, int]:
    """Raises FileNotFoundError."""
    known = path.stat()
    return known.st_dev, known.st_ino
