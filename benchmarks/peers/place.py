"""What the peers need, in a place of its own: a Python environment and PostgreSQL from Debian's packages."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.stack import ROOT

PLACE = ROOT / ".cache" / "peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
INSTALL_SECONDS = 600.0

_ENVIRONMENT = PLACE / "venv"
_POSTGRES = PLACE / "postgres"
_LARGE_AND_UNUSED = ("libllvm", "perl", "libperl", "postgresql-client-common", "postgresql-common")
"""Packages that the server names and does not need: it compiles no queries, and no script starts it."""


class InstallError(Exception):
    """The peers could not be installed; the message says what to do."""


def python() -> Path:
    """The interpreter of the peers' environment, installed as `requirements.txt` pins it.

    Raises InstallError.
    """
    found = _ENVIRONMENT / "bin" / "python"
    if not _is_current(_ENVIRONMENT, REQUIREMENTS.read_text()):
        print(f"installing the peers into {_ENVIRONMENT}", file=sys.stderr)
        shutil.rmtree(_ENVIRONMENT, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(_ENVIRONMENT))
        pip = (str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(*pip, "--require-hashes", "--no-deps", "-r", str(REQUIREMENTS))
        _mark(_ENVIRONMENT, REQUIREMENTS.read_text())
    return found


def postgres() -> Path:
    """The folder in which PostgreSQL's packages are unpacked. Raises InstallError."""
    if not _is_current(_POSTGRES, "unpacked"):
        print(f"unpacking PostgreSQL into {_POSTGRES}", file=sys.stderr)
        shutil.rmtree(_POSTGRES, ignore_errors=True)
        _unpack(_packages())
        _mark(_POSTGRES, "unpacked")
    return _POSTGRES


def _packages() -> list[str]:
    """The server's package and those of its dependencies that this machine lacks."""
    depends = _run("apt-cache", "depends", "--important", "postgresql")
    server = next(
        (word for word in depends.split() if word.startswith("postgresql-") and word[-1].isdigit()),
        None,
    )
    if server is None:
        raise InstallError("no package postgresql: run `apt-get update`, on Debian or Ubuntu")
    planned = _run("apt-get", "install", "--simulate", "--no-install-recommends", server)
    missing = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    client = server.replace("postgresql-", "postgresql-client-")
    wanted = {server, client, "libpq5", *missing}
    return sorted(name for name in wanted if not name.startswith(_LARGE_AND_UNUSED))


def _unpack(packages: Sequence[str]) -> None:
    downloads = _POSTGRES / "downloads"
    downloads.mkdir(parents=True)
    downloads.chmod(0o777)  # apt-get downloads as a user of its own where it is run by root
    _run("apt-get", "--quiet", "download", *packages, folder=downloads)
    for package in sorted(downloads.glob("*.deb")):
        _run("dpkg", "--extract", str(package), str(_POSTGRES))
    shutil.rmtree(downloads)


def _is_current(folder: Path, content: str) -> bool:
    mark = folder / "installed"
    return mark.exists() and mark.read_text() == content


def _mark(folder: Path, content: str) -> None:
    """Last, so that an interrupted installation does not count."""
    (folder / "installed").write_text(content)


def _run(*command: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InstallError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise InstallError(f"`{' '.join(command)}` failed:\n{done.stdout[-2000:]}")
    return done.stdout
