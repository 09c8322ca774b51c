"""What every process is told by its environment; read once in `__main__`, handed down from there."""

from ipaddress import ip_address
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings that every service has. Raises pydantic.ValidationError naming the variable."""

    # What is wrong is named without what was given: that may hold a password.
    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    nats_url: str = "nats://127.0.0.1:4222"
    host: str = "127.0.0.1"
    auth_allow_insecure: bool = False
    """Something else keeps the door: listen to the network though nobody has to sign in here."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    logs_as_json: bool = False
    stream_replicas: int = Field(default=1, ge=1, le=5)
    """Replicas of each stream and bucket: 1 on a laptop, 3 on a NATS cluster."""
    ensure_streams: bool = True
    """Create and upgrade streams at the start; false: only check them, and wait for missing ones."""
    drain_seconds: float = Field(default=10.0, gt=0)
    """How long a stopping process may take to hand over what it has open."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can come in."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
