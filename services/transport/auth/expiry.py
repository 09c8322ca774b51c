"""Expiry of a token while its connection is open."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from services.transport.auth.principal import Identity

MAX_SLEEP_SECONDS = 3600.0
"""Longest time between two reads of the clock, which may be adjusted."""


async def wait_until_expired(identity: Identity, clock: Callable[[], datetime]) -> None:
    """Return once the token has expired; never, where sign-in is off."""
    while identity.expires_at is None or clock() < identity.expires_at:
        remaining = (
            MAX_SLEEP_SECONDS
            if identity.expires_at is None
            else (identity.expires_at - clock()).total_seconds()
        )
        await asyncio.sleep(min(max(remaining, 0.0), MAX_SLEEP_SECONDS))
