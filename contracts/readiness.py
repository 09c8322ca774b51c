"""Whether a process of a service is ready: asked of all of them on core NATS."""

from pydantic import BaseModel, ConfigDict


class ReadinessRequested(BaseModel):
    """Asked with a reply subject; every process that is connected answers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ReadinessShown(BaseModel):
    """What a process waits for, by the name of the check; it is ready where it waits for nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    service: str
    process: str
    is_ready: bool
    waiting_for: dict[str, str] = {}
