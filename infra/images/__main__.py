"""Build a container image for each service, and run them: python -m infra.images [--or-skip] [SERVICE ...]

Prints the size of each, then how long each took until it was ready and after SIGTERM. With services named, only these are built
and none is run. --or-skip: exit code 0 where this machine cannot build or run images, with the reason; else that is an error.
BASE is an image with Python; without it, one is made of Debian's packages.
"""

import os
import sys
from collections.abc import Sequence

from infra.child_process import StartError
from infra.console import ConsoleBuildError, ensure_built
from infra.images.build import ImageError, build, build_base, labels, size_of
from infra.images.plan import image_name
from infra.images.programs import UnavailableError, require
from infra.images.trial import TrialError, require_root, trial
from infra.plan import SERVICES, Service
from infra.stack import ROOT


def build_all(services: Sequence[Service], base: str | None) -> None:
    require("git", "buildah", *(() if base else ("mmdebstrap",)))
    ensure_built()
    base = base or build_base()
    about = labels()
    for service in services:
        bill = build(service, base, about)
        name = image_name(service)
        print(f"{name}: {size_of(name)}, {bill.relative_to(ROOT)}", flush=True)


def run_all() -> None:
    require("bwrap")
    require_root()
    for service, run in trial().items():
        print(
            f"{image_name(service)}: ready after {run.ready:.2f} s, "
            f"ended with code {run.code} {run.stopped:.2f} s after SIGTERM"
        )


def main(arguments: Sequence[str]) -> int:
    or_skip = "--or-skip" in arguments
    services = [name for name in SERVICES if name in arguments]
    if unknown := set(arguments) - {"--or-skip", *SERVICES}:
        print(f"make images: unknown: {' '.join(sorted(unknown))}\n\n{__doc__}", file=sys.stderr)
        return 2
    try:
        build_all(services or SERVICES, os.environ.get("BASE"))
        if not services:
            run_all()
    except UnavailableError as error:
        print(f"make images: {'skipped, because ' if or_skip else ''}{error}", file=sys.stderr)
        return 0 if or_skip else 1
    except (ConsoleBuildError, ImageError, StartError, TrialError, TimeoutError) as error:
        print(f"make images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
