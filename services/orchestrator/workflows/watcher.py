"""Watch the workflows' folders for changes on disk."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

log = logging.getLogger(__name__)

DEBOUNCE_STEP_MS = 100
"""How long nothing may change before a change is reported: editors write in several steps."""
MAX_DEBOUNCE_MS = 400
RESCAN_MS = 500
"""How often the folders are compared without a notification: the system may miss changes."""
POLL_SECONDS = 0.3
"""How often the folders are compared if the system sends no notifications."""
_IGNORED_FOLDERS = ("__pycache__", "node_modules")

Stamp = frozenset[tuple[str, int, int, int]]


class FolderWatcher:
    """Compares the folders below `root` with what they were at the last comparison.

    A notification of the system only triggers a comparison. So no change is lost between the first
    load and the first notification, while `root` does not exist, or without notifications.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stamps = folder_stamps(root)

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Yields the names of folders that were changed, created or removed; never ends."""
        async with aclosing(self._triggers()) as triggers:
            async for _ in triggers:
                before, self._stamps = (
                    self._stamps,
                    await asyncio.to_thread(folder_stamps, self._root),
                )
                if changed := changed_folders(before, self._stamps):
                    yield changed

    async def _triggers(self) -> AsyncGenerator[None, None]:
        warned = False
        while True:
            try:
                async with aclosing(self._notifications()) as notifications:
                    async for _ in notifications:
                        yield
            except (OSError, RuntimeError) as error:  # no such folder, or no more inotify watches
                if not warned:
                    log.warning(
                        "no file notifications, polling for changes", extra={"why": str(error)}
                    )
                warned = True
            await asyncio.sleep(POLL_SECONDS)
            yield

    async def _notifications(self) -> AsyncGenerator[None, None]:
        """Ends when another folder has replaced the one that is watched."""
        watched = _identity(self._root)
        changes = awatch(
            self._root,
            step=DEBOUNCE_STEP_MS,
            debounce=MAX_DEBOUNCE_MS,
            rust_timeout=RESCAN_MS,
            yield_on_timeout=True,
        )
        async with aclosing(changes):
            async for _ in changes:
                yield
                if _identity(self._root) != watched:
                    return


def folder_stamps(root: Path) -> Mapping[str, Stamp]:
    """Path, inode, modification time and size of the files of each folder, by folder name."""
    try:
        folders = [path for path in root.iterdir() if path.is_dir() and path.name[0] != "."]
    except OSError:  # `root` does not exist
        return {}
    return {folder.name: frozenset(_file_stamps(folder)) for folder in folders}


def changed_folders(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> frozenset[str]:
    return frozenset(
        name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
    )


def _file_stamps(folder: Path) -> list[tuple[str, int, int, int]]:
    stamps = []
    for directory, subdirectories, names in os.walk(folder):
        subdirectories[:] = [
            name for name in subdirectories if name not in _IGNORED_FOLDERS and name[0] != "."
        ]
        for name in names:
            file = Path(directory, name)
            try:
                stat = file.stat()
            except OSError:  # removed meanwhile, or a broken link
                continue
            stamps.append((str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return stamps


def _identity(path: Path) -> tuple[int, int]:
    """Raises FileNotFoundError."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino
