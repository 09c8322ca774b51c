"""The programs that build and run images; as root on Debian they are installed where they are missing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

INSTALL_SECONDS = 600
PACKAGES: Mapping[str, str] = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "bwrap": "bubblewrap",
    "git": "git",
}
"""Each program, and Debian's package of it."""


class UnavailableError(Exception):
    """This machine cannot build or run images; the message says why, and what to do."""


def require(*programs: str) -> None:
    """Install what is missing. Raises UnavailableError naming the packages of Debian."""
    missing = _missing(programs)
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        print(f"installing {' '.join(missing)} ...", file=sys.stderr, flush=True)
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *missing)
    if missing := _missing(programs):
        raise UnavailableError(
            f"{' and '.join(missing)} must be installed; on Debian 12, as root: "
            f"apt-get install {' '.join(missing)}"
        )


def _missing(programs: Sequence[str]) -> list[str]:
    return [PACKAGES[program] for program in programs if shutil.which(program) is None]


def _apt_get(*words: str) -> None:
    """Prints why it failed, and nothing else."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            ("apt-get", "--quiet=2", *words),
            env=quiet,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        why = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    if why:
        print(f"apt-get {words[0]}: {why}", file=sys.stderr)
