"""Real servers for the tests that need them; one of each kind per worker."""

import gc
import os
import shutil
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TypeVar

import certifi
import httpx
import hypothesis
import pytest

from infra import ports
from infra.browser import find_browser
from infra.nats_cluster import NatsCluster
from infra.prometheus import Prometheus, find_prometheus
from infra.servers import MissingServerError, MongoServer, NatsServer
from tests.distribution import ByGroupOrFile, slowest_first
from tests.patience import PATIENCE_SECONDS
from tests.thorough import tries

hypothesis.settings.register_profile(  # machines are shared
    "unhurried",
    deadline=None,
    max_examples=tries(25, 200),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unhurried")

ROOM_IN_MEMORY = 2 * 1024**3
"""Bytes: MongoDB takes 300 MB before the first write."""
S = TypeVar("S", NatsServer, NatsCluster, MongoServer)


def missing(what: str) -> NoReturn:
    """Skip loudly; under CI a missing server is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI=true allows no skipping")
    pytest.skip(what)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", metavar="SEED", help="run files, and the tests of each, shuffled")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle where that is asked for; with several workers begin with what takes longest."""
    if seed := config.getoption("shuffle"):
        drawn = {item: Random(f"{seed} {item.nodeid}").random() for item in items}
        items.sort(key=lambda item: (Random(f"{seed} {item.path}").random(), drawn[item]))
    elif hasattr(config, "workerinput"):
        items[:] = slowest_first(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: the garbage collector does not look through it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape halves of surrogate pairs: a worker cannot send what a test logged with one, and ends."""
    report = yield
    report.sections = [(name, _escaped(text)) for name, text in report.sections]
    if report.longrepr is not None and not _is_unicode(str(report.longrepr)):
        report.longrepr = _escaped(str(report.longrepr))
    return report


def _escaped(text: str) -> str:
    return text if _is_unicode(text) else text.encode("utf-8", "backslashreplace").decode()


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded; much faster than to encode it with a handler of errors."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def pytest_configure(config: pytest.Config) -> None:
    """Each worker takes its free ports from a range of its own: none takes one that another was given."""
    if not hasattr(config, "workerinput"):
        return
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    size = (ports._HIGHEST - ports._LOWEST) // workers
    ports._LOWEST += number * size
    ports._HIGHEST = ports._LOWEST + size


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: twice as many as processors, for tests wait half of their time."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroupOrFile | None:
    return ByGroupOrFile(config, log) if config.getoption("dist") == "loadscope" else None


@pytest.fixture(scope="session", autouse=True)
def no_connection_left_open() -> Iterator[None]:
    """A test fails that leaves a connection open when its event loop is closed.

    The garbage collector would report it during some later test.
    """
    close = BaseSelectorEventLoop.close

    def checked(loop: Any) -> None:
        left = [] if loop.is_closed() else [t for t in loop._transports.values() if t._sock]
        close(loop)
        assert not left, f"left open: {left}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseSelectorEventLoop, "close", checked)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test asks a server beyond this machine, and each httpx client reads every authority.

    Reading them all takes longer than most requests.
    """
    end = "-----END CERTIFICATE-----\n"
    first = Path(certifi.where()).read_text(encoding="utf-8").partition(end)
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    file.write_text(first[0] + first[1], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_requests() -> Iterator[None]:
    """httpx waits five seconds where nothing else is said: a busy machine takes longer."""
    with pytest.MonkeyPatch.context() as patch:
        for step in ("connect", "read", "write", "pool"):
            patch.setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, step, PATIENCE_SECONDS)
        yield


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
    with _folder_in_memory() as folder:
        yield from _started(MongoServer, folder or tmp_path_factory.mktemp("mongo"))


@contextmanager
def _folder_in_memory() -> Iterator[Path | None]:
    """Where MongoDB need not wait for a disk at each write; none where there is not room enough."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM_IN_MEMORY:
        yield None
        return
    for left in memory.glob("mozaiks-test-*-*"):  # by a run that was killed
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f"mozaiks-test-{os.getpid()}-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def browser_path() -> Path:
    """A browser of this machine, for Playwright's `executable_path`."""
    found = find_browser()
    if found is None:
        missing("no browser: python -m infra.browser says why")
    return found


@pytest.fixture(scope="session")
def prometheus() -> Prometheus:
    """The programs of Prometheus on this machine."""
    found = find_prometheus()
    if found is None:
        missing("no prometheus: python -m infra.prometheus says why")
    return found
