from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.servers import NatsServer


@pytest.fixture
def empty_nats(nats: NatsServer, tmp_path: Path) -> Iterator[NatsServer]:  # noqa: ARG001
    """A server of the test's own; `nats` decides what happens where there is none."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()
