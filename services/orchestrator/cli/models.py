"""The models that the settings of a command name."""

import os
from datetime import UTC, datetime

from services.orchestrator.agents.models.configured import configured_models
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import ModelFactory, ModelNotConfiguredError
from services.orchestrator.cli.exit_codes import USAGE, fail
from services.orchestrator.settings import Settings


def configured() -> ModelFactory:
    """Ends the command with USAGE where the settings name a provider without its key."""
    try:
        return configured_models(Settings(), os.environ, shared_http_client(), _now)
    except ModelNotConfiguredError as error:
        fail(str(error), USAGE)


def _now() -> datetime:
    return datetime.now(UTC)
