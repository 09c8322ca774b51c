"""Kill orchestrators inside tools that must be called once: python -m tests.once_tools --kills 300"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.once_tools.run import report, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.once_tools", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--width", type=int, default=32, help="calls under way in one process")
    parser.add_argument("--folder", type=Path, help="for data; a new one by default")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="once-tools-"))
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = asyncio.run(run(folder.resolve(), given.kills, given.width))
    print(report(outcomes))
    return 1 if any(problem for one in outcomes for problem in one.problems()) else 0


if __name__ == "__main__":
    sys.exit(main())
