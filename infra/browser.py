"""A browser for tests of the console: python -m infra.browser prints its path, installing one if needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable")
INSTALL_SECONDS = 600


def find_browser() -> Path | None:
    """A browser on the PATH, else the one that Playwright has installed before."""
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    return _playwrights_own()


def install_browser() -> Path | None:
    """Debian's package when root on Debian, else Playwright's own; none where neither works."""
    if _may_use_apt() and _worked("apt-get", "update", "-qq"):
        _worked("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
    if find_browser() is None:
        _worked(sys.executable, "-m", "playwright", "install", "chromium")
    return find_browser()


def _playwrights_own() -> Path | None:
    # In a process of its own: Playwright's driver must not live inside the test run.
    ask = (
        "from playwright.sync_api import sync_playwright as p\n"
        "with p() as driver: print(driver.chromium.executable_path)"
    )
    try:
        answer = subprocess.run(
            [sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    path = Path(answer.stdout.strip())
    return path if path.is_file() else None


def _may_use_apt() -> bool:
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def _worked(*command: str) -> bool:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, env=quiet, stdout=sys.stderr, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def main() -> int:
    """0 also where there is none, except under CI: the browser tests are then skipped with the reason."""
    if browser := find_browser() or install_browser():
        print(f"browser: {browser}")
        return 0
    print("browser: none found and none could be installed", file=sys.stderr)
    return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
