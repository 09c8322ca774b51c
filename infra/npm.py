"""Install the npm packages that package.json files name: `python -m infra.npm [agui] [crds] [mermaid]`."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.stack import ROOT

INSTALL_SECONDS = 300


@dataclass(frozen=True, slots=True)
class NpmPackages:
    """What one package.json names, and the folder whose `node_modules` holds it."""

    manifest: Path
    folder: Path


AGUI = NpmPackages(
    ROOT / "tests" / "transport" / "agui_client" / "package.json", ROOT / ".cache" / "agui"
)
"""The AG-UI protocol's own client, which the tests run."""
CRDS = NpmPackages(
    ROOT / "tests" / "infra" / "kubernetes" / "crd_validator" / "package.json",
    ROOT / ".cache" / "crds",
)
"""Schemas of the custom resources that infra/kubernetes and the chart have."""
MERMAID = NpmPackages(ROOT / "docs" / "diagrams" / "package.json", ROOT / ".cache" / "mermaid")
"""What `make diagrams` renders the documentation's diagrams with."""


def find(packages: NpmPackages) -> Path | None:
    """The folder whose `node_modules` has exactly what the package.json names now, if any."""
    installed = packages.folder / "installed.json"
    if shutil.which("node") is None or not installed.is_file():
        return None
    current = installed.read_bytes() == packages.manifest.read_bytes()
    return packages.folder if current else None


def install(packages: NpmPackages) -> Path | None:
    """None where there is no npm, or where it cannot install."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    packages.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(packages.manifest, packages.folder / "package.json")
    quiet = ("--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
    if not _succeeds(npm, "install", *quiet, "--prefix", str(packages.folder)):
        return None
    # Last, so that an interrupted install does not count as installed.
    shutil.copy(packages.manifest, packages.folder / "installed.json")
    return find(packages)


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, stdout=sys.stderr, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def main(arguments: list[str]) -> int:
    """0 also where it cannot be installed, except under CI: tests are then skipped with the reason."""
    named = {"agui": AGUI, "crds": CRDS, "mermaid": MERMAID}
    if not arguments or not set(arguments) <= named.keys():
        print(__doc__, file=sys.stderr)
        return 2
    folders = [find(one) or install(one) for one in map(named.__getitem__, arguments)]
    print(*(f"npm packages: {folder}" for folder in folders if folder), sep="\n")
    if all(folders):
        return 0
    print("npm packages: node or npm is missing, or npm could not install them", file=sys.stderr)
    return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
