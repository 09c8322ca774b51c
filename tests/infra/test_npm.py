from pathlib import Path

import pytest

from infra import npm


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The package.json, and where its packages would be."""
    named, home = tmp_path / "package.json", tmp_path / "home"
    named.write_text('{"dependencies": {"@ag-ui/client": "1.0.0"}}')
    home.mkdir()
    monkeypatch.setattr(npm, "CLIENT", named)
    monkeypatch.setattr(npm, "HOME", home)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return named, home


def test_only_what_the_package_json_names_now_counts_as_installed(
    places: tuple[Path, Path],
) -> None:
    named, home = places
    assert npm.find_client() is None
    (home / "installed.json").write_bytes(named.read_bytes())
    assert npm.find_client() == home
    named.write_text('{"dependencies": {"@ag-ui/client": "1.0.1"}}')
    assert npm.find_client() is None


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_packages_that_cannot_be_installed_fail_a_build_only_under_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, code: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert npm.main() == code
