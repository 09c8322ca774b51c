"""Rotation of what nobody uses at the moment; of what a product uses: tests/system/test_whole_product.py."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.child_process import StartError
from infra.credentials.certificates import Certificates
from infra.credentials.embedded import Credentials
from infra.credentials.mongo_users import ADMIN, PERSISTENCE, READER
from infra.credentials.nats_users import NatsUsers
from infra.credentials.nkeys import public_key
from infra.credentials.private_files import write_private
from infra.mongo_provision import MongoProvision
from infra.rotate import NotRotatedError, rotate

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def contents(folder: Path) -> dict[str, str]:
    return {str(file): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_a_stopped_product_gets_other_keys_and_passwords_at_its_next_start(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path)
    credentials.ensure()
    before = contents(tmp_path)
    assert rotate(tmp_path) == ["keys of NATS, passwords of MongoDB"]
    assert {
        Path(name).name for name, text in contents(tmp_path).items() if before.get(name) == text
    } == {"admin.password"}, "the admin's own password stays, for the next start signs in with it"
    configuration = credentials.nats.configuration.read_text()
    assert public_key(credentials.nats.seed("transport")) in configuration


def test_a_folder_without_credentials_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotRotatedError, match="is DATA_DIR right"):
        rotate(tmp_path)


def provision(credentials: Credentials, folder: Path, script: str) -> MongoProvision:
    """With a shell script in the place of the program that changes MongoDB."""
    program = ["sh", "-c", script, "program"]
    return MongoProvision(credentials, folder, 1, {}, folder / "log", program)


def test_passwords_are_replaced_only_after_mongodb_has_them(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path)
    credentials.ensure()
    before = contents(tmp_path / "credentials" / "mongodb")
    with pytest.raises(StartError):
        provision(credentials, tmp_path, "exit 3").rotate()
    kept = contents(tmp_path / "credentials" / "mongodb")
    assert {name: kept[name] for name in before} == before
    provision(credentials, tmp_path, "exit 0").rotate()
    assert credentials.mongo.are_in(tmp_path, {})
    after = contents(tmp_path / "credentials" / "mongodb")
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


def test_a_start_goes_on_with_a_rotation_that_ended_before_its_files_were_replaced(
    tmp_path: Path,
) -> None:
    credentials = Credentials(tmp_path)
    credentials.ensure()
    credentials.mongo.make_next()
    coming = {
        user: Path(f"{credentials.mongo.password_file(user)}.next").read_text()
        for user in (ADMIN, PERSISTENCE, READER)
    }
    takes = f'grep -qF -- "{coming[ADMIN]}" "$MONGODB_PASSWORD_FILE"'
    provision(credentials, tmp_path, takes).ensure()
    assert credentials.mongo.are_in(tmp_path, {})
    for user, password in coming.items():
        assert credentials.mongo.password_file(user).read_text() == password


def test_passwords_that_mongodb_may_have_are_not_replaced_by_the_next_rotation(
    tmp_path: Path,
) -> None:
    credentials = Credentials(tmp_path)
    credentials.ensure()
    credentials.mongo.make_next()
    coming = Path(f"{credentials.mongo.password_file(ADMIN)}.next").read_text()
    provision(credentials, tmp_path, f'grep -qF -- "{coming}" "$MONGODB_PASSWORD_FILE"').rotate()
    assert credentials.mongo.password_file(ADMIN).read_text() != coming
    assert credentials.mongo.are_in(tmp_path, {})


def test_where_mongodb_takes_no_password_those_in_use_stay(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path)
    credentials.ensure()
    credentials.mongo.make_next()
    before = contents(tmp_path / "credentials")
    with pytest.raises(StartError):
        provision(credentials, tmp_path, "exit 3").ensure()
    assert contents(tmp_path / "credentials") == before


@pytest.mark.parametrize("written", range(1, 9))
def test_after_a_rotation_of_keys_that_ended_early_every_seed_is_known_to_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    users = NatsUsers(tmp_path)
    users.ensure()
    left = iter(range(written))

    def until_it_ends(file: Path, text: str) -> None:
        next(left)  # StopIteration: the process ends here
        write_private(file, text)

    with monkeypatch.context() as ends:
        ends.setattr("infra.credentials.nats_users.write_private", until_it_ends)
        with pytest.raises(StopIteration):
            users.rotate()
    again = NatsUsers(tmp_path)
    again.ensure()
    configuration = again.configuration.read_text()
    for file in tmp_path.glob("*.nk"):
        assert public_key(file.read_text().strip()) in configuration, file.name


def test_a_certificate_is_renewed_before_it_ends_and_its_authority_stays(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificates.ensure(NOW)
    first = contents(tmp_path)
    certificates.ensure(NOW + timedelta(days=300))
    assert contents(tmp_path) == first
    certificates.ensure(NOW + timedelta(days=310))
    changed = [name for name, text in contents(tmp_path).items() if first[name] != text]
    assert [Path(name).name for name in changed] == ["server.pem"]
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())
