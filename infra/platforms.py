"""Print for which platforms every package is a wheel: python -m infra.platforms

A platform that "resolves" can install the requirement file without a compiler; nothing is run there.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from infra.plan import SERVICES
from infra.stack import ROOT
from infra.wheels import install_command

PLATFORMS: Mapping[str, str] = {
    "Linux x86-64": "x86_64-manylinux_2_36",
    "Linux ARM": "aarch64-manylinux_2_36",
    "macOS Apple silicon": "aarch64-apple-darwin",
    "macOS Intel": "x86_64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
"""Each platform, and uv's name of it."""
VERSIONS = ("3.11", "3.12", "3.13")
REQUIREMENTS = (*SERVICES, "dev")
"""Files of requirements/: one for each service, and `dev` for everything that `make` installs."""
SECONDS = 300


def missing_wheel(error: str) -> str:
    """The package that uv's message is about; its first line where it is about none."""
    found = re.search(r"Because ([^ ]+) has no .*?wheels", error, re.DOTALL)
    return f"no wheel of {found[1]}" if found else (error.strip().splitlines() or ["failed"])[0]


def rows(found: Mapping[tuple[str, str], Mapping[str, str]]) -> list[str]:
    """Lines of a table: a platform, a requirement file, and for which versions of Python it resolves.

    `found` has what is missing for each version of Python; empty text: nothing.
    """
    lines = []
    for (platform, requirements), by_version in found.items():
        resolves = [version for version, trouble in by_version.items() if not trouble]
        troubles = sorted({trouble for trouble in by_version.values() if trouble})
        told = "; ".join([*([f"Python {', '.join(resolves)}"] if resolves else []), *troubles])
        lines.append(f"{platform:20} {requirements:13} {told}")
    return lines


def trouble(platform: str, version: str, requirements: str) -> str:
    """Why a requirement file cannot be installed there; empty where it can."""
    with tempfile.TemporaryDirectory() as target:
        command = install_command(
            f"requirements/{requirements}.txt",
            python=sys.executable,
            version=version,
            platform=PLATFORMS[platform],
            target=target,
            options=["--dry-run"],
        )
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    return missing_wheel(done.stderr) if done.returncode else ""


def main(arguments: Sequence[str]) -> int:
    """`arguments` are parts of the names of platforms; none: all."""
    for platform in PLATFORMS:
        if arguments and not any(part in platform for part in arguments):
            continue
        for requirements in REQUIREMENTS:
            by_version = {version: trouble(platform, version, requirements) for version in VERSIONS}
            print(*rows({(platform, requirements): by_version}), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
