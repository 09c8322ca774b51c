"""Upgrade from an earlier release under load, and back: python -m tests.upgrade --from v1.2.0"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.upgrade.releases import MissingReleaseError, previous_release
from tests.upgrade.run import Options, run


def main() -> int:
    options, skips_missing = _options()
    print(f"logs in {options.folder}", flush=True)
    try:
        outcome = asyncio.run(run(options))
    except MissingReleaseError as missing:
        print(missing, file=sys.stderr)
        return 0 if skips_missing else 3
    print(outcome.text())
    return 1 if outcome.violations or outcome.abandoned or not outcome.collected.logs else 0


def _options() -> tuple[Options, bool]:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--from", dest="commit", default=previous_release(), metavar="COMMIT")
    parser.add_argument("--seconds", type=float, default=10.0, help="before, between and after")
    parser.add_argument("--chats", type=int, default=6, help="in flight at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-rollback", dest="rollback", action="store_false")
    parser.add_argument("--folder", type=Path, help="for data and logs; a new one by default")
    parser.add_argument("--skip-missing", action="store_true", help="exit with 0 without it")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="upgrade-"))
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(
        given.commit,
        folder.resolve(),
        chats=given.chats,
        seconds=given.seconds,
        seed=given.seed,
        rollback=given.rollback,
    )
    return options, given.skip_missing


if __name__ == "__main__":
    sys.exit(main())
