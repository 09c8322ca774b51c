"""Settings of the metrics service."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from contracts.prices import Price
from services.chassis import settings as chassis


class Settings(chassis.Settings):
    metrics_port: int = Field(default=8001, ge=1, le=65535)
    """Port of the metrics service."""
    model_pricing_json: dict[str, Price] = Field(default_factory=dict)
    """Prices per thousand tokens, for calls whose event has no cost."""
    metrics_stalled_seconds: float = Field(default=900.0, gt=0)
    """A running chat of which nothing has come for so long counts as stalled. Longer than a model call
    with its retries (`MODEL_MAX_WAIT_SECONDS`) and than the longest tool."""
    metrics_token: SecretStr | None = None
    """Bearer token that readers must send. Required where the network can reach the service."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if not (self.metrics_token or self.is_loopback or self.auth_allow_insecure):
            raise ValueError(
                f"HOST={self.host} exposes the numbers of all tenants to the network: set METRICS_TOKEN,"
                " or AUTH_ALLOW_INSECURE=true if a proxy authenticates readers"
            )
        return self

    @property
    def authenticates(self) -> bool:
        return self.metrics_token is not None
