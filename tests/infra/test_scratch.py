"""A module gets empty servers of its own, whatever the environment names."""

import os
from pathlib import Path

import pytest

from infra import scratch

pytestmark = [pytest.mark.broker, pytest.mark.mongo]

PROGRAM = """
import os, sys, socket
from pathlib import Path
from urllib.parse import urlsplit

for name in ("NATS_URL", "MONGODB_URI"):
    address = urlsplit(os.environ[name])
    socket.create_connection((address.hostname, address.port)).close()
Path(sys.argv[1]).write_text(os.environ["NATS_URL"] + str("NATS_USER" in os.environ))
sys.exit(7)
"""


def test_a_module_runs_with_servers_of_its_own_and_gives_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "program_of_the_test.py").write_text(PROGRAM)
    others = {"NATS_URL": "nats://nowhere:1", "NATS_USER": "ana", "PYTHONPATH": str(tmp_path)}
    told = tmp_path / "told"
    code = scratch.run("program_of_the_test", [str(told)], {**os.environ, **others})
    assert code == 7
    assert told.read_text().startswith("nats://127.0.0.1:")
    assert told.read_text().endswith("False")
