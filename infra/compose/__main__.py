"""Write the credentials that compose.yaml mounts: python -m infra.compose [FOLDER]"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.credentials.nats_users import PERMISSIONS, NatsUsers
from infra.stack import ROOT

FOLDER = ROOT / ".data" / "compose"


def write_credentials(folder: Path) -> list[Path]:
    """Users of NATS and the seed of each service; those that exist stay.

    A container's user is nobody on this machine, so that the files are for everybody, in a folder for
    this user only: whoever starts containers mounts them from there.
    """
    kept = folder / "kept"
    users = NatsUsers(kept)
    users.ensure()
    written = [(users.configuration, folder / users.configuration.name)]
    written += [(users.seed_file(name), folder / users.seed_file(name).name) for name in services()]
    folder.chmod(0o700)
    for source, target in written:
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o444)
    return [target for _, target in written]


def services() -> list[str]:
    return sorted(json.loads(PERMISSIONS.read_text()))


def main(arguments: Sequence[str]) -> int:
    folder = Path(arguments[0]) if arguments else FOLDER
    for file in write_credentials(folder):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
