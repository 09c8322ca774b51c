"""Run a module with a nats-server and a mongod of its own: python -m infra.scratch MODULE ARGUMENTS

Both are empty, in a temporary folder (TMPDIR), and end with the module. It gets NATS_URL and MONGODB_URI.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.child_process import StartError
from infra.servers import MissingServerError, MongoServer, NatsServer


def run(module: str, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit code of the module. Raises StartError, MissingServerError."""
    with TemporaryDirectory(prefix="mozaiks-scratch-", ignore_cleanup_errors=True) as folder:
        nats, mongo = NatsServer(Path(folder) / "nats"), MongoServer(Path(folder) / "mongodb")
        try:
            nats.start()
            mongo.start()
            servers = {"NATS_URL": nats.url, "MONGODB_URI": mongo.uri}
            command = [sys.executable, "-m", module, *arguments]
            return subprocess.run(command, env=_own(environ) | servers, check=False).returncode
        finally:
            mongo.kill()
            nats.kill()


def _own(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables without those by which other servers are reached."""
    foreign = ("NATS_", "MONGODB_", "STREAM_REPLICAS", "ENSURE_STREAMS")
    return {name: value for name, value in environ.items() if not name.startswith(foreign)}


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return run(arguments[0], arguments[1:], os.environ)
    except (StartError, MissingServerError) as error:
        print(error, file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
