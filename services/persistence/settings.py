"""Settings of the persistence service."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator

from services.chassis import settings as chassis
from services.chassis.settings import FilePath

EVERY_APP = "*"


class Settings(chassis.Settings):
    persistence_port: int = Field(default=8003, ge=1, le=65535)
    """Port of persistence's probes and metrics."""
    mongodb_uri: str = "mongodb://127.0.0.1:27017"
    """Connection string of MongoDB."""
    mongodb_database: str = "MozaiksAI"
    """Database of the archive and the read models."""
    mongodb_password_file: FilePath = None
    """File with the password of the user in `MONGODB_URI`."""
    mongodb_ca_file: FilePath = None
    """The certificate authority of the server's certificate. Setting it enables TLS."""
    mongodb_cert_key_file: FilePath = None
    """Client certificate and key in one PEM file. Setting it enables TLS."""
    mongodb_wait_seconds: float = Field(default=60.0, gt=0)
    """Seconds that a starting process waits for MongoDB before it exits with the reason."""
    runtime_business_events: Literal["none", "workflow", "all"] = "workflow"
    """Business events of the runtime itself: `workflow` publishes beginnings and ends of chats, `all` also
    those of agents' turns, tool calls and questions, at the cost of a message each; `none` nothing."""
    runtime_business_events_apps: str = "*"
    """Apps whose chats have such events, separated by commas; `*`: all."""
    events_max_age: str = ""
    """How many days the events of a chat stay in NATS after its last one: `90`, or by app, `acme=30, *=365`. They
    come back from the archive when the chat is opened or goes on. Unset: they stay."""
    data_reference_databases: str = ""
    """Databases and collections that workflows may read, separated by commas: `shop, crm.customers`."""
    max_concurrent_lookups: int = Field(default=8, ge=1)
    """Lookups of such data that run at the same time."""
    max_concurrent_queries: int = Field(default=8, ge=1)
    """Requests for transcripts and statistics that are answered at the same time."""

    @field_validator("events_max_age")
    @classmethod
    def _names_ages(cls, given: str) -> str:
        max_ages(given)
        return given


def max_ages(setting: str) -> Mapping[str, timedelta]:
    """The ages by app, `*` for all others, of EVENTS_MAX_AGE. Raises ValueError, which names it."""
    found: dict[str, timedelta] = {}
    for part in filter(None, (one.strip() for one in setting.split(","))):
        app, _, days = part.rpartition("=")
        try:
            age = timedelta(days=float(days))
        except (ValueError, OverflowError):
            age = timedelta(0)
        if age <= timedelta(0):
            raise ValueError(f"EVENTS_MAX_AGE: expected days, or app=days, got {part:.40}")
        found[app.strip() or EVERY_APP] = age
    return found
