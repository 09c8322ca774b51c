"""Add a user of the embedded NATS who reads the business events of one app: python -m infra.subscriber --name NAME --app APP"""

import argparse
import os
import re
import sys
from pathlib import Path

from contracts import subjects
from contracts.ids import AppId
from infra.credentials.embedded import Credentials
from infra.credentials.nats_users import Rights

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)


def rights_of(name: str, app: AppId) -> Rights:
    """Create, read and acknowledge a consumer of this name, of the app's business events, and nothing else.

    Raises contracts.subjects.InvalidIdError.
    """
    filters = (subjects.business_events_of(app), f"mozaiks.business.{subjects.token(app)}.>")
    publish = [
        # On any stream, as events may be spread over several: the filter admits no others.
        *(f"$JS.API.CONSUMER.CREATE.*.{name}.{filter_subject}" for filter_subject in filters),
        f"$JS.API.CONSUMER.INFO.*.{name}",
        f"$JS.API.CONSUMER.MSG.NEXT.*.{name}",
        f"$JS.ACK.*.{name}.>",
    ]
    return {"publish": publish, "subscribe": [f"_INBOX_{name}.>"]}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.subscriber",
        description="Add a user of the embedded NATS who reads the business events of one app."
        " Once more: another password.",
    )
    parser.add_argument(
        "--name", required=True, help="of the user and of its consumers: letters, digits and -"
    )
    parser.add_argument("--app", required=True, help="the app whose events it reads")
    told = parser.parse_args()
    if not _NAME.fullmatch(told.name):
        parser.error(f"--name: expected at most 32 of a-z, 0-9 and -, got {told.name!r}")
    users = Credentials(Path(os.environ.get("DATA_DIR") or ".data")).nats
    try:
        file = users.add_subscriber(told.name, rights_of(told.name, AppId(told.app)))
    except ValueError as error:
        parser.error(str(error))
    print(f"{told.name} reads the business events of {told.app}. Its password is in {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
