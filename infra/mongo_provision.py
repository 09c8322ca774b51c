"""Give the embedded MongoDB its users, by the program of persistence: infra has no driver of MongoDB."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.child_process import Child, StartError, StopRequested, never
from infra.credentials.embedded import Credentials
from infra.credentials.mongo_users import ADMIN

_ROOT = Path(__file__).resolve().parents[1]
PROGRAM = (sys.executable, "-m", "services.persistence.mongodb_users")
PROGRAM_SECONDS = 60.0
_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")


class MongoProvision:
    """`rights` are the variables that say what persistence may read and write."""

    def __init__(
        self,
        credentials: Credentials,
        database: Path,
        port: int,
        rights: Mapping[str, str],
        log: Path,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._users = credentials.mongo
        self._admin = credentials.mongo_environment_of(ADMIN, port)
        self._database = database
        self._rights = rights
        self._log = log.resolve()
        self._program = list(program)

    def ensure(self, stop_requested: StopRequested = never) -> None:
        """Where MongoDB has not these users with these passwords and rights yet. Raises StartError."""
        if self._users.are_in(self._database, self._rights):
            return
        try:
            self._run(self._users.arguments(), stop_requested)
        except StartError:
            if (admin := self._users.coming_admin) is None:
                raise
            # A rotation may have ended before its files were renamed. If MongoDB takes that password,
            # it did; otherwise, as where MongoDB does not answer, the one in use stays.
            self._run(self._users.coming_arguments(), stop_requested, admin)
            self._users.adopt_next()
        self._users.remember(self._database, self._rights)

    def rotate(self, *further: str) -> None:
        """Give each user another password. The files are replaced after MongoDB has them.

        Raises StartError; the next start, or the next call, goes on with what is true then.
        """
        self._users.forget(self._database)
        if self._users.coming_admin is not None:  # else MongoDB may have one that is replaced here
            self.ensure()
            self._users.forget(self._database)
        self._users.make_next()
        self._run([*self._users.next_arguments(), *further], never)
        self._users.adopt_next()
        self._users.remember(self._database, self._rights)

    def _run(
        self,
        arguments: Sequence[str],
        stop_requested: StopRequested,
        admin: Path | None = None,
    ) -> None:
        """`admin`: the file with the password to sign in with, by default the one in use."""
        signs_in = (
            self._admin if admin is None else self._admin | {"MONGODB_PASSWORD_FILE": str(admin)}
        )
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        child = Child(
            "mongodb-users",
            [*self._program, *arguments],
            self._log,
            environment={**kept, **self._rights, **signs_in},
            folder=_ROOT,
        )
        child.run_to_end(PROGRAM_SECONDS, stop_requested)
