"""The files of one version of a workflow, packed so that equal files have equal digests."""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from services.orchestrator.workflows.manifest.diagnostics import Problem
from services.orchestrator.workflows.manifest.reader import UnreadableError

MAX_BYTES = 8_000_000
"""Limit for a folder's manifests and Python files together: every version that a chat uses is stored."""


TESTS = "tests"
"""The folder of a workflow's own tests, which are no part of a version."""


class InvalidBundleError(Exception):
    """Bytes that are not the file bundle with the expected digest."""


@dataclass(frozen=True, slots=True)
class FileBundle:
    """Files of a workflow's folder, by their relative paths.

    The folder's name is part of the bundle: it may be the workflow's name, and tools import by it.
    """

    folder: str = ""
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def size(self) -> int:
        return sum(len(data) for data in self.files.values())

    @property
    def digest(self) -> str:
        return sha256(self.pack()).hexdigest()

    def pack(self) -> bytes:
        """The bundle as bytes: equal bytes for equal files, in whatever order they were read."""
        encoded = {path: b64encode(data).decode() for path, data in self.files.items()}
        document = {"files": encoded, "folder": self.folder}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    def write_to(self, parent: Path) -> Path:
        """Write the folder and its files below `parent`; returns the folder."""
        folder = parent / self.folder
        for path, data in self.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return folder


def unpack(data: bytes, digest: str) -> FileBundle:
    """The bundle with that digest. Raises InvalidBundleError."""
    if sha256(data).hexdigest() != digest:
        raise InvalidBundleError(f"{digest}: {len(data)} bytes of another digest")
    try:
        document = json.loads(data)
        files = {path: b64decode(encoded) for path, encoded in document["files"].items()}
        folder = str(document["folder"])
    except (ValueError, LookupError, TypeError, AttributeError) as broken:
        raise InvalidBundleError(f"{digest}: {broken}") from broken
    for path in (folder, *files):
        if not _is_below(path):
            raise InvalidBundleError(f"{digest}: {path} is outside its folder")
    return FileBundle(folder, files)


def _is_below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts


def read_python_files(folder: Path) -> FileBundle:
    """All Python files of a folder that its tools may import. Raises UnreadableError."""
    files: dict[str, bytes] = {}
    bytes_left = MAX_BYTES
    for file in _python_files(folder):
        path = file.relative_to(folder).as_posix()
        try:
            if (bytes_left := bytes_left - file.stat().st_size) < 0:
                raise UnreadableError(too_large(folder))
            files[path] = file.read_bytes()
        except OSError as broken:
            message = broken.strerror or type(broken).__name__
            raise UnreadableError(Problem(path, "", message)) from broken
    return FileBundle(folder.name, files)


def with_shared(bundle: FileBundle, shared: FileBundle) -> FileBundle:
    """The bundle with the files of the shared folder, as if it were in the workflow's folder."""
    files = {f"{shared.folder}/{path}": data for path, data in shared.files.items()}
    return FileBundle(bundle.folder, {**bundle.files, **files})


def too_large(folder: Path) -> Problem:
    """The problem that a folder exceeds MAX_BYTES."""
    return Problem(folder.name, "", f"its manifests and Python files exceed {MAX_BYTES} bytes")


def _python_files(folder: Path) -> Iterator[Path]:
    """In order; links to files outside the folder and links to folders are not followed."""
    home = folder.resolve()
    for directory, subdirectories, names in os.walk(folder):
        left_out = {"__pycache__", TESTS} if Path(directory) == folder else {"__pycache__"}
        subdirectories[:] = sorted(
            name for name in subdirectories if name not in left_out and name[0] != "."
        )
        for name in sorted(names):
            file = Path(directory, name)
            if file.suffix == ".py" and _is_inside(file, home):
                yield file


def _is_inside(file: Path, home: Path) -> bool:
    try:
        return file.is_file() and (not file.is_symlink() or file.resolve().is_relative_to(home))
    except (OSError, RuntimeError):  # a cycle of links
        return False
