"""Command line tools find the servers of `make run`, and never sign in to other ones with its credentials."""

from pathlib import Path

import pytest

from services.chassis.local_access import FILE, local_settings
from services.chassis.settings import Settings
from services.persistence.settings import Settings as PersistenceSettings

VARIABLES = ("NATS_URL", "NATS_USER", "NATS_NKEY_SEED_FILE", "MONGODB_URI", "MONGODB_PASSWORD_FILE")
LOCAL = """\
MONGODB_PASSWORD_FILE=/d/persistence.password
MONGODB_URI=mongodb://persistence@127.0.0.1:2/?authSource=admin
NATS_NKEY_SEED_FILE=/d/operator.nk
NATS_URL=nats://127.0.0.1:1
"""


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_text(LOCAL)
    return tmp_path


def test_without_an_address_the_local_servers_are_taken() -> None:
    found = local_settings(PersistenceSettings)
    assert (found.nats_url, found.nats_nkey_seed_file) == (
        "nats://127.0.0.1:1",
        Path("/d/operator.nk"),
    )
    assert found.mongodb_uri == "mongodb://persistence@127.0.0.1:2/?authSource=admin"
    assert found.mongodb_password_file == Path("/d/persistence.password")
    assert local_settings(Settings).nats_url == "nats://127.0.0.1:1"


def test_the_address_of_the_local_server_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    assert local_settings(Settings).nats_nkey_seed_file == Path("/d/operator.nk")


def test_other_servers_never_get_the_local_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://far:4222")
    monkeypatch.setenv("MONGODB_URI", "mongodb://far")
    found = local_settings(PersistenceSettings)
    assert (found.nats_url, found.mongodb_uri) == ("nats://far:4222", "mongodb://far")
    assert found.nats_nkey_seed_file is None
    assert found.mongodb_password_file is None


def test_who_signs_in_as_somebody_else_does_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_NKEY_SEED_FILE", "/mine.nk")
    assert local_settings(Settings).nats_nkey_seed_file == Path("/mine.nk")


def test_where_nothing_was_ever_run_the_environment_alone_counts(data: Path) -> None:
    (data / FILE).unlink()
    assert local_settings(Settings) == Settings()
