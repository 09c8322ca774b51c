"""Kill orchestrators at every point of a model call, and compare the ledger of budgets with what the
provider has counted: python -m tests.budget_kills --kills 1000
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.budget_kills.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.budget_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--width", type=int, default=35, help="calls under way in one process")
    parser.add_argument("--folder", type=Path, help="for data; a new one by default")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="budget-kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    counts = asyncio.run(run(folder.resolve(), given.kills, given.width))
    print(counts.report())
    return 1 if counts.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
