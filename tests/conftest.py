"""Real servers for the tests that need them; one of each kind per worker."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import hypothesis
import pytest

from infra.browser import find_browser
from infra.nats_cluster import NatsCluster
from infra.servers import MissingServerError, MongoServer, NatsServer

hypothesis.settings.register_profile("unhurried", deadline=None)  # machines are shared
hypothesis.settings.load_profile("unhurried")

S = TypeVar("S", NatsServer, NatsCluster, MongoServer)


def missing(what: str) -> NoReturn:
    """Skip loudly; under CI a missing server is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI=true allows no skipping")
    pytest.skip(what)


def _started(build: Callable[[Path], S], folder: Path) -> Iterator[S]:
    """One server for as long as a fixture lives; where its program is missing, as `missing` says."""
    try:
        server = build(folder)
    except MissingServerError as trouble:
        missing(str(trouble))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    yield from _started(NatsServer, tmp_path_factory.mktemp("nats"))


@pytest.fixture(scope="session")
def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """Three nodes; a test that stops, kills or pauses one leaves all three running and ready."""
    yield from _started(NatsCluster, tmp_path_factory.mktemp("nats_cluster"))


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    yield from _started(MongoServer, tmp_path_factory.mktemp("mongo"))


@pytest.fixture(scope="session")
def browser_path() -> Path:
    """A browser of this machine, for Playwright's `executable_path`."""
    found = find_browser()
    if found is None:
        missing("no browser: python -m infra.browser says why")
    return found
