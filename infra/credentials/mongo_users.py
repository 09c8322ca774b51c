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
_RIGHTS = ("MONGODB_DATABASE", "DATA_REFERENCE_DATABASES")
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

    def are_in(self, database: Path, environ: Mapping[str, str]) -> bool:
        """Whether the MongoDB with this folder has these users, with these passwords and rights."""
        mark = database / _MARK
        return mark.exists() and mark.read_text() == self._digest(environ)

    def remember(self, database: Path, environ: Mapping[str, str]) -> None:
        write_private(database / _MARK, self._digest(environ))

    def _digest(self, environ: Mapping[str, str]) -> str:
        rights = [environ.get(name) for name in _RIGHTS]
        passwords = [self.password_file(user).read_text() for user in USERS]
        return hashlib.sha256(json.dumps([rights, passwords]).encode()).hexdigest()
