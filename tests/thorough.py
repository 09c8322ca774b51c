"""How often something is tried: as often as shows a mistake soon, or with THOROUGH=1 until it is rare."""

import os

THOROUGH = os.environ.get("THOROUGH") == "1"


def tries(usual: int, thorough: int) -> int:
    return thorough if THOROUGH else usual


def some(count: int) -> range:
    """Every third of so many places, the first among them; when it is thorough, each."""
    return range(0, count, tries(3, 1))
