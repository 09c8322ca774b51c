"""`python -m infra` as a person meets it, with services that do nothing but get ready."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.plan import SERVICES
from infra.ports import free_port, is_free
from infra.servers import MongoServer, NatsServer

SERVICE = """
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["{port}"])), Page).serve_forever()
"""


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A folder with the real infra/ and services that only answer /ready."""
    shutil.copytree(Path(__file__).parents[2] / "infra", tmp_path / "infra")
    for name in SERVICES:
        package = tmp_path / "services" / name
        package.mkdir(parents=True)
        (package / "__main__.py").write_text(SERVICE.format(port=f"{name.upper()}_PORT"))
    chassis = tmp_path / "services" / "chassis"
    chassis.mkdir()
    (chassis / "streams.py").write_text("")
    (tmp_path / "services" / "persistence" / "mongodb_users.py").write_text("")
    built = tmp_path / "services" / "transport" / "console" / "dist" / "built.txt"
    built.parent.mkdir(parents=True)
    built.write_text(hashlib.sha256().hexdigest())  # of no sources
    return tmp_path


@contextmanager
def run(product: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    # The services of the folder, not those that PYTHONPATH may name.
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        [sys.executable, "-m", "infra"],
        cwd=product,
        env={**ours, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if word in line:
            return seen
    pytest.fail(f"it ended without saying {word!r}: {seen}")


def ports() -> dict[str, str]:
    names = [f"{name.upper()}_PORT" for name in SERVICES]
    return {name: str(free_port()) for name in (*names, "NATS_PORT")}


@pytest.mark.broker
@pytest.mark.mongo
def test_ctrl_c_stops_everything_and_the_next_run_starts_on_the_same_data(
    nats: NatsServer, mongo: MongoServer, product: Path
) -> None:
    assert nats.port != mongo.port  # both can run here
    environ = ports()
    for _ in range(2):
        with run(product, **environ) as process:
            told = read_until(process, "Ctrl-C")
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=40)
        assert f"http://127.0.0.1:{environ['TRANSPORT_PORT']}/" in told
        assert "demo model" in told or "OPENAI_API_KEY" in os.environ
        assert "everything is kept in .data" in rest
        assert process.returncode == 0
        assert all(is_free(int(port)) for port in environ.values())
        data = product / ".data"
        files = [file for file in data.rglob("*") if not file.is_symlink() and file.exists()]
        assert any(file.suffix == ".log" for file in files)
        for file in (data, *files):  # what users wrote, and logs of it
            assert file.stat().st_mode & 0o077 == 0, file


def test_a_second_run_is_refused_and_the_first_goes_on(product: Path) -> None:
    elsewhere = {"NATS_URL": "nats://elsewhere", "MONGODB_URI": "mongodb://elsewhere"}
    with run(product, **ports(), **elsewhere) as first:
        read_until(first, "Ctrl-C")
        with run(product, **ports(), **elsewhere) as second:
            told, _ = second.communicate(timeout=40)
        assert second.returncode == 1
        assert f"make run: the data folder .data is in use by another run (pid {first.pid})" in told
        assert first.poll() is None


def test_a_wrong_port_is_refused_by_its_variable(product: Path) -> None:
    with run(product, NATS_PORT="many") as process:
        told, _ = process.communicate(timeout=40)
    assert (process.returncode, told.strip()) == (
        1,
        "make run: NATS_PORT must be a port from 1 to 65535, not 'many'",
    )
