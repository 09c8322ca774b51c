"""New keys, passwords and certificate for the embedded servers, also while the product runs: python -m infra.rotate"""

import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from infra.child_process import StartError
from infra.credentials.embedded import OPERATOR, Credentials
from infra.credentials.mongo_users import RIGHTS
from infra.mongo_provision import MongoProvision
from infra.nats_cluster import NoAnswerError, request
from infra.stack import InUseError, owning

ACCEPTED_SECONDS = 15.0
"""How long until nats-server has read its users again."""
POLL_SECONDS = 0.1


class NotRotatedError(Exception):
    """What still has the old credentials, and what to do."""


def rotate(data: Path) -> list[str]:
    """What was renewed, a line each. Raises NotRotatedError; to repeat it does no harm."""
    if not (data / "credentials").exists():
        raise NotRotatedError(f"there are no credentials in {data}: is DATA_DIR right?")
    credentials = Credentials.found_in(data)
    try:
        with owning(data):
            return _rotate_at_rest(credentials)
    except InUseError:
        return _rotate_running(credentials, data)


def _rotate_at_rest(credentials: Credentials) -> list[str]:
    """The next start gives MongoDB its passwords, for which that of the admin has to stay."""
    credentials.nats.rotate()
    credentials.mongo.replace_at_rest()
    return ["keys of NATS, passwords of MongoDB", *_rotate_certificate(credentials)]


def _rotate_running(credentials: Credentials, data: Path) -> list[str]:
    certificate = _rotate_certificate(credentials)
    lines = []
    access = credentials.operator_access()
    if "MONGODB_URI" in access:
        _rotate_mongo(credentials, data, access)
        lines.append("passwords of MongoDB")
    if "NATS_URL" in access:
        credentials.nats.rotate()
        _wait_until_accepted(credentials, access["NATS_URL"])
        lines.append("keys of NATS")
    return [*lines, *certificate]


def _rotate_certificate(credentials: Credentials) -> list[str]:
    if credentials.certificates is None:
        return []
    credentials.certificates.rotate(datetime.now(UTC))
    return ["the certificate of both servers"]


def _rotate_mongo(credentials: Credentials, data: Path, access: Mapping[str, str]) -> None:
    rights = {name: access[name] for name in RIGHTS if name in access}
    port = _port_of(access["MONGODB_URI"])
    log = data / "logs" / "mongodb-users.log"
    provision = MongoProvision(credentials, data / "mongodb", port, rights, log)
    try:
        provision.rotate(*(["--renew-certificates"] if credentials.certificates else []))
    except StartError as error:
        raise NotRotatedError(f"MongoDB keeps its passwords: {error}") from error


def _wait_until_accepted(credentials: Credentials, url: str) -> None:
    """`make run` looks for renewed files each second."""
    deadline = time.monotonic() + ACCEPTED_SECONDS
    ca = credentials.certificates.ca if credentials.certificates else None
    while True:
        try:
            request(_port_of(url), "$JS.API.INFO", {}, credentials.nats.seed(OPERATOR), ca)
        except (OSError, NoAnswerError) as error:
            if time.monotonic() > deadline:
                raise NotRotatedError(f"nats-server refuses the new key: {error}") from error
            time.sleep(POLL_SECONDS)
        else:
            return


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2].partition("/")[0])


def main() -> int:
    try:
        renewed = rotate(Path(os.environ.get("DATA_DIR") or ".data"))
    except NotRotatedError as error:
        print(f"make rotate: {error}", file=sys.stderr)
        return 1
    print("renewed: " + ", ".join(renewed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
