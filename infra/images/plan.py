"""What an image is built from and how it is run, decided before anything is built."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.plan import Service
from infra.wheels import install_command

PYTHON = "3.11"
"""That of the base: packages are chosen for it, whatever Python runs this."""
PLATFORM = "{machine}-manylinux_2_36"
"""As uv names it: the C library of Debian 12."""
BASE_SUITE = "bookworm"
BASE_PACKAGES = ("python3", "ca-certificates", "tzdata", "netbase", "media-types", "libstdc++6")
BASE_IMAGE = "localhost/mozaiks-base"
USER = 65532
SECRETS = "/run/secrets"
"""Where files are mounted that only the service may read."""
SERVICE_PORTS: Mapping[Service, int] = {
    "transport": 8000,
    "metrics": 8001,
    "orchestrator": 8002,
    "persistence": 8003,
}
_SHARED = ("contracts", "services/__init__.py", "services/chassis")
_OF_SERVICE: Mapping[Service, tuple[str, ...]] = {
    "orchestrator": ("workflows/__init__.py", "workflows/tooling.py", "mozaiks_client"),
    "transport": (":(exclude)services/transport/console",),
}
"""What an image has besides its service: the author's tools import `workflows.tooling`. Of the console it
has what is built, and not the sources."""

GENERATED: Mapping[Service, tuple[str, ...]] = {"transport": ("services/transport/console/dist",)}
"""Folders that an image has and git does not: the built console."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What says from where an image comes."""

    version: str
    revision: str
    created: int
    """Seconds since 1970 of the commit; all files get this time, so that equal builds are equal."""

    @property
    def created_text(self) -> str:
        """As RFC 3339."""
        return datetime.fromtimestamp(self.created, UTC).isoformat().replace("+00:00", "Z")


def image_name(service: Service) -> str:
    return f"localhost/mozaiks-{service}"


def tracked_files(service: Service) -> tuple[str, ...]:
    """Files and folders of the repository that the image has, as arguments of `git ls-files`."""
    return (*_SHARED, f"services/{service}", *_OF_SERVICE.get(service, ()))


def packages_command(python: str, service: Service, machine: str, target: str) -> tuple[str, ...]:
    """Installs the packages of a service for the base."""
    return install_command(
        f"requirements/{service}.txt",
        python=python,
        version=PYTHON,
        platform=PLATFORM.format(machine=machine),
        target=target,
    )


def base_command(hook: str, archive: str) -> tuple[str, ...]:
    """Makes an archive of a root file system from Debian's packages."""
    return (
        *("mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(BASE_PACKAGES)}"),
        *("--skip=cleanup,output/dev", f"--extract-hook={hook}", BASE_SUITE, archive),
    )


def build_command(
    service: Service, containerfile: str, base: str, labels: Labels
) -> tuple[str, ...]:
    """Builds the image of a service; the format is docker's, the only one with health checks."""
    given = {
        "SERVICE": service,
        "BASE": base,
        "VERSION": labels.version,
        "REVISION": labels.revision,
        "CREATED": labels.created_text,
    }
    return (
        *("buildah", "build", "--quiet", "--format", "docker", "--timestamp", str(labels.created)),
        *("--file", containerfile, "--ignorefile", "/dev/null", "--target", service),
        *(word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")),
        *("--tag", image_name(service), "."),
    )


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says of how it is run."""

    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]
    user: str
    folder: str
    health_check: tuple[str, ...]
    labels: Mapping[str, str]

    @classmethod
    def of(cls, inspected: str) -> "ImageConfig":
        """From what `buildah inspect --type image` prints."""
        config: dict[str, Any] = json.loads(inspected)["Docker"]["config"]
        return cls(
            entrypoint=tuple(config["Entrypoint"]),
            environment=dict(one.split("=", 1) for one in config["Env"]),
            user=config["User"],
            folder=config["WorkingDir"],
            health_check=tuple(config.get("Healthcheck", {}).get("Test", ())),
            labels=config["Labels"],
        )


def sandbox_command(
    config: ImageConfig,
    root: str,
    environment: Mapping[str, str],
    mounts: Iterable[tuple[str, str]],
    command: Sequence[str],
) -> list[str]:
    """Runs a command in an image's root file system as a cluster would: bubblewrap's arguments.

    The root is read-only, `/tmp` is empty, the command is process 1, has the image's user and group
    and no capability. The network is the machine's. `mounts` are read-only: where from, where to.
    """
    user, _, group = config.user.partition(":")
    return [
        *("bwrap", "--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/run"),  # noqa: S108
        *("--perms", "0755", "--dir", SECRETS),
        *(word for source, target in mounts for word in ("--ro-bind", source, target)),
        *("--remount-ro", "/run"),
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent"),
        *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        *("--cap-add", "CAP_SETPCAP", "--chdir", config.folder, "--clearenv"),
        *(
            word
            for name, value in {**config.environment, **environment}.items()
            for word in ("--setenv", name, value)
        ),
        *("--", "python3", "-I", "-c", _BECOME, user, group, *command),
    ]


_BECOME = (
    "import ctypes, os, sys\n"
    "libc = ctypes.CDLL(None)\n"
    "user, group, *command = sys.argv[1:]\n"
    "os.setgroups([])\n"
    "os.setgid(int(group))\n"
    "for capability in range(64): libc.prctl(24, capability, 0, 0, 0)\n"  # PR_CAPBSET_DROP
    "os.setuid(int(user))\n"
    "version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)\n"
    "libc.capset(version_3, (ctypes.c_uint32 * 6)())\n"  # also what may be inherited
    "os.execvp(command[0], command)\n"
)
"""bubblewrap keeps the user that starts it, or maps it; root becomes the image's user by itself."""


def weaknesses(status: str, mountinfo: str) -> list[str]:
    """What a process has and must not have, from its /proc/PID/status and /proc/PID/mountinfo."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    found = [
        f"{name} is {fields[name].strip()}"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        if int(fields[name], 16)
    ]
    found += [
        f"{name} is {fields[name].strip()}"
        for name in ("Uid", "Gid")
        if set(fields[name].split()) != {str(USER)}
    ]
    if fields["Groups"].split():
        found.append(f"Groups is {fields['Groups'].strip()}")
    if fields["NoNewPrivs"].strip() != "1":
        found.append("it may gain privileges")
    if fields["NSpid"].split()[-1] != "1":
        found.append("it is not process 1")
    return found + [f"{place} is writable" for place in _writable(mountinfo)]


def _writable(mountinfo: str) -> list[str]:
    """Mounts of files that can be written, besides `/tmp`, devices and /proc."""
    rows = [line.split() for line in mountinfo.splitlines()]
    expected = ("/tmp", "/dev", "/proc")  # noqa: S108
    return [row[4] for row in rows if "rw" in row[5].split(",") and not row[4].startswith(expected)]
