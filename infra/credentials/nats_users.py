"""NATS users of a server: one for each service, with the permissions that it needs and an nkey."""

import json
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from infra.credentials.nkeys import new_user_key
from infra.credentials.private_files import write_if_changed, write_private

OPERATOR = "operator"
"""The user of people and of commands that may do everything."""
PERMISSIONS = Path(__file__).parents[1] / "nats_permissions.json"
"""Generated from what each service declares: `make reference`."""

Rights = Mapping[str, list[str]]
"""The subjects that a user may `publish` and `subscribe` to."""


class NatsUsers:
    """Seeds of users in files that only this user can read; the server knows their public keys."""

    def __init__(self, folder: Path, others: Mapping[str, Rights] | None = None) -> None:
        """`others` are users with an nkey beside those of the product."""
        self._folder = folder.resolve()
        self._others = others or {}
        self._keys = self._folder / "public_keys.json"
        self._subscribers = self._folder / "subscribers.json"
        self.configuration = self._folder / "users.conf"
        """What the server's configuration includes; the server reads it again at SIGHUP."""

    def ensure(self) -> None:
        """Give every user an nkey that has none, and write the configuration."""
        self._write(self._users_without_key())

    def rotate(self) -> None:
        """Give every user a new nkey. The old ones are refused once the server reads its configuration."""
        self._write(self._rights())

    def add_subscriber(self, name: str, rights: Rights) -> Path:
        """Add a user of the outside, or replace it: the file with its password.

        A password, which every client library takes without another package; the server knows its hash.
        Raises ValueError for a name of ours.
        """
        if name in self._rights() or name in _consumers():
            raise ValueError(f"{name} is a user or consumer of the product: choose another name")
        file = self._folder / f"{name}.password"
        password = secrets.token_urlsafe(32)
        write_private(file, password)
        added = {"password": hashed(password), **rights}
        subscribers = {**_loaded(self._subscribers), name: added}
        write_private(self._subscribers, json.dumps(subscribers, indent=2))
        self.ensure()
        return file

    def seed_file(self, user: str) -> Path:
        return self._folder / f"{user}.nk"

    def seed(self, user: str) -> str:
        return self.seed_file(user).read_text().strip()

    def environment_of(self, user: str) -> dict[str, str]:
        """The variables by which a service signs in as a user."""
        return {"NATS_NKEY_SEED_FILE": str(self.seed_file(user))}

    def _write(self, renewed: Collection[str]) -> None:
        keys = self._public_keys()
        if (
            renewed
        ):  # where this ends early, the next start renews the seeds that have no public key
            kept = {name: key for name, key in keys.items() if name not in renewed}
            write_private(self._keys, json.dumps(kept, indent=2))
        for name in renewed:
            key = new_user_key()
            write_private(self.seed_file(name), f"{key.seed}\n")
            keys[name] = key.public
        if keys != self._public_keys():
            write_private(self._keys, json.dumps(keys, indent=2))
        users = [
            {"nkey": keys[name], **_permissions(rights)} for name, rights in self._rights().items()
        ]
        users += [
            {"user": name, "password": one["password"], **_permissions(one)}
            for name, one in _loaded(self._subscribers).items()
        ]
        text = f"authorization: {json.dumps({'users': users})}\n"
        write_if_changed(self.configuration, text)

    def _users_without_key(self) -> list[str]:
        keys = self._public_keys()
        return [
            name for name in self._rights() if name not in keys or not self.seed_file(name).exists()
        ]

    def _rights(self) -> dict[str, Rights | None]:
        """What each user may do; None: everything."""
        return {OPERATOR: None, **json.loads(PERMISSIONS.read_text()), **self._others}

    def _public_keys(self) -> dict[str, str]:
        return _loaded(self._keys)


def _consumers() -> set[str]:
    """The names in the rights to consumers: who may use one of the name could read what it reads."""
    rights: Mapping[str, Rights] = json.loads(PERMISSIONS.read_text())
    subjects = (subject for one in rights.values() for subject in one["publish"])
    return {
        name
        for subject in subjects
        if subject.startswith("$JS.API.CONSUMER.")
        for name in subject.split(".")
    }


def _loaded(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _permissions(rights: Rights | None) -> dict[str, Any]:
    if rights is None:
        return {}
    permitted = {kind: {"allow": rights[kind]} for kind in ("publish", "subscribe")}
    return {"permissions": permitted}


def hashed(password: str) -> str:
    """What the server's configuration has of a password."""
    import bcrypt  # only where a subscriber is added

    # Few rounds are enough for a random password, and each connect of a client takes them.
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(6, prefix=b"2a")).decode()
