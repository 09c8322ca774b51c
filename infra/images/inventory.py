"""Lists the packages in an image; its source is run by the Python of the image, which has nothing else.

Prints a JSON list of {kind, name, version, licence, architecture}: Python's and Debian's packages.
"""

import json
from collections.abc import Iterator
from importlib.metadata import PackageMetadata, distributions
from pathlib import Path


def licence_of(about: PackageMetadata) -> str:
    """As an expression, a name, or by its classifier; never the whole text of a licence."""
    given: list[str] = [about[name] for name in ("License-Expression", "License") if name in about]
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in about.get_all("Classifier") or ()
        if one.startswith("License ::")
    ]
    return next((one for one in (*given, *classifiers) if "\n" not in one), "")


def python_packages(folder: str) -> Iterator[dict[str, str]]:
    for one in distributions(path=[folder]):
        about = one.metadata
        yield {
            "kind": "pypi",
            "name": about["Name"],
            "version": one.version,
            "licence": licence_of(about),
            "architecture": "",
        }


def debian_packages(folder: Path) -> Iterator[dict[str, str]]:
    pages = [*folder.glob("status.d/*"), *folder.glob("status")]
    for page in pages:
        for text in page.read_text().split("\n\n"):
            fields = dict(
                line.split(": ", 1)
                for line in text.splitlines()
                if ": " in line and not line.startswith(" ")
            )
            if "Package" in fields:
                yield {
                    "kind": "deb",
                    "name": fields["Package"],
                    "version": fields["Version"],
                    "licence": "",
                    "architecture": fields["Architecture"],
                }


if __name__ == "__main__":
    found = [*python_packages("/opt/packages"), *debian_packages(Path("/var/lib/dpkg"))]
    print(json.dumps(found))
