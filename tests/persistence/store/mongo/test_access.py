"""Each way to get at MongoDB, on a server that demands it; and each way to fail, in one line."""

import gc
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pymongo import MongoClient

from infra.ports import free_port
from infra.servers import MongoServer
from services.chassis.process.asgi_front import CannotStartError
from services.chassis.process.probes import Probes
from services.persistence.settings import Settings
from services.persistence.store.mongo.opening import open_mongo
from tests.chassis.keys import Authority, authority

pytestmark = [
    pytest.mark.mongo,
    # PyMongo leaves the socket of a handshake that failed to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
PASSWORD = "s3same/öffne@dich"


@dataclass(frozen=True)
class StrictMongo:
    """A MongoDB that takes TLS with our certificates only, and one user."""

    hosts: str
    ca: Path
    pem: Path
    password: Path
    other: Authority

    def settings(self, **changed: object) -> Settings:
        given = {
            "mongodb_uri": f"mongodb://ann@{self.hosts}/?authSource=admin",
            "mongodb_ca_file": self.ca,
            "mongodb_cert_key_file": self.pem,
            "mongodb_password_file": self.password,
            "mongodb_wait_seconds": 0.1,
        }
        return Settings.model_validate({**given, **changed})


@contextmanager
def started(server: MongoServer) -> Iterator[MongoServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def strict_mongo(
    mongo: MongoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StrictMongo]:
    assert mongo.port  # one can run here
    folder = tmp_path_factory.mktemp("strict_mongo")
    ours, other = authority(folder, "ours"), authority(folder, "other")
    pem, mine = ours.issue("server")[2], ours.issue("client")[2]
    server = MongoServer(folder / "data")
    server.child.command += [
        *("--auth", "--tlsMode", "requireTLS"),
        *("--tlsCertificateKeyFile", str(pem), "--tlsCAFile", str(ours.ca)),
    ]
    password = folder / "password"
    password.write_text(f"{PASSWORD}\n")
    with started(server):
        first = MongoClient[dict[str, object]](
            server.uri, tls=True, tlsCAFile=str(ours.ca), tlsCertificateKeyFile=str(mine)
        )
        first.admin.command("createUser", "ann", pwd=PASSWORD, roles=["root"])
        first.close()
        yield StrictMongo(f"127.0.0.1:{server.port}", ours.ca, mine, password, other)


async def why_unavailable_for(caplog: pytest.LogCaptureFixture, settings: Settings) -> str:
    """What the process ends with, which is what its one line and /ready say, too."""
    caplog.clear()
    probes = Probes(CollectorRegistry())
    longer = settings.model_copy(update={"mongodb_wait_seconds": 1.0})
    with caplog.at_level(logging.INFO), pytest.raises(CannotStartError) as ended:
        async with open_mongo(longer, probes):
            pass
    page = probes.page("/ready")
    assert page is not None
    waiting = json.loads(page[2])["waiting_for"]
    assert waiting.keys() == {"startup", "mongodb"}
    why: str = waiting["mongodb"]
    assert str(ended.value) == f"{why}; MONGODB_WAIT_SECONDS=1 exceeded"
    gc.collect()  # here, where its warnings are expected
    ours = [r for r in caplog.records if r.name.startswith("services.")]
    assert {record.getMessage() for record in ours} <= {f"{why}; trying again"}
    assert PASSWORD not in caplog.text
    return why


async def test_a_user_a_password_and_certificates_are_taken_from_files(
    strict_mongo: StrictMongo,
) -> None:
    async with open_mongo(strict_mongo.settings()) as (client, _):
        assert await client.server_info()
    inside = f"mongodb://ann:s3same%2F%C3%B6ffne%40dich@{strict_mongo.hosts}/?authSource=admin"
    whole = strict_mongo.settings(mongodb_uri=inside, mongodb_password_file=None)
    async with open_mongo(whole) as (client, _):
        assert await client.server_info()
    tls = f"&tls=true&tlsCAFile={strict_mongo.ca}&tlsCertificateKeyFile={strict_mongo.pem}"
    by_uri = strict_mongo.settings(
        mongodb_uri=inside + tls,
        mongodb_password_file="",
        mongodb_ca_file="",
        mongodb_cert_key_file="",
    )
    async with open_mongo(by_uri) as (client, _):
        assert await client.server_info()


async def test_a_failed_connection_is_reported_by_the_setting_to_change(
    strict_mongo: StrictMongo, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    hosts, wrong = strict_mongo.hosts, tmp_path / "wrong"
    wrong.write_text("Sesame")
    why = await why_unavailable_for(caplog, strict_mongo.settings(mongodb_password_file=wrong))
    assert why == (
        f"MONGODB_PASSWORD_FILE: {hosts} refuses user and password: authentication failed"
    )
    nobody = strict_mongo.settings(mongodb_uri=f"mongodb://{hosts}", mongodb_password_file=None)
    why = await why_unavailable_for(caplog, nobody)
    assert why == f"MONGODB_URI: {hosts} requires a user that may read and write"
    other = strict_mongo.settings(mongodb_ca_file=strict_mongo.other.ca)
    why = await why_unavailable_for(caplog, other)
    assert why.startswith(f"MONGODB_CA_FILE {strict_mongo.other.ca}: certificate of {hosts}: ")
    plain = strict_mongo.settings(mongodb_ca_file=None, mongodb_cert_key_file=None)
    assert (await why_unavailable_for(caplog, plain)).startswith(
        f"MONGODB_URI {hosts}: connection closed"
    )
    without = strict_mongo.settings(mongodb_cert_key_file=None)
    assert "MONGODB_CERT_KEY_FILE" in await why_unavailable_for(caplog, without)


@pytest.mark.parametrize(
    "setting", ["mongodb_ca_file", "mongodb_cert_key_file", "mongodb_password_file"]
)
async def test_a_missing_file_is_reported(
    strict_mongo: StrictMongo, caplog: pytest.LogCaptureFixture, tmp_path: Path, setting: str
) -> None:
    gone = strict_mongo.settings(**{setting: tmp_path / "gone"})
    why = await why_unavailable_for(caplog, gone)
    assert why == f"{setting.upper()} {tmp_path / 'gone'}: no such file or directory"


async def test_a_file_without_a_certificate_is_reported(
    strict_mongo: StrictMongo, caplog: pytest.LogCaptureFixture
) -> None:
    for setting in ("mongodb_ca_file", "mongodb_cert_key_file"):
        odd = strict_mongo.settings(**{setting: strict_mongo.password})
        why = await why_unavailable_for(caplog, odd)
        assert why.startswith(f"{setting.upper()} {strict_mongo.password}: no certificate")


async def test_a_mongodb_that_refuses_or_does_not_answer_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    why = await why_unavailable_for(caplog, Settings(mongodb_uri=f"mongodb://{dead}"))
    assert why == f"MONGODB_URI {dead}: connection refused"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host = f"127.0.0.1:{mute.getsockname()[1]}"
        why = await why_unavailable_for(
            caplog, Settings(mongodb_uri=f"mongodb://ann:x@{host}/?appName=x")
        )
        assert why == f"MONGODB_URI {host}: no answer"


@pytest.mark.parametrize("uri", ["http://ann:sesame@a", "mongodb://ann:sesame@a:b", "mongodb://"])
async def test_an_invalid_uri_ends_the_start_at_once(uri: str) -> None:
    with pytest.raises(CannotStartError, match="MONGODB_URI: ") as ended:
        async with open_mongo(Settings(mongodb_uri=uri, mongodb_wait_seconds=3600)):
            pass
    assert "sesame" not in str(ended.value)
