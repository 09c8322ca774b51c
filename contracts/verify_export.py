"""Verify an export of chats: `python verify_export.py EXPORT`, a .tar file or the folder of its content.

Needs Python's standard library and nothing else. It proves that every file is as the manifest says, that
each chat's events form an unbroken chain of digests from the first one on, and that every large value
and attached file that an event names is there, byte for byte. That the export as a whole is the one that
was made shows the digest of a chat's last event, where it is known from elsewhere.
"""

import base64
import hashlib
import json
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MANIFEST = "manifest.jsonl"
FORMAT = "mozaiks-export-1"
BLOCK = 1024 * 1024
FORKED = "chat.forked"
"""The first event of a fork: it goes on from an event of another chat of the export."""
ERASED = "chat.erased"
"""The event of a chat whose earlier events are erased: the only one, whatever its `seq`."""


class ExportFiles:
    """The files of an export by their path."""

    def __init__(self, paths: dict[str, Any], archive: tarfile.TarFile | None) -> None:
        self._paths = paths
        self._archive = archive

    @property
    def names(self) -> set[str]:
        return set(self._paths)

    def open(self, name: str) -> IO[bytes]:
        """Raises KeyError for a path that is not there."""
        place = self._paths[name]
        if self._archive is None:
            return Path(place).open("rb")
        found = self._archive.extractfile(place)
        if found is None:
            raise KeyError(name)
        return found


@contextmanager
def opened(path: Path) -> Iterator[ExportFiles]:
    """The export at a path. Raises OSError, tarfile.TarError."""
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        yield ExportFiles({file.relative_to(path).as_posix(): file for file in files}, None)
        return
    with tarfile.open(path, "r:") as archive:
        yield ExportFiles({one.name: one for one in archive.getmembers() if one.isfile()}, archive)


