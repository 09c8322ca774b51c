"""A nats-server with the users of the product, on which the services of a test have no other rights."""

import re
from pathlib import Path

from infra.credentials.embedded import OPERATOR, Credentials
from infra.servers import NatsServer
from services.chassis.settings import Settings

_VIOLATION = re.compile(r" - \"\$G/")


def violations(log: Path) -> list[str]:
    """What users were not permitted to do so far, by the server's log; each subject once."""
    lines = log.read_text().splitlines()
    return sorted({_VIOLATION.split(line)[-1] for line in lines if "Violation" in line})


class SecuredNats(NatsServer):
    """Its end is an error where a user was refused something."""

    def __init__(self, folder: Path) -> None:
        self.credentials = Credentials(folder)
        self.credentials.ensure()
        super().__init__(folder / "nats", options=self.credentials.nats_options(folder / "nats"))

    @property
    def settings(self) -> Settings:
        """The operator's."""
        seed = self.credentials.nats.seed_file(OPERATOR)
        return Settings(nats_url=self.url, nats_nkey_seed_file=seed)

    def environment_of(self, service: str) -> dict[str, str]:
        """The variables of a service's process."""
        own = self.credentials.environment_of(service)
        return {"NATS_URL": self.url, "ENSURE_STREAMS": "false", **own}

    def end(self) -> None:
        """Kill it, and check what it has logged."""
        self.kill()
        assert not violations(self.child.log), (
            "infra/nats_permissions.json lacks what a service does"
        )
