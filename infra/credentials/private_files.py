"""Files that only this user can read: seeds, passwords, keys."""

import os
from contextlib import suppress
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Create a file, or replace it at once: a reader finds the old text or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_name(f"{file.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(text)
        written.flush()
        os.fsync(written.fileno())
    new.replace(file)


def write_if_changed(file: Path, text: str) -> None:
    """The same, where the text differs: a full disk takes no other file."""
    if not file.exists() or file.read_text() != text:
        write_private(file, text)
