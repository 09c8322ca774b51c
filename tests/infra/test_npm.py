from pathlib import Path

import pytest

from infra import npm
from infra.npm import NpmPackages


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NpmPackages:
    """A package.json, and where its packages would be."""
    packages = NpmPackages(tmp_path / "package.json", tmp_path / "home")
    packages.manifest.write_text('{"dependencies": {"@ag-ui/client": "1.0.0"}}')
    packages.folder.mkdir()
    monkeypatch.setattr(npm, "AGUI", packages)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return packages


def test_only_what_the_package_json_names_now_counts_as_installed(packages: NpmPackages) -> None:
    assert npm.find(packages) is None
    (packages.folder / "installed.json").write_bytes(packages.manifest.read_bytes())
    assert npm.find(packages) == packages.folder
    packages.manifest.write_text('{"dependencies": {"@ag-ui/client": "1.0.1"}}')
    assert npm.find(packages) is None


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_packages_that_cannot_be_installed_fail_a_build_only_under_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, code: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert npm.main(["agui"]) == code


def test_names_that_no_package_json_has_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert npm.main(["agui", "react"]) == 2
    assert "infra.npm" in capsys.readouterr().err
