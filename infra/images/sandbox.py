"""Run a service from the root file system of its image: python -m infra.images.sandbox SERVICE ROOT CONFIG [COMMAND ...]

CONFIG is the file with what `buildah inspect` prints. The environment goes to the service, and the files that its variables
`*_FILE` name. Prints when the service is ready, and how it ended. SIGTERM goes to the service, as a container runtime sends it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from infra.images.plan import SECRETS, USER, ImageConfig, sandbox_command
from infra.stack import waiting_for

WATCH_SECONDS = 0.02
_NOT_FOR_THE_IMAGE = ("LOGS_BASE_DIR", "PWD", "SHLVL", "_")
"""What belongs to this machine; what the image sets itself stays as it is."""


def environment_for(config: ImageConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the service, with files where they are mounted."""
    given = {
        name: value
        for name, value in environ.items()
        if name not in _NOT_FOR_THE_IMAGE and name not in config.environment
    }
    return given | {name: f"{SECRETS}/{name.lower()}" for name in files_of(given)}


def files_of(environ: Mapping[str, str]) -> dict[str, Path]:
    return {
        name: Path(value) for name, value in environ.items() if name.endswith("_FILE") and value
    }


def copies(files: Mapping[str, Path], folder: Path) -> list[tuple[str, str]]:
    """Mounts of copies that the image's user, and nobody else, can read."""
    folder.chmod(0o711)
    mounts = []
    for name, file in files.items():
        copy = folder / name.lower()
        shutil.copyfile(file, copy)
        os.chown(copy, USER, USER)
        copy.chmod(0o400)
        mounts.append((str(copy), f"{SECRETS}/{name.lower()}"))
    return mounts


class Sandbox:
    """bubblewrap with the service in it."""

    def __init__(self, command: Sequence[str]) -> None:
        reading, writing = os.pipe()
        self._started = time.monotonic()
        self._stopped: float | None = None
        self._process = subprocess.Popen(
            [command[0], "--info-fd", str(writing), *command[1:]], pass_fds=[writing]
        )
        os.close(writing)
        with os.fdopen(reading) as information:
            self.pid = int(json.loads(information.read())["child-pid"])

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopped = self._stopped or time.monotonic()
        with suppress(ProcessLookupError):  # it has ended, and bubblewrap not yet
            os.kill(self.pid, signal.SIGTERM)

    def watch(self, port: str | None) -> int:
        """Say when it is ready; returns the exit code of the service."""
        while self._process.poll() is None:
            if port and not waiting_for(int(port)):
                print(f"sandbox: ready after {time.monotonic() - self._started:.2f} s", flush=True)
                port = None
            time.sleep(WATCH_SECONDS)
        code = self._process.returncode
        after = (
            ""
            if self._stopped is None
            else f" {time.monotonic() - self._stopped:.2f} s after SIGTERM"
        )
        print(f"sandbox: ended with code {code}{after}", flush=True)
        return code


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    service, root, config_file, *command = arguments
    config = ImageConfig.of(Path(config_file).read_text())
    with tempfile.TemporaryDirectory(prefix="mozaiks-sandbox-") as folder:
        mounts = copies(files_of(environ), Path(folder))
        if workflows := environ.get("SANDBOX_WORKFLOWS"):
            mounts.append((workflows, "/workflows"))
        sandbox = Sandbox(
            sandbox_command(
                config, root, environment_for(config, environ), mounts, command or config.entrypoint
            )
        )
        signal.signal(signal.SIGTERM, sandbox.stop)
        print(f"sandbox: pid {sandbox.pid}", flush=True)
        return sandbox.watch(None if command else environ[f"{service.upper()}_PORT"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