def digest(line: bytes) -> str:
    """The digest by which the next event names this one: SHA-256 in base64url, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(line).digest()).decode().rstrip("=")


def manifest(files: ExportFiles) -> Iterator[dict[str, Any]]:
    """The lines of the manifest: a header, then files and chats, then the end."""
    with files.open(MANIFEST) as lines:
        for line in lines:
            yield json.loads(line)


def problems_of(path: Path) -> Iterator[str]:
    """What is wrong with an export, a sentence each; none where it is whole and unchanged."""
    with opened(path) as files:
        if MANIFEST not in files.names:
            yield f"{MANIFEST}: is missing"
            return
        try:
            yield from _problems(files)
        except (ValueError, KeyError, TypeError, AttributeError) as broken:
            yield f"{MANIFEST}: cannot be read: {broken!r}"


def chats_of(path: Path) -> list[dict[str, Any]]:
    """The chats of a whole export: app_id, chat_id, folder, last_seq and last_digest of each."""
    with opened(path) as files:
        return [line for line in manifest(files) if "folder" in line]


def _problems(files: ExportFiles) -> Iterator[str]:
    listed, ended = {MANIFEST, "verify.py"}, False
    folders: dict[str, str] = {}
    for number, line in enumerate(manifest(files)):
        if number == 0 and line.get("format") != FORMAT:
            yield f"{MANIFEST}: format {line.get('format')!r}, this script reads {FORMAT!r}"
            return
        if "path" in line:
            listed.add(line["path"])
            yield from _file_problems(files, line)
        elif "chat_id" in line and "folder" in line:
            yield from _chat_problems(files, line, folders)
            folders[line["chat_id"]] = line["folder"]
        ended = line.get("end", False) is True
    if not ended:
        yield f"{MANIFEST}: its end is missing: the export was cut off"
    for name in sorted(files.names - listed):
        yield f"{name}: is not in the manifest"


def _file_problems(files: ExportFiles, line: dict[str, Any]) -> Iterator[str]:
    name = line["path"]
    if name not in files.names:
        yield f"{name}: is missing"
        return
    if _digest_of(files, name) != (line["sha256"], line["size"]):
        yield f"{name}: has other bytes than the manifest says"


def _digest_of(files: ExportFiles, name: str) -> tuple[str, int]:
    """SHA-256 in hex, and the size in bytes."""
    sha, size = hashlib.sha256(), 0
    with files.open(name) as file:
        while block := file.read(BLOCK):
            sha.update(block)
            size += len(block)
    return sha.hexdigest(), size


def _chat_problems(
    files: ExportFiles, line: dict[str, Any], folders: dict[str, str]
) -> Iterator[str]:
    """`folders` are those of the chats that the manifest names before: origins come before forks."""
    folder = line["folder"]
    name = f"{folder}/events.jsonl"
    if name not in files.names:
        return  # reported as a file
    seq = 0
    head: str | None = ""
    with files.open(name) as events:
        for raw in events:
            data = raw.rstrip(b"\n")
            try:
                event = json.loads(data)
            except ValueError:
                yield f"{name}: the line after event {seq} is no JSON"
                return
            if (event["app_id"], event["chat_id"]) != (line["app_id"], line["chat_id"]):
                yield f"{name}: event {event['seq']} is of another chat"
                return
            if event["type"] == FORKED and seq == 0:
                seq = event["seq"] - 1
                origin = event["body"]["segments"][-1]["chat_id"]
                head = _digest_in_origin(files, folders, origin, seq)
                if head is None:
                    yield f"{name}: event {seq} of its origin {origin} is missing"
                    return
            erased = event["type"] == ERASED and event["seq"] > seq
            if not erased and event["seq"] != seq + 1:
                yield f"{name}: event {seq + 1} is missing"
                return
            if not erased and (event.get("previous") or "") != head:
                yield f"{name}: event {event['seq']} does not name the digest of event {seq}"
                return
            seq, head = event["seq"], digest(data)
            yield from _reference_problems(files, folder, event)
    if (seq, head) != (line["last_seq"], line["last_digest"]):
        yield f"{name}: ends with event {seq}, the manifest names event {line['last_seq']}"


def _digest_in_origin(
    files: ExportFiles, folders: dict[str, str], origin: str, seq: int
) -> str | None:
    """The digest of an event of another chat of the export; None where it is not there."""
    name = f"{folders.get(origin)}/events.jsonl"
    if name not in files.names:
        return None
    with files.open(name) as events:
        for raw in events:
            if json.loads(raw)["seq"] == seq:
                return digest(raw.rstrip(b"\n"))
    return None


def _reference_problems(files: ExportFiles, folder: str, event: dict[str, Any]) -> Iterator[str]:
    for value in references(event):
        if f"{folder}/values/{value}" not in files.names:
            yield f"{folder}: event {event['seq']} names the value {value}, which is missing"
    if event["type"] == "chat.attachment_uploaded":
        body = event["body"]
        name = f"{folder}/files/{body['attachment_id']}"
        if name not in files.names:
            yield f"{folder}: event {event['seq']} names a file that is missing"
            return
        if _digest_of(files, name)[0] != body["digest"]:
            yield f"{name}: has other bytes than event {event['seq']} says"


def references(event: dict[str, Any]) -> list[str]:
    """The digests of the large values that an event names."""
    found = [one["digest"] for one in event.get("values") or ()]
    if event["type"] == "turn.tool_returned":
        parts = event["body"].get("parts") or ()
        found += [part["whole"]["digest"] for part in parts if part.get("whole")]
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python verify_export.py EXPORT", file=sys.stderr)
        return 2
    path, chats = Path(arguments[0]), list[dict[str, Any]]()
    try:
        problems = list(problems_of(path))
        if not problems:
            chats = chats_of(path)
    except (OSError, tarfile.TarError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    if problems:
        return 1
    for chat in chats:
        print(f"{chat['app_id']}/{chat['chat_id']}  {chat['last_seq']}  {chat['last_digest']}")
    print(f"whole and unchanged: {len(chats)} chats")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
