"""Build a container image for each service: `make images`; needs buildah, and mmdebstrap without a BASE."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.plan import SERVICES, Service

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "images"
CONTAINERFILE = Path(__file__).with_name("Containerfile")
BUILD_SECONDS = 1800
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BASE_IMAGE = "localhost/mozaiks-base"
_SHARED = ("contracts", "services/__init__.py", "services/chassis")
_OF_SERVICE: Mapping[Service, tuple[str, ...]] = {
    "orchestrator": ("workflows/__init__.py", "workflows/tooling.py", "mozaiks_client"),
}
"""What an image has besides its service: the author's tools import `workflows.tooling`."""


class ImageError(Exception):
    """An image cannot be built; the message says what is missing or which step failed."""


def build(service: Service, base: str) -> str:
    """Build the image of a service from a base image; returns its name. Raises ImageError."""
    folder = CACHE / service
    shutil.rmtree(folder / "app", ignore_errors=True)
    _stage(folder / "app", service)
    _fetch_wheels(folder / "wheels", service)
    name = f"localhost/mozaiks-{service}"
    _run(
        "buildah",
        "build",
        *("--file", str(CONTAINERFILE), "--tag", name, "--ignorefile", os.devnull),
        *("--build-arg", f"SERVICE={service}", "--build-arg", f"BASE={base}"),
        *("--build-arg", f"REVISION={_revision()}"),
        str(ROOT),
    )
    return name


def build_base() -> str:
    """An image with Debian's Python, where no other base is given. Raises ImageError."""
    archive = CACHE / "base.tar"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".partial.tar")
        options = ("--variant=minbase", f"--include={BASE_PACKAGES}")
        _run("mmdebstrap", *options, "bookworm", str(partial))
        partial.replace(archive)
    recipe = CACHE / "base.containerfile"
    recipe.write_text(f"FROM scratch\nADD {archive.name} /\n")
    _run("buildah", "build", "--file", str(recipe), "--tag", BASE_IMAGE, str(CACHE))
    return BASE_IMAGE


def _stage(folder: Path, service: Service) -> None:
    """Copy the files of the repository that the image has, and no others."""
    wanted = (*_SHARED, f"services/{service}", *_OF_SERVICE.get(service, ()))
    listed = _run("git", "ls-files", *wanted, quiet=True).split()
    for name in listed:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def _fetch_wheels(folder: Path, service: Service) -> None:
    requirements = ROOT / "requirements" / f"{service}.txt"
    _run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--dest", str(folder), "--requirement", str(requirements)),
    )


def _revision() -> str:
    return _run("git", "rev-parse", "HEAD", quiet=True).strip()


def size_of(image: str) -> str:
    """The size of an image, base included, as buildah shows it. Raises ImageError."""
    return _run("buildah", "images", "--format", "{{.Size}}", image, quiet=True).strip()


def _run(*command: str, quiet: bool = False) -> str:
    """The output of a command. Raises ImageError."""
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=None if not quiet else subprocess.PIPE,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ImageError(f"{command[0]} is not installed: it is a package of Debian") from None
    except subprocess.TimeoutExpired:
        raise ImageError(f"{command[0]} took longer than {BUILD_SECONDS} s") from None
    if done.returncode:
        raise ImageError(f"{' '.join(command[:2])} failed with status {done.returncode}")
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """`arguments` are the services to build; none: all."""
    chosen = [service for service in SERVICES if service in arguments or not arguments]
    try:
        base = os.environ.get("BASE") or build_base()
        for service in chosen:
            image = build(service, base)
            print(f"{image}: {size_of(image)}", flush=True)
    except ImageError as error:
        print(f"make images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
