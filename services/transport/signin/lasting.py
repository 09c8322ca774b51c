"""How long somebody stays signed in."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from services.transport.signin.principal import Who

LONGEST_NAP = 3600.0
"""Between two looks at the clock."""


async def run_out(who: Who, clock: Callable[[], datetime]) -> None:
    """Returns when the token is good no more: never, where sign-in is off."""
    while who.until is None or clock() < who.until:
        left = LONGEST_NAP if who.until is None else (who.until - clock()).total_seconds()
        await asyncio.sleep(min(max(left, 0.0), LONGEST_NAP))
