"""Make the NATS users of a cluster: `python -m infra.cluster_users FOLDER` writes their keys, and says how to use them."""

import sys
from pathlib import Path

from infra.credentials.nats_users import OPERATOR, NatsUsers, Rights

SERVICES = ("transport", "orchestrator", "persistence", "metrics", "streams")
NACK = "nack"
NACK_RIGHTS: Rights = {
    "publish": [
        "$JS.API.INFO",
        *(f"$JS.API.STREAM.{verb}.*" for verb in ("CREATE", "INFO", "UPDATE")),
        *(f"$JS.API.CONSUMER.{verb}.>" for verb in ("CREATE", "DURABLE.CREATE", "INFO")),
    ],
    "subscribe": ["_INBOX.>"],
}
"""What NACK does with our objects, which it is told never to delete: it creates and repairs them."""


def make_users(folder: Path) -> NatsUsers:
    """Keys for all users of a cluster; those that exist stay as they are."""
    users = NatsUsers(folder, {NACK: NACK_RIGHTS})
    users.ensure()
    return users


def instructions(users: NatsUsers) -> str:
    secrets = [
        f"kubectl create secret generic nats-{name} --from-file=seed={users.seed_file(name)}"
        for name in (*SERVICES, NACK)
    ]
    return "\n".join(
        [
            "# The public keys and rights, for the configuration of the nats-servers:",
            f"#   {users.configuration}",
            f"# The operator's key, for people: {users.seed_file(OPERATOR)}",
            "# Secrets for the pods, in their namespace; of nats-streams and nats-nack one is needed:",
            *secrets,
        ]
    )


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    print(instructions(make_users(Path(arguments[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
