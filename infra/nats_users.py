"""NATS users of the product: one for each service, with the permissions that it needs and a password."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPERATOR = "operator"
"""The user of people and of commands that may do everything."""
PERMISSIONS = Path(__file__).with_name("nats_permissions.json")
"""Generated from what each service declares: `make reference`."""


class NatsUsers:
    """Users and passwords of an embedded nats-server, in files that only this user can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._permissions: Mapping[str, Any] = json.loads(PERMISSIONS.read_text())

    def password_file(self, user: str) -> Path:
        """The file with the password of a user, created with the first call."""
        file = self._folder / f"{user}.password"
        if not file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as written:
                written.write(secrets.token_urlsafe(32))
        return file

    def environment_of(self, user: str) -> dict[str, str]:
        """The variables by which a service signs in as a user."""
        return {"NATS_USER": user, "NATS_PASSWORD_FILE": str(self.password_file(user))}

    def config(self) -> str:
        """The `authorization` of nats-server's configuration."""
        users = [self._user(name, rights) for name, rights in self._permissions.items()]
        operator = {"user": OPERATOR, "password": self.password_file(OPERATOR).read_text()}
        return f"authorization: {json.dumps({'users': [operator, *users]})}\n"

    def _user(self, name: str, rights: Mapping[str, list[str]]) -> dict[str, Any]:
        return {
            "user": name,
            "password": self.password_file(name).read_text(),
            "permissions": {
                "publish": {"allow": rights["publish"]},
                "subscribe": {"allow": rights["subscribe"]},
            },
        }
