"""Users of the embedded MongoDB: what each may do, on a real mongod, and a folder of a release without users."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from infra.credentials.embedded import Credentials
from infra.credentials.mongo_users import ADMIN, PERSISTENCE, READER
from infra.mongo_provision import PROGRAM
from infra.servers import MongoServer
from infra.stack import ROOT

pytestmark = pytest.mark.mongo

OWN, OTHER = "MozaiksAI", "shop"
UNAUTHORIZED = 13
Documents = MongoClient[dict[str, Any]]


@dataclass(frozen=True)
class SecuredMongo:
    server: MongoServer
    credentials: Credentials

    def signed_in(self, user: str | None, password: str | None = None) -> Documents:
        if user is None:
            return MongoClient(self.server.uri)
        told = self.credentials.mongo_environment_of(user, self.server.port)
        kept = Path(told["MONGODB_PASSWORD_FILE"]).read_text()
        return MongoClient(told["MONGODB_URI"], password=password or kept)

    def give_users(self, *further: str, **environ: str) -> None:
        users = self.credentials.mongo
        admin = self.credentials.mongo_environment_of(ADMIN, self.server.port)
        subprocess.run(
            [*PROGRAM, *users.arguments(), *further],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ, **admin},
            cwd=ROOT,
            check=True,
            timeout=60,
        )


@pytest.fixture(scope="module")
def secured(mongo: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredMongo]:
    """Its data are of an earlier release, which had no users."""
    assert mongo.port  # one can run here
    folder = tmp_path_factory.mktemp("mongo-users")
    earlier = MongoServer(folder / "mongodb")
    earlier.start()
    with Documents(earlier.uri) as client:
        client[OWN]["ChatSessions"].insert_one({"_id": "a chat"})
        client[OTHER]["orders"].insert_one({"_id": "an order"})
        client[OTHER]["prices"].insert_one({"_id": "a price"})
    earlier.stop()
    credentials = Credentials(folder)
    credentials.ensure()
    server = MongoServer(folder / "mongodb", options=credentials.mongo_options())
    server.start()
    found = SecuredMongo(server, credentials)
    found.give_users(DATA_REFERENCE_DATABASES=f"{OTHER}.orders")
    yield found
    server.stop()


def read(client: Documents, database: str, collection: str) -> list[str]:
    with client:
        return [str(one["_id"]) for one in client[database][collection].find()]


def test_chats_of_a_release_without_users_are_there_for_the_users(secured: SecuredMongo) -> None:
    for user in (PERSISTENCE, READER):
        assert read(secured.signed_in(user), OWN, "ChatSessions") == ["a chat"]


def test_persistence_reads_of_other_databases_what_the_setting_names(secured: SecuredMongo) -> None:
    assert read(secured.signed_in(PERSISTENCE), OTHER, "orders") == ["an order"]


Attempt = Callable[[Documents], object]


def write(database: str) -> Attempt:
    return lambda client: client[database]["x"].insert_one({})


def find(database: str, collection: str) -> Attempt:
    return lambda client: client[database][collection].find_one()


def run(command: str, argument: object = 1, database: str = "admin") -> Attempt:
    return lambda client: client[database].command(command, argument)


FORBIDDEN: dict[str | None, list[Attempt]] = {
    None: [
        find(OWN, "ChatSessions"),
        write(OWN),
        run("createUser", "me"),
        run("listDatabases"),
    ],
    READER: [
        write(OWN),
        find(OTHER, "orders"),
        run("dropDatabase", database=OWN),
        run("usersInfo"),
    ],
    PERSISTENCE: [
        write(OTHER),
        find(OTHER, "prices"),
        find("admin", "system.users"),
        run("usersInfo"),
        run("shutdown"),
        run("dropDatabase", database=OWN),
    ],
}


@pytest.mark.parametrize("user", FORBIDDEN)
def test_a_user_is_refused_what_is_not_its_own(secured: SecuredMongo, user: str | None) -> None:
    with secured.signed_in(user) as client:
        for attempt in FORBIDDEN[user]:
            with pytest.raises(OperationFailure) as refused:
                attempt(client)
            assert refused.value.code == UNAUTHORIZED


def test_a_password_is_replaced_by_the_program_and_the_old_one_is_refused(
    secured: SecuredMongo,
) -> None:
    file = secured.credentials.mongo.password_file(READER)
    old = file.read_text()
    file.write_text("another-password")
    secured.give_users()
    assert read(secured.signed_in(READER), OWN, "ChatSessions") == ["a chat"]
    with pytest.raises(OperationFailure, match="Authentication failed"):
        read(secured.signed_in(READER, old), OWN, "ChatSessions")


def test_a_start_asks_only_where_passwords_or_rights_have_changed(tmp_path: Path) -> None:
    users = Credentials(tmp_path).mongo
    users.ensure()
    (tmp_path / "mongodb").mkdir()
    assert not users.are_in(tmp_path / "mongodb", {})
    users.remember(tmp_path / "mongodb", {})
    assert users.are_in(tmp_path / "mongodb", {})
    assert not users.are_in(tmp_path / "mongodb", {"DATA_REFERENCE_DATABASES": "shop"})
    users.password_file(PERSISTENCE).write_text("another")
    assert not users.are_in(tmp_path / "mongodb", {})


@pytest.mark.parametrize("in_file", [True, False])
def test_without_its_password_nobody_manages_users(
    secured: SecuredMongo,
    tmp_path: Path,
    in_file: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    told = secured.credentials.mongo_environment_of(ADMIN, secured.server.port)
    given = {"MONGODB_PASSWORD_FILE": str(wrong)}
    if not in_file:
        del told["MONGODB_PASSWORD_FILE"]
        given = {"MONGODB_URI": told["MONGODB_URI"].replace("@", ":wrong@")}
    ran = subprocess.run(
        [*PROGRAM, *secured.credentials.mongo.arguments()],
        env={**os.environ, **told, **given},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 3
    assert "users of MongoDB: " in ran.stderr
    assert "Traceback" not in ran.stderr
