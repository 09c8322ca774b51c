"""The limit of an answer's tokens, where it is raised for one call."""

from collections.abc import Mapping
from typing import Any

from contracts.events.turn import RequestOptions


def with_raised_limit(
    options: Mapping[str, Any], name: str, settings: RequestOptions
) -> Mapping[str, Any]:
    """The members of a request; its limit `name`, if it has one, is never lower than configured.

    Where a provider counts thinking, too, the configured limit has been raised by it already.
    """
    limit = max(settings.max_tokens or 0, options.get(name) or 0)
    return {**options, name: limit} if limit else options
