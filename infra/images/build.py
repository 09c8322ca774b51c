"""Builds the base and the images with buildah, and lists what is in them."""

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from infra.images import plan
from infra.images.plan import Labels, image_name
from infra.images.programs import UnavailableError
from infra.images.sbom import Package, bill_of_materials
from infra.plan import Service
from infra.stack import ROOT

CACHE = ROOT / ".cache" / "images"
HERE = Path(__file__).parent
BUILD_SECONDS = 1800
_PACKAGES = TypeAdapter(list[Package])


class ImageError(Exception):
    """An image cannot be built; the message says which step failed, and how."""


def build(service: Service, base: str, labels: Labels) -> Path:
    """Build the image of a service from a base image; returns its bill of materials. Raises ImageError."""
    folder = CACHE / service
    shutil.rmtree(folder, ignore_errors=True)
    _stage(folder / "app", service)
    packages = str(folder / "packages")
    run(*plan.packages_command(sys.executable, service, platform.machine(), packages))
    run(*plan.build_command(service, str(HERE / "Containerfile"), base, labels))
    bill = folder / "sbom.cdx.json"
    bill.write_text(bill_of_materials(image_name(service), labels, packages_in(service)))
    return bill


def build_base() -> str:
    """An image with Debian's Python and no more; returns its name.

    Raises UnavailableError where this machine gets no packages, or may not run what is in an image.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / "base.tar"
    recipe = CACHE / "base.containerfile"
    recipe.write_text(
        f"FROM scratch\nADD {archive.name} /\nWORKDIR /dev\nWORKDIR /\n"  # the archive has no /dev
        'RUN ["python3", "-c", "import ssl"]\n'
    )
    try:
        run(*plan.base_command(str(HERE / "base.sh"), str(archive)))
        run(
            "buildah",
            "build",
            "--quiet",
            "--file",
            str(recipe),
            "--tag",
            plan.BASE_IMAGE,
            str(CACHE),
        )
    except ImageError as error:
        raise UnavailableError(f"no base image can be made here: {error}") from error
    return plan.BASE_IMAGE


def labels() -> Labels:
    """Of the commit that is checked out."""
    revision, created = run("git", "show", "--no-patch", "--format=%H %ct", "HEAD").split()
    project = tomllib.loads((ROOT / "services/chassis/pyproject.toml").read_text())["project"]
    return Labels(version=project["version"], revision=revision, created=int(created))


def size_of(image: str) -> str:
    """The size of an image, base included, as buildah shows it. Raises ImageError."""
    return run("buildah", "images", "--format", "{{.Size}}", image).strip()


def packages_in(service: Service) -> list[Package]:
    """What the image's own Python finds in it."""
    script = (HERE / "inventory.py").read_text()
    with container(image_name(service)) as name:
        found = run("buildah", "run", name, "--", "python3", "-I", "-c", script)
    return _PACKAGES.validate_json(found)


@contextmanager
def root_of(image: str) -> Iterator[Path]:
    """The root file system of an image. Only root can mount it. Raises ImageError."""
    with container(image) as name:
        yield Path(run("buildah", "mount", name).strip())


@contextmanager
def container(image: str) -> Iterator[str]:
    name = run("buildah", "from", "--pull-never", image).strip()
    try:
        yield name
    finally:
        run("buildah", "rm", name)


def _stage(folder: Path, service: Service) -> None:
    """Copy the files of the repository that the image has, and no others."""
    for name in run("git", "ls-files", *plan.tracked_files(service)).splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    for name in plan.GENERATED.get(service, ()):
        shutil.copytree(ROOT / name, folder / name)
    readable(folder)


def readable(folder: Path) -> None:
    """By every user, whatever the umask under which it was made."""
    for one in (folder, *folder.rglob("*")):
        one.chmod(0o755 if one.is_dir() else 0o644)


def run(*command: str) -> str:
    """The output of a command. Raises ImageError."""
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{command[0]}: {error}") from error
    if done.returncode:
        end = done.stderr.strip()[-2000:]
        raise ImageError(f"{' '.join(command[:3])} failed with status {done.returncode}\n{end}")
    return done.stdout
