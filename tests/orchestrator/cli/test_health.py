"""`mozaiks health`: what it says about services that are ready, are not, or do not answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from typer.testing import CliRunner, Result

from services.orchestrator.cli.__main__ import app
from services.orchestrator.cli.health_command import Readiness, exit_code

READY = b'{"ready": true, "waiting_for": {}}'
WAITING = b'{"ready": false, "waiting_for": {"nats": "not connected"}}'
NOWHERE = "http://127.0.0.1:1"


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The address of a service whose /ready answers this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/ready" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def health(*words: str, transport: str, others: str) -> Result:
    names = ("metrics", "orchestrator", "persistence")
    places = [word for name in names for word in (f"--{name}", others)]
    return CliRunner().invoke(app, ["health", "--transport", transport, *places, *words])


def test_ready_services_are_success() -> None:
    with answering(200, READY) as address:
        found = health(transport=f"{address}/", others=address)
    assert found.exit_code == 0, found.output
    assert found.stdout.count(" ready ") == 4


def test_a_service_that_waits_says_for_what() -> None:
    with answering(200, READY) as ready, answering(503, WAITING) as waiting:
        found = health("--json", transport=waiting, others=ready)
    assert found.exit_code == 1
    first, *others = json.loads(found.stdout)
    assert (first["service"], first["is_ready"]) == ("transport", False)
    assert first["waiting_for"] == {"nats": "not connected"}
    assert [one["is_ready"] for one in others] == [True] * 3


def test_what_does_not_answer_as_a_service_is_unavailable() -> None:
    with answering(200, b"<html>") as page:
        found = health(transport=page, others=NOWHERE)
    assert found.exit_code == 3
    assert found.stdout.count("no answer") == 4
    assert "it is not that of a service" in found.stdout


def test_no_answer_weighs_more_than_not_ready() -> None:
    away, waiting = Readiness("a", NOWHERE, None), Readiness("b", NOWHERE, is_ready=False)
    assert exit_code([waiting, away]) == 3
    assert exit_code([waiting]) == 1
