"""Equal files have equal digests, other files have others, and invalid bundles are rejected."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from services.orchestrator.workflows.code.bundle import (
    MAX_BYTES,
    FileBundle,
    InvalidBundleError,
    read_python_files,
    unpack,
)
from services.orchestrator.workflows.loading import BrokenWorkflow, LoadedWorkflow, load
from services.orchestrator.workflows.spec import Version
from tests.orchestrator.workflow_folder import (
    create_workflow_folder,
    set_price,
    set_prompt,
    write_manifest,
)


def version(folder: Path) -> Version:
    found = load(folder)
    assert isinstance(found, LoadedWorkflow), found
    assert found.workflow.version is not None
    return found.workflow.version


def test_a_bundle_does_not_depend_on_the_order_of_its_files() -> None:
    one = FileBundle("Shop", {"a.json": b"1", "b.json": b"2"})
    other = FileBundle("Shop", {"b.json": b"2", "a.json": b"1"})
    assert one.pack() == other.pack()
    assert one.digest == other.digest == sha256(one.pack()).hexdigest()


def test_the_digest_depends_on_contents_and_paths() -> None:
    bundles = [
        FileBundle("Shop", {"a.json": b"1"}),
        FileBundle("Shop", {"a.json": b"2"}),
        FileBundle("Shop", {"b.json": b"1"}),
        FileBundle("Till", {"a.json": b"1"}),
        FileBundle("Shop", {}),
    ]
    assert len({bundle.digest for bundle in bundles}) == len(bundles)


def test_a_bundle_is_unpacked_as_it_was_packed() -> None:
    bundle = FileBundle("Läden \udcff", {"tools/till.py": b"\x00\xff", "empty.json": b""})
    assert unpack(bundle.pack(), bundle.digest) == bundle


FOREIGN = {
    "other bytes": (b"{}", "0" * 64),
    "no JSON": (b"{", ""),
    "JSON of another shape": (b"[]", ""),
    "no folder": (b'{"files": {}}', ""),
    "a file that is no text": (b'{"files": {"a": 1}, "folder": "Shop"}', ""),
    "a path that leads out": (b'{"files": {"../a": ""}, "folder": "Shop"}', ""),
    "a path from the root": (b'{"files": {"/a": ""}, "folder": "Shop"}', ""),
    "a folder above": (b'{"files": {}, "folder": ".."}', ""),
    "a folder without a name": (b'{"files": {}, "folder": ""}', ""),
}


@pytest.mark.parametrize(("data", "digest"), FOREIGN.values(), ids=FOREIGN.keys())
def test_bytes_that_are_not_a_bundle_are_rejected(data: bytes, digest: str) -> None:
    with pytest.raises(InvalidBundleError):
        unpack(data, digest or sha256(data).hexdigest())


def test_a_version_has_separate_digests_for_manifests_and_code(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    before = version(folder)
    set_price(folder, 3)
    recoded = version(folder)
    set_prompt(folder, "You sell cake.")
    reworded = version(folder)
    assert (recoded.manifests, recoded.tools != before.tools) == (before.manifests, True)
    assert (reworded.manifests != before.manifests, reworded.tools) == (True, recoded.tools)


def test_a_version_does_not_depend_on_the_folders_location(tmp_path: Path) -> None:
    assert version(create_workflow_folder(tmp_path / "here")) == version(
        create_workflow_folder(tmp_path / "there")
    )


def test_files_that_are_not_read_do_not_change_the_version(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    before = version(folder)
    (folder / "README.md").write_text("About the shop.")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "till.py").write_text("")
    assert version(folder) == before


def test_a_file_that_a_variable_is_read_from_is_part_of_the_version(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    (folder / "data").mkdir()
    (folder / "data" / "menu.txt").write_text("bread")
    source = {"type": "file", "path": "data/../data/menu.txt"}
    write_manifest(folder, "context_variables.json", {"definitions": {"menu": {"source": source}}})
    before = version(folder)
    (folder / "data" / "menu.txt").write_text("cake")
    assert version(folder).manifests != before.manifests
    found = load(folder)
    assert isinstance(found, LoadedWorkflow)
    assert found.manifests.files["data/menu.txt"] == b"cake"


def test_environment_values_are_not_part_of_a_version_or_a_bundle(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    source = {"type": "config", "env_var": "SHOP_KEY", "required": True}
    write_manifest(folder, "context_variables.json", {"definitions": {"key": {"source": source}}})
    found = [load(folder, {"SHOP_KEY": key}) for key in ("sk-one", "sk-two")]
    one, two = [each for each in found if isinstance(each, LoadedWorkflow)]
    assert one.workflow.version == two.workflow.version
    assert b"sk-one" not in json.dumps(list(map(str, one.manifests.files.values()))).encode()


def test_a_bundle_that_is_written_to_disk_loads_as_the_same_version(tmp_path: Path) -> None:
    first = load(create_workflow_folder(tmp_path / "here"))
    assert isinstance(first, LoadedWorkflow)
    first.code.bundle.write_to(tmp_path / "there")
    again = load(first.manifests.write_to(tmp_path / "there"))
    assert isinstance(again, LoadedWorkflow)
    assert again.workflow == first.workflow
    assert again.workflow.version == first.workflow.version


def test_a_folder_with_too_much_code_is_rejected(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    with (folder / "large.py").open("wb") as file:
        file.truncate(MAX_BYTES)
    broken = load(folder)
    assert isinstance(broken, BrokenWorkflow)
    problem = f"Shop: its manifests and Python files exceed {MAX_BYTES} bytes"
    assert broken.problems == (problem,)


def test_code_is_read_from_the_folder_only_and_not_through_links(tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    (tmp_path / "outside.py").write_text("SECRET = 1\n")
    (folder / "outside.py").symlink_to(tmp_path / "outside.py")
    (folder / "circle.py").symlink_to(folder / "circle.py")
    (folder / "inside.py").symlink_to(folder / "tools" / "till.py")
    (folder / "round").symlink_to(folder)
    assert sorted(read_python_files(folder).files) == [
        "inside.py",
        "tools/pricing.py",
        "tools/till.py",
    ]
