"""What a version of a workflow is made of: its files, packed so that the same files have one name."""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from services.orchestrator.workflows.diagnosis import Problem
from services.orchestrator.workflows.reading import UnreadableError

MAX_BYTES = 8_000_000
"""Of a folder's manifests and Python files together: each version that a chat began with is kept."""


class ForeignParcelError(Exception):
    """Bytes that are not the parcel whose name they bear."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Files of a workflow's folder, by their paths below it.

    The folder's name belongs to them: a workflow may be called by it, and its tools import by it.
    """

    folder: str = ""
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def size(self) -> int:
        return sum(len(data) for data in self.files.values())

    @property
    def digest(self) -> str:
        return sha256(self.packed()).hexdigest()

    def packed(self) -> bytes:
        """The same bytes for the same files, however they were found."""
        held = {path: b64encode(data).decode() for path, data in self.files.items()}
        whole = {"files": held, "folder": self.folder}
        return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()

    def lay_out(self, place: Path) -> Path:
        """Write the folder below a place; the folder."""
        folder = place / self.folder
        for path, data in self.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return folder


def unpacked(data: bytes, digest: str) -> Parcel:
    """The parcel of that digest. Raises ForeignParcelError."""
    if sha256(data).hexdigest() != digest:
        raise ForeignParcelError(f"{digest}: {len(data)} bytes of another digest")
    try:
        whole = json.loads(data)
        files = {path: b64decode(held) for path, held in whole["files"].items()}
        folder = str(whole["folder"])
    except (ValueError, LookupError, TypeError, AttributeError) as broken:
        raise ForeignParcelError(f"{digest}: {broken}") from broken
    for path in (folder, *files):
        if not _stays_below(path):
            raise ForeignParcelError(f"{digest}: {path} leaves its folder")
    return Parcel(folder, files)


def _stays_below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts


def code_of(folder: Path) -> Parcel:
    """Every Python file that a folder's tools may import. Raises UnreadableError."""
    files: dict[str, bytes] = {}
    room = MAX_BYTES
    for file in _python_files(folder):
        path = file.relative_to(folder).as_posix()
        try:
            if (room := room - file.stat().st_size) < 0:
                raise UnreadableError(too_large(folder))
            files[path] = file.read_bytes()
        except OSError as broken:
            told = broken.strerror or type(broken).__name__
            raise UnreadableError(Problem(path, "", told)) from broken
    return Parcel(folder.name, files)


def too_large(folder: Path) -> Problem:
    return Problem(folder.name, "", f"its manifests and Python files exceed {MAX_BYTES} bytes")


def _python_files(folder: Path) -> Iterator[Path]:
    """In order; no link leads out of the folder, or round in it."""
    home = folder.resolve()
    for place, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if name != "__pycache__" and name[0] != ".")
        for name in sorted(names):
            file = Path(place, name)
            if file.suffix == ".py" and _is_own(file, home):
                yield file


def _is_own(file: Path, home: Path) -> bool:
    try:
        return not file.is_symlink() or (file.is_file() and file.resolve().is_relative_to(home))
    except (OSError, RuntimeError):  # a circle of links
        return False
