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
from services.chassis.process import CannotStartError, Probes
from services.persistence.app import Settings, mongo
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
class Demanding:
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
def demanding(mongo: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demanding]:
    assert mongo.port  # one can run here
    folder = tmp_path_factory.mktemp("demanding")
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
        yield Demanding(f"127.0.0.1:{server.port}", ours.ca, mine, password, other)


async def why_kept_out(caplog: pytest.LogCaptureFixture, settings: Settings) -> str:
    """What the process ends with, which is what its one line and /ready say, too."""
    caplog.clear()
    probes = Probes(CollectorRegistry())
    longer = settings.model_copy(update={"mongodb_wait_seconds": 1.0})
    with caplog.at_level(logging.INFO), pytest.raises(CannotStartError) as ended:
        async with mongo(longer, probes):
            pass
    page = probes.page({"path": "/ready"})
    assert page is not None
    waiting = json.loads(page[2])["waiting_for"]
    assert waiting.keys() == {"startup", "mongodb"}
    why: str = waiting["mongodb"]
    assert str(ended.value) == f"{why}; MONGODB_WAIT_SECONDS=1 are over"
    gc.collect()  # here, where its warnings are expected
    ours = [r for r in caplog.records if r.name.startswith("services.")]
    assert {record.getMessage() for record in ours} <= {f"{why}; trying again"}
    assert PASSWORD not in caplog.text
    return why


async def test_a_user_a_password_and_certificates_are_taken_from_files(
    demanding: Demanding,
) -> None:
    async with mongo(demanding.settings()) as (client, _):
        assert await client.server_info()
    inside = f"mongodb://ann:s3same%2F%C3%B6ffne%40dich@{demanding.hosts}/?authSource=admin"
    whole = demanding.settings(mongodb_uri=inside, mongodb_password_file=None)
    async with mongo(whole) as (client, _):
        assert await client.server_info()
    tls = f"&tls=true&tlsCAFile={demanding.ca}&tlsCertificateKeyFile={demanding.pem}"
    by_uri = demanding.settings(
        mongodb_uri=inside + tls,
        mongodb_password_file="",
        mongodb_ca_file="",
        mongodb_cert_key_file="",
    )
    async with mongo(by_uri) as (client, _):
        assert await client.server_info()


async def test_what_keeps_us_out_is_told_by_the_setting_that_would_let_us_in(
    demanding: Demanding, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    hosts, wrong = demanding.hosts, tmp_path / "wrong"
    wrong.write_text("Sesame")
    why = await why_kept_out(caplog, demanding.settings(mongodb_password_file=wrong))
    assert why == (
        f"MONGODB_PASSWORD_FILE: {hosts} refuses user and password: authentication failed"
    )
    nobody = demanding.settings(mongodb_uri=f"mongodb://{hosts}", mongodb_password_file=None)
    why = await why_kept_out(caplog, nobody)
    assert why == f"MONGODB_URI: {hosts} demands a user that may read and write"
    other = demanding.settings(mongodb_ca_file=demanding.other.ca)
    why = await why_kept_out(caplog, other)
    assert why.startswith(f"MONGODB_CA_FILE {demanding.other.ca}: certificate of {hosts}: ")
    plain = demanding.settings(mongodb_ca_file=None, mongodb_cert_key_file=None)
    assert (await why_kept_out(caplog, plain)).startswith(f"MONGODB_URI {hosts}: connection closed")
    without = demanding.settings(mongodb_cert_key_file=None)
    assert "MONGODB_CERT_KEY_FILE" in await why_kept_out(caplog, without)


@pytest.mark.parametrize(
    "setting", ["mongodb_ca_file", "mongodb_cert_key_file", "mongodb_password_file"]
)
async def test_a_file_that_is_not_there_is_told(
    demanding: Demanding, caplog: pytest.LogCaptureFixture, tmp_path: Path, setting: str
) -> None:
    gone = demanding.settings(**{setting: tmp_path / "gone"})
    why = await why_kept_out(caplog, gone)
    assert why == f"{setting.upper()} {tmp_path / 'gone'}: no such file or directory"


async def test_a_file_without_a_certificate_is_told(
    demanding: Demanding, caplog: pytest.LogCaptureFixture
) -> None:
    for setting in ("mongodb_ca_file", "mongodb_cert_key_file"):
        odd = demanding.settings(**{setting: demanding.password})
        why = await why_kept_out(caplog, odd)
        assert why.startswith(f"{setting.upper()} {demanding.password}: no certificate")


async def test_a_mongodb_that_is_not_there_or_mute_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    why = await why_kept_out(caplog, Settings(mongodb_uri=f"mongodb://{dead}"))
    assert why == f"MONGODB_URI {dead}: connection refused"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host = f"127.0.0.1:{mute.getsockname()[1]}"
        why = await why_kept_out(caplog, Settings(mongodb_uri=f"mongodb://ann:x@{host}/?appName=x"))
        assert why == f"MONGODB_URI {host}: no answer"


@pytest.mark.parametrize("uri", ["http://ann:sesame@a", "mongodb://ann:sesame@a:b", "mongodb://"])
async def test_an_address_that_is_none_ends_the_start_at_once(uri: str) -> None:
    with pytest.raises(CannotStartError, match="MONGODB_URI: ") as ended:
        async with mongo(Settings(mongodb_uri=uri, mongodb_wait_seconds=3600)):
            pass
    assert "sesame" not in str(ended.value)
