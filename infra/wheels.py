"""How uv installs a requirement file for some platform, or says whether it could."""

from collections.abc import Sequence

UV = ".cache/uv/bin/uv"
"""Made by the Makefile, in the repository's root."""


def install_command(
    requirements: str,
    *,
    python: str,
    version: str,
    platform: str,
    target: str,
    options: Sequence[str] = (),
) -> tuple[str, ...]:
    """Installs wheels, by their hashes, into the folder `target`.

    `python` is any interpreter on this machine; the wheels are those for Python `version` on
    `platform`, as uv names it.
    """
    return (
        *(UV, "pip", "install", "--quiet", "--no-config", "--python", python),
        *("--python-version", version, "--python-platform", platform),
        *("--only-binary", ":all:", "--no-deps", "--require-hashes", "--link-mode", "copy"),
        *("--target", target, "--requirement", requirements, *options),
    )
