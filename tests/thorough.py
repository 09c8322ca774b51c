"""How often something is tried: as often as shows a mistake soon, or with THOROUGH=1 until it is rare."""

import os

THOROUGH = os.environ.get("THOROUGH") == "1"


def tries(usual: int, thorough: int) -> int:
    return thorough if THOROUGH else usual
