"""Prometheus for the tests: python -m infra.prometheus prints its folder, unpacking Debian's package if needed.

The package is unpacked and not installed: installed, it would start a server.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.stack import ROOT

PACKAGE = "prometheus"
FOLDER = ROOT / ".cache" / "prometheus"
INSTALL_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Prometheus:
    """The programs of one installation."""

    server: Path
    promtool: Path


def find_prometheus() -> Prometheus | None:
    """Those on the PATH, else those that were unpacked before."""
    server, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if server and promtool:
        return Prometheus(Path(server), Path(promtool))
    unpacked = Prometheus(FOLDER / "usr/bin/prometheus", FOLDER / "usr/bin/promtool")
    return unpacked if unpacked.promtool.is_file() and unpacked.server.is_file() else None


def unpack_prometheus() -> Prometheus | None:
    """None where there is no apt-get, or where it cannot download."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return None
    downloads = FOLDER.with_name("prometheus-download")
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    downloads.chmod(0o777)  # apt-get downloads as a user of its own where it is run by root
    try:
        if not _downloaded(downloads):
            return None
        # Unpacked aside and moved, so that an interrupted one does not count.
        for package in downloads.glob("*.deb"):
            if not _succeeds("dpkg", "--extract", str(package), str(downloads / "files")):
                return None
        shutil.rmtree(FOLDER, ignore_errors=True)
        (downloads / "files").rename(FOLDER)
    finally:
        shutil.rmtree(downloads, ignore_errors=True)
    return find_prometheus()


def _downloaded(folder: Path) -> bool:
    """The lists of packages are read again only where the download fails: they may be old, or missing."""
    download = ("apt-get", "--quiet", "download", PACKAGE)
    if _succeeds(*download, folder=folder):
        return True
    is_root = os.geteuid() == 0
    return is_root and _succeeds("apt-get", "update", "-qq") and _succeeds(*download, folder=folder)


def _succeeds(*command: str, folder: Path | None = None) -> bool:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=quiet, stdout=sys.stderr, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def main() -> int:
    """0 also where there is none, except under CI: its tests are then skipped with the reason."""
    if found := find_prometheus() or unpack_prometheus():
        print(f"prometheus: {found.server.parent}")
        return 0
    print("prometheus: none found, and apt-get could not download it", file=sys.stderr)
    return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
