"""The earlier release is found in the history of this repository, or it is said how to get it."""

import subprocess
from pathlib import Path

import pytest

from contracts.events import EVENT_TYPES
from tests.upgrade.plan import READERS_FIRST, Replacement, upgrade
from tests.upgrade.releases import (
    MissingReleaseError,
    check_out,
    previous_release,
    unknown_to,
)

NOW = {name: one.version for name, one in EVENT_TYPES.items()}


def git(folder: Path, *words: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: the first one is tagged."""
    place = tmp_path / "repository"
    place.mkdir()
    git(place, "init", "-q")
    for number in ("1", "2"):
        (place / "version").write_text(number)
        git(place, "add", "version")
        git(place, "commit", "-q", "-m", number)
        if number == "1":
            git(place, "tag", "v1")
    return place


def test_the_files_of_a_release_are_written_and_the_repository_stays_as_it_is(
    repository: Path, tmp_path: Path
) -> None:
    commit = check_out("v1", tmp_path / "old", repository)
    assert len(commit) == 40
    assert (tmp_path / "old" / "version").read_text() == "1"
    assert (repository / "version").read_text() == "2"
    assert not (repository / ".git" / "worktrees").exists()


def test_a_release_that_a_shallow_clone_lacks_is_named_with_the_command_that_gets_it(
    repository: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    with pytest.raises(MissingReleaseError, match=r"v1.*shallow.*git fetch --unshallow --tags"):
        check_out("v1", tmp_path / "old", tmp_path / "shallow")
    with pytest.raises(MissingReleaseError, match=r"v9.*git fetch --all --tags.*--from"):
        check_out("v9", tmp_path / "old", repository)


def test_the_release_before_this_one_is_recorded() -> None:
    assert previous_release()


def test_event_versions_that_only_the_newer_release_knows_are_named() -> None:
    assert unknown_to(NOW, NOW) == []
    newer = {**NOW, "chat.dreamt": 1, "chat.started": NOW["chat.started"] + 1}
    assert unknown_to(NOW, newer) == ["chat.dreamt version 1", "chat.started version 2"]
    assert unknown_to(newer, NOW) == []


def test_each_process_is_replaced_once_and_back_in_the_opposite_order() -> None:
    there, back = upgrade("new"), upgrade("old")
    assert {(one.service, one.replica) for one in there} == {
        (name, replica) for name in READERS_FIRST for replica in (1, 2)
    }
    assert [one.service for one in back] == [one.service for one in there][::-1]
    assert there[-1] == Replacement("transport", 2, "new")
    assert back[0] == Replacement("transport", 1, "old")
