"""Settings of the persistence service."""

from typing import Literal

from pydantic import Field

from services.chassis import settings as chassis
from services.chassis.settings import FilePath


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
    data_reference_databases: str = ""
    """Databases and collections that workflows may read, separated by commas: `shop, crm.customers`."""
    max_concurrent_lookups: int = Field(default=8, ge=1)
    """Lookups of such data that run at the same time."""
    max_concurrent_queries: int = Field(default=8, ge=1)
    """Requests for transcripts and statistics that are answered at the same time."""
