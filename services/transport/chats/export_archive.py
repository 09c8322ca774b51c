"""A .tar file that is written while it is sent: files one after the other, and a manifest at its end.

A file is collected on disk first, because its size and digest come before its bytes and in the manifest:
memory does not grow with an export.
"""

import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, Any

from contracts.verify_export import FORMAT, MANIFEST

IN_MEMORY_BYTES = 256 * 1024
"""Of one file; a larger one goes to disk while it is collected."""
BLOCK = 256 * 1024


class ExportFile:
    """A file of the export while its bytes are collected."""

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self.path = path
        self.size = 0
        self._file = file
        self._sha = sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha.update(data)
        self.size += len(data)

    def write_json(self, value: Any) -> None:
        """One line of JSON."""
        self.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    @property
    def digest(self) -> str:
        return self._sha.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            yield block


class ExportArchive:
    """The bytes of the .tar file, file by file. To be used as a context manager."""

    def __init__(self, exported_at: str, scope: Mapping[str, str | None]) -> None:
        self._manifest = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  closed on exit
        self._time = 0
        self._lines = ExportFile(MANIFEST, self._manifest)
        self._lines.write_json({"format": FORMAT, "exported_at": exported_at, **scope})

    def __enter__(self) -> "ExportArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._manifest.close()

    @contextmanager
    def file(self, path: str) -> Iterator[ExportFile]:
        """A file whose bytes are collected within the block, and sent by `sent`."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as spooled:
            yield ExportFile(path, spooled)

    def note(self, **line: Any) -> None:
        """A line of the manifest that is no file."""
        self._lines.write_json(line)

    def sent(self, file: ExportFile, *, listed: bool = True) -> Iterator[bytes]:
        """The bytes of a file in the archive; it is in the manifest then, too."""
        if listed:
            self.note(path=file.path, sha256=file.digest, size=file.size)
        yield from _entry(file)

    def end(self) -> Iterator[bytes]:
        """The manifest, and the end of the archive."""
        self.note(end=True)
        yield from _entry(self._lines)
        yield bytes(2 * tarfile.BLOCKSIZE)


def _entry(file: ExportFile) -> Iterator[bytes]:
    header = tarfile.TarInfo(file.path)
    header.size, header.mode = file.size, 0o644
    yield header.tobuf(tarfile.PAX_FORMAT)
    yield from file.blocks()
    if rest := file.size % tarfile.BLOCKSIZE:
        yield bytes(tarfile.BLOCKSIZE - rest)
