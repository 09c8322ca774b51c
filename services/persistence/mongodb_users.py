"""Create the users of MongoDB, or give them other passwords: python -m services.persistence.mongodb_users

Signs in by MONGODB_URI and MONGODB_PASSWORD_FILE as a user who may manage users. A MongoDB that requires
authentication and has no user yet takes the first one from its own machine: it is created as this one.
"""

import asyncio
import logging
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pymongo.errors import OperationFailure

from services.chassis.logs.configuration import configure
from services.chassis.settings import comma_separated
from services.persistence.settings import Settings
from services.persistence.store.interface import StoreUnavailableError
from services.persistence.store.mongo.access import (
    AUTHENTICATION_FAILED,
    MongoAccess,
    UnusableFileError,
    read_text,
)
from services.persistence.store.mongo.client import Client, build_client, translated_errors

log = logging.getLogger(__name__)

PERSISTENCE, READER = "persistence", "reader"
"""The user of the service, which reads and writes its database; and one who only reads it."""
REFERENCES = "mozaiksDataReferences"
"""The role by which persistence reads what DATA_REFERENCE_DATABASES names."""
UNREACHABLE = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files with the passwords that the users shall have. `new_admin`: of the one who signs in."""

    persistence: Path
    reader: Path | None = None
    new_admin: Path | None = None
    renew_certificates: bool = False


async def ensure_users(settings: Settings, wanted: Wanted) -> None:
    """Raises StoreUnavailableError, OperationFailure, UnusableFileError."""
    access = MongoAccess(
        settings.mongodb_uri,
        settings.mongodb_password_file,
        settings.mongodb_ca_file,
        settings.mongodb_cert_key_file,
    )
    client = build_client(access.uri, **access.options())
    try:
        with translated_errors():
            await _sign_in(client, access)
            await _ensure(client, settings, wanted, _user_of(access.uri))
    finally:
        await client.close()


async def _sign_in(client: Client, access: MongoAccess) -> None:
    """Raises OperationFailure where the password is wrong, and there are users already."""
    try:
        await client.admin.command("usersInfo", 1)
    except OperationFailure as refused:
        if refused.code != AUTHENTICATION_FAILED or access.password_file is None:
            raise
        await _create_first_user(access)
        await client.admin.command("usersInfo", 1)


async def _create_first_user(access: MongoAccess) -> None:
    options = access.options()
    password = options.pop("password")
    address = access.uri.replace(urlsplit(access.uri).netloc, access.hosts)
    anonymous = build_client(address, **options)
    try:
        await anonymous.admin.command(
            "createUser", _user_of(access.uri), pwd=password, roles=["root"]
        )
    finally:
        await anonymous.close()


async def _ensure(client: Client, settings: Settings, wanted: Wanted, admin: str) -> None:
    database = settings.mongodb_database
    await _set_references(client, comma_separated(settings.data_reference_databases))
    await _set_user(
        client,
        PERSISTENCE,
        wanted.persistence,
        [{"role": "readWrite", "db": database}, {"role": REFERENCES, "db": "admin"}],
    )
    if wanted.reader is not None:
        await _set_user(client, READER, wanted.reader, [{"role": "read", "db": database}])
    if wanted.renew_certificates:
        await client.admin.command("rotateCertificates", 1)
    if wanted.new_admin is not None:  # the last one: what fails before is repeated by the old one
        await client.admin.command("updateUser", admin, pwd=_password(wanted.new_admin))


async def _set_references(client: Client, sources: frozenset[str]) -> None:
    """Whole databases, or single collections of them: `shop`, `crm.customers`."""
    privileges = []
    for source in sorted(sources):
        database, _, collection = source.partition(".")
        resource = {"db": database, "collection": collection}
        privileges.append({"resource": resource, "actions": ["find"]})
    known = await client.admin.command("rolesInfo", REFERENCES)
    verb = "updateRole" if known["roles"] else "createRole"
    await client.admin.command(verb, REFERENCES, privileges=privileges, roles=[])


async def _set_user(client: Client, name: str, password: Path, roles: list[Any]) -> None:
    known = await client.admin.command("usersInfo", name)
    verb = "updateUser" if known["users"] else "createUser"
    await client.admin.command(
        verb, name, pwd=_password(password), roles=roles, mechanisms=["SCRAM-SHA-256"]
    )


def _password(file: Path) -> str:
    return read_text("password file", file)


def _user_of(uri: str) -> str:
    return unquote(urlsplit(uri).username or "")


def _arguments(arguments: Sequence[str]) -> Wanted:
    parser = ArgumentParser(
        prog="python -m services.persistence.mongodb_users",
        description="Create the users of MongoDB, or give them other passwords.",
    )
    parser.add_argument(
        "--persistence", type=Path, required=True, metavar="FILE", help="password of persistence"
    )
    parser.add_argument(
        "--reader", type=Path, metavar="FILE", help="password of the user who reads"
    )
    parser.add_argument(
        "--new-admin", type=Path, metavar="FILE", help="next password of the user who signs in"
    )
    parser.add_argument(
        "--renew-certificates",
        action="store_true",
        help="let the server read its certificates again",
    )
    told = parser.parse_args(arguments)
    return Wanted(told.persistence, told.reader, told.new_admin, told.renew_certificates)


def main(arguments: Sequence[str], settings: Settings) -> int:
    """The exit code."""
    wanted = _arguments(arguments)
    try:
        asyncio.run(ensure_users(settings, wanted))
    except (StoreUnavailableError, OperationFailure, UnusableFileError) as error:
        log.error("users of MongoDB: %s", error)  # noqa: TRY400  the reason, without a traceback
        return UNREACHABLE
    return 0


if __name__ == "__main__":
    current = Settings()
    configure("persistence", current.log_level, as_json=current.logs_as_json)
    sys.exit(main(sys.argv[1:], current))
