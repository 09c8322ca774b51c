"""The servers of `make run` on this machine, and the operator's credentials, for command line tools.

`make run` writes them to a file of its data folder, which only its user can read. Services never read it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.settings import Settings

FILE = Path("credentials") / "operator.env"
"""In the data folder. Lines are `NAME=value`, with the names of settings."""
_SIGN_IN = frozenset({"nats_user", "nats_nkey_seed_file", "nats_credentials_file", "nats_ca_file"})
S = TypeVar("S", bound=Settings)


class _Data(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore")

    data_dir: str = ".data"


def local_settings(kind: type[S]) -> S:
    """The settings of the environment; what it does not say of NATS and MongoDB is as `make run` says.

    Raises pydantic.ValidationError.
    """
    given = kind()
    set_fields = {name: str(getattr(given, name)) for name in given.model_fields_set}
    return kind(**local_access(_read(Path(_Data().data_dir) / FILE), set_fields))


def local_access(found: Mapping[str, str], given: Mapping[str, str]) -> dict[str, Any]:
    """Of the local servers' settings `found` those that `given` ones do not replace.

    A server that `given` names by another address, or signs in to in another way, is left to it.
    """
    chosen: dict[str, Any] = {}
    if _is_local("nats_url", found, given) and not _SIGN_IN & given.keys():
        chosen |= {name: value for name, value in found.items() if name.startswith("nats_")}
    if _is_local("mongodb_uri", found, given):
        chosen |= {name: value for name, value in found.items() if name.startswith("mongodb_")}
    return chosen


def _is_local(address: str, found: Mapping[str, str], given: Mapping[str, str]) -> bool:
    return address not in given or given[address] == found.get(address)


def _read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {name.lower(): value for name, value in pairs}
