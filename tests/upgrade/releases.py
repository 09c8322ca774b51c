"""Releases of this repository: which one comes before this, and its files in a folder of its own."""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PREVIOUS = Path(__file__).with_name("previous_release")
"""Names a commit or a tag: the release from which installations upgrade to this one."""
_VERSIONS = "import json; from contracts.events import EVENT_TYPES as types; print(json.dumps({name: one.version for name, one in types.items()}))"


class MissingReleaseError(Exception):
    """The earlier release is not in this clone; the message says what to do."""


def previous_release() -> str:
    """The commit or tag in PREVIOUS, whose other lines begin with #."""
    lines = PREVIOUS.read_text().splitlines()
    (commit,) = (line.strip() for line in lines if line.strip() and not line.startswith("#"))
    return commit


def check_out(commit: str, folder: Path, repository: Path = ROOT) -> str:
    """Write the files of a commit into a folder; returns its full id. Raises MissingReleaseError.

    The repository itself stays as it is: no work tree is added to it.
    """
    found = _git(repository, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if found.returncode:
        raise MissingReleaseError(_how_to_get(commit, repository))
    full = found.stdout.decode().strip()
    files = _git(repository, "archive", "--format=tar", full)
    if files.returncode:
        raise MissingReleaseError(files.stderr.decode(errors="replace").strip())
    with tarfile.open(fileobj=io.BytesIO(files.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return full


def event_versions(release: Path) -> dict[str, int]:
    """The types of events that a release writes and reads, each with its current version."""
    command = [sys.executable, "-c", _VERSIONS]
    found = subprocess.run(command, cwd=release, capture_output=True, check=True)
    return dict(json.loads(found.stdout))


def unknown_to(older: Mapping[str, int], newer: Mapping[str, int]) -> list[str]:
    """What the newer release may write and the older one leaves to it: such chats wait for it."""
    return [
        f"{name} version {version}"
        for name, version in sorted(newer.items())
        if version > older.get(name, 0)
    ]


def _how_to_get(commit: str, repository: Path) -> str:
    shallow = _git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    get = "git fetch --unshallow --tags" if shallow else "git fetch --all --tags"
    why = "this clone is shallow" if shallow else "this clone does not have it"
    return f"there is no commit or tag {commit}: {why}; run `{get}`, or name another one by --from"


def _git(repository: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(["git", *words], cwd=repository, capture_output=True, check=False)
    except FileNotFoundError:
        raise MissingReleaseError("git is not installed") from None
