"""The npm packages that tests need: python -m infra.npm installs what a package.json names, once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.stack import ROOT

CLIENT = ROOT / "tests" / "transport" / "agui_client" / "package.json"
HOME = ROOT / ".cache" / "agui"
INSTALL_SECONDS = 300


def find_client() -> Path | None:
    """The folder whose `node_modules` has exactly what the package.json names now."""
    installed = HOME / "installed.json"
    if shutil.which("node") is None or not installed.is_file():
        return None
    return HOME if installed.read_bytes() == CLIENT.read_bytes() else None


def install_client() -> Path | None:
    """None where there is no npm, or where it cannot install."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    HOME.mkdir(parents=True, exist_ok=True)
    shutil.copy(CLIENT, HOME / "package.json")
    quiet = ("--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
    if not _worked(npm, "install", *quiet, "--prefix", str(HOME)):
        return None
    shutil.copy(CLIENT, HOME / "installed.json")  # last: what is half installed is not there
    return find_client()


def _worked(*command: str) -> bool:
    try:
        done = subprocess.run(command, stdout=sys.stderr, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def main() -> int:
    """0 even where it cannot be, except under CI: the test of the client then skips and says why."""
    if client := find_client() or install_client():
        print(f"npm packages: {client}")
        return 0
    print("npm packages: node or npm is missing, or npm could not install them", file=sys.stderr)
    return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
