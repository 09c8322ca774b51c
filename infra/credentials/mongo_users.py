"""MongoDB users of an embedded server: who manages users, who reads and writes the product's database, who reads it."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from infra.credentials.private_files import write_private
from infra.ports import LOOPBACK

ADMIN, PERSISTENCE, READER = "admin", "persistence", "reader"
USERS = (ADMIN, PERSISTENCE, READER)
_MARK = "mozaiks-users.json"
"""In MongoDB's own folder: says which users it has, so that a start need not ask."""
RIGHTS = ("MONGODB_DATABASE", "DATA_REFERENCE_DATABASES")
"""Variables that say what persistence may read and write."""


class MongoUsers:
    """Passwords in files that only this user can read. A program of persistence gives them to MongoDB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def ensure(self) -> None:
        """Make a password for every user that has none."""
        for user in USERS:
            if not self.password_file(user).exists():
                write_private(self.password_file(user), secrets.token_urlsafe(32))

    def password_file(self, user: str) -> Path:
        return self._folder / f"{user}.password"

    def environment_of(self, user: str, port: int) -> dict[str, str]:
        """The variables by which a process signs in as a user."""
        return {
            "MONGODB_URI": f"mongodb://{user}@{LOOPBACK}:{port}/?authSource=admin",
            "MONGODB_PASSWORD_FILE": str(self.password_file(user)),
        }

    def arguments(self) -> list[str]:
        """What the program of persistence is told: the users beside the one who signs in."""
        return [
            *("--persistence", str(self.password_file(PERSISTENCE))),
            *("--reader", str(self.password_file(READER))),
        ]

    def next_arguments(self) -> list[str]:
        """The same with the passwords to come, that of the user who signs in among them."""
        return [
            *("--persistence", str(self._next_file(PERSISTENCE))),
            *("--reader", str(self._next_file(READER))),
            *("--new-admin", str(self._next_file(ADMIN))),
        ]

    def coming_arguments(self) -> list[str]:
        """As `arguments`, with the passwords to come, for an admin who signs in with the one to come."""
        return [
            *("--persistence", str(self._newest_file(PERSISTENCE))),
            *("--reader", str(self._newest_file(READER))),
        ]

    @property
    def coming_admin(self) -> Path | None:
        """The password to come of the user who signs in; None where there is none."""
        file = self._next_file(ADMIN)
        return file if file.exists() else None

    def make_next(self) -> None:
        """Make the passwords to come, beside those that are in use."""
        for user in USERS:
            write_private(self._next_file(user), secrets.token_urlsafe(32))

    def adopt_next(self) -> None:
        """Replace the passwords in use, that of the admin first."""
        for user in USERS:
            self._newest_file(user).replace(self.password_file(user))

    def replace_at_rest(self) -> None:
        """Passwords that the next start gives to MongoDB, as the admin, whose own stays."""
        for user in (PERSISTENCE, READER):
            write_private(self.password_file(user), secrets.token_urlsafe(32))

    def are_in(self, database: Path, rights: Mapping[str, str]) -> bool:
        """Whether the MongoDB with this folder has these users, with these passwords and rights."""
        mark = database / _MARK
        return mark.exists() and mark.read_text() == self._digest(rights)

    def remember(self, database: Path, rights: Mapping[str, str]) -> None:
        write_private(database / _MARK, self._digest(rights))

    def forget(self, database: Path) -> None:
        (database / _MARK).unlink(missing_ok=True)

    def _next_file(self, user: str) -> Path:
        return self._folder / f"{user}.password.next"

    def _newest_file(self, user: str) -> Path:
        coming = self._next_file(user)
        return coming if coming.exists() else self.password_file(user)

    def _digest(self, rights: Mapping[str, str]) -> str:
        named = [rights.get(name) for name in RIGHTS]
        passwords = [self.password_file(user).read_text() for user in USERS]
        return hashlib.sha256(json.dumps([named, passwords]).encode()).hexdigest()
