"""The chaos run: python -m tests.chaos --seed 1 --faults 1000 --seconds 1200"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Options, run


def main() -> int:
    options = _options()
    print(f"seed {options.seed}, logs in {options.folder}", flush=True)
    outcome = asyncio.run(run(options))
    print(outcome.text(options.seed))
    print(f"logs, faults and chats in {options.folder}")
    return 1 if outcome.violations else 0


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1200.0, help="that the faults spread over")
    parser.add_argument("--chats", type=int, default=12, help="in flight at once")
    parser.add_argument("--folder", type=Path, help="for data and logs; a new one by default")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    return Options(given.seed, given.faults, given.seconds, given.chats, folder.resolve())


if __name__ == "__main__":
    sys.exit(main())
